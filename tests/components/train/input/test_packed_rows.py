from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.train.input import row_cache
from headrace.components.train.input.packed_rows import PackedColumn, PackedRows
from headrace.components.train.input.row_cache import RowCache
from headrace.core.tfrecord import native

INT, FLOAT, LONG = np.dtype(np.int32), np.dtype(np.float32), np.dtype(np.int64)
SHORT = st.integers(0, (1 << 16) - 1)


@pytest.fixture(params=["compiled", "not compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Rows are gathered in C, and in numpy."""
    if request.param == "not compiled":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("what is written in C is not built")
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("in_file", [False, True])
def test_rows_come_back_bit_for_bit_in_the_order_asked_for(in_file: bool, tmp_path: Path) -> None:
    @given(
        integers=st.lists(SHORT | st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=12),
        split=st.floats(0, 1),
        data=st.data(),
    )
    def check(integers: list[int], split: float, data: Any) -> None:
        rows = len(integers)
        number = st.floats(width=32) | st.just(-0.0)
        columns = [
            np.array(integers, INT),
            np.array(data.draw(st.lists(st.tuples(number, number), min_size=rows, max_size=rows)), FLOAT),
            np.array(data.draw(st.lists(st.tuples(SHORT, SHORT, SHORT), min_size=rows, max_size=rows)), INT),
            np.arange(rows, dtype=LONG) - (1 << 40),
        ]
        with tempfile.TemporaryFile(dir=tmp_path) as file:
            table = PackedRows([PackedColumn(c.dtype, c.shape[1:]) for c in columns], rows, file if in_file else None)
            middle = round(split * rows)
            # The later rows come first: a column is widened when earlier ones are not there yet.
            table.put(middle, [column[middle:] for column in columns])
            table.put(0, [column[:middle] for column in columns])
            chosen = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=20)), LONG)
            for found, column in zip(table.gather(chosen), columns, strict=True):
                assert (found.dtype, found.shape) == (column.dtype, (len(chosen), *column.shape[1:]))
                assert found.tobytes() == column[chosen].tobytes()

    check()


def test_integers_that_fit_are_kept_in_16_bits() -> None:
    table = PackedRows([PackedColumn(INT, (3,)), PackedColumn(FLOAT, ())], 2)
    table.put(0, [np.array([[1, 2, 65_535]], INT), np.zeros(1, FLOAT)])
    assert table.row_bytes == 3 * 2 + 4
    table.put(1, [np.array([[0, 65_536, 0]], INT), np.zeros(1, FLOAT)])
    assert table.row_bytes == 3 * 4 + 4
    negative = PackedRows([PackedColumn(INT, ())], 1)
    negative.put(0, [np.array([-1], INT)])
    assert negative.gather(np.zeros(1, LONG))[0].tolist() == [-1]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("row", [-4, 3, 1 << 40])
def test_a_row_that_is_not_there_is_refused(row: int) -> None:
    table = PackedRows([PackedColumn(FLOAT, ())], 3)
    table.put(0, [np.zeros(3, FLOAT)])
    with pytest.raises(IndexError):
        table.gather(np.array([0, row], LONG))


@pytest.mark.parametrize("on_disk", [False, True])
def test_blocks_are_taken_from_whatever_order_they_came_in(on_disk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_cache, "BLOCK_ROWS", 2)
    like = {"n": tf.TensorSpec([None], tf.int32), "text": tf.TensorSpec([None], tf.string)}
    blocks = [
        [np.array([1, 2], INT), tf.constant(["a", "ü"])],
        [np.array([3, 70_000], INT), tf.constant(["ü", ""])],
        [np.array([5], INT), tf.constant(["b"])],
    ]
    read: list[int] = []

    def of(number: int) -> None:
        read.append(number)
        cache.keep(number, blocks[number])

    cache = RowCache(like, 5, of, on_disk=on_disk)
    cache.keep(2, blocks[2])
    cache.keep(2, blocks[0])
    cache.complete()
    cache.complete()
    assert sorted(read) == [0, 1]
    numbers, texts = cache.gather(np.array([4, 0, 3, 3, 1], LONG))
    assert numbers.tolist() == [5, 1, 70_000, 70_000, 2]
    assert [text.decode() for text in texts.numpy()] == ["b", "a", "", "", "ü"]
