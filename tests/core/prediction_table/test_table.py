"""The prediction table: every key gives what was written, to the last bit; no other key does; damage is refused."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import DataError, UsageError
from headrace.core.prediction_table.layout import Footer, TableColumn, TableDescription
from headrace.core.prediction_table.reader import PredictionTable
from headrace.core.prediction_table.writer import ColumnValues, TableWriter

ABOUT = TableDescription("id", "v1", "0123456789abcdef")
# One CRC-32 each.
TWINS = ("plumless", "buckeroo")
ONE = (TableColumn("prediction", "number", "float32"),)


def texts(values: Sequence[str | bytes]) -> tuple[bytes, np.ndarray]:
    plain = [value.encode() if isinstance(value, str) else value for value in values]
    return b"".join(plain), np.cumsum([len(value) for value in plain], dtype=np.int64)


def write(
    path: Path, columns: Sequence[TableColumn], blocks: Sequence[tuple[Sequence[str], Mapping[str, ColumnValues]]]
) -> tuple[Footer, list[tuple[int, int]]]:
    """A table, and its repeated rows with the first of their key."""
    with TableWriter(columns) as writer:
        for keys, values in blocks:
            writer.add([key.encode() for key in keys], values)
        repeated = writer.repeated()
        with path.open("wb") as file:
            footer = writer.save(file, ABOUT)
    return footer, list(zip(repeated.rows.tolist(), repeated.first.tolist(), strict=True))


def numbered(path: Path, keys: Sequence[str], begin: int = 0) -> PredictionTable:
    """A table of keys whose prediction is their place."""
    write(path, ONE, [(keys, {"prediction": ColumnValues(np.arange(begin, begin + len(keys), dtype=np.float32))})])
    return PredictionTable(path)


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from([*TWINS, "", "x" * 70_000])


@settings(deadline=None)
@given(data=st.data())
def test_every_key_gives_what_was_written_first(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    blocks = data.draw(st.lists(st.lists(KEYS, max_size=8), max_size=4))
    keys = [key for block in blocks for key in block]
    numbers = np.arange(len(keys), dtype=np.int64)
    path = tmp_path_factory.mktemp("table") / "table"
    begins = np.cumsum([0, *map(len, blocks)])
    column = TableColumn("prediction", "number", "int64")
    parts = [
        (block, {"prediction": ColumnValues(numbers[b : b + len(block)])})
        for b, block in zip(begins, blocks, strict=False)
    ]
    footer, repeated = write(path, [column], parts)
    first = {key: keys.index(key) for key in keys}
    assert repeated == [(row, first[key]) for row, key in enumerate(keys) if first[key] != row]
    table = PredictionTable(path)
    assert (len(table), table.about, table.digest) == (len(first), ABOUT, footer.digest)
    asked = [*keys, *data.draw(st.lists(KEYS, max_size=8)), "\ud800"]
    rows = table.find(asked)
    assert rows.tolist() == [first.get(key, -1) for key in asked]
    found = rows[rows >= 0]
    assert table.outputs(found)["prediction"].tolist() == found.tolist()


DTYPES = ("float16", "float32", "float64", "int8", "int64", "uint64", "bool")


@settings(deadline=None, max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("width", [None, 1, 3, 0])
@pytest.mark.parametrize("kind", ["number", "text", "bytes"])
def test_values_come_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, kind: Any, width: int | None, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(1, 6))
    lengths = (
        data.draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows)) if width == 0 else [width or 1] * rows
    )
    items = sum(lengths)
    ends = np.cumsum(lengths)
    column = TableColumn("y", kind, data.draw(st.sampled_from(DTYPES)) if kind == "number" else "", width)
    if kind == "number":
        dtype = np.dtype(column.dtype)
        size = items * dtype.itemsize
        raw = data.draw(st.binary(min_size=size, max_size=size))
        flat = np.frombuffer(raw, dtype) if dtype != np.bool_ else np.frombuffer(raw, np.uint8) % 2 == 1
        values = ColumnValues(flat, None, ends if width == 0 else None)
    else:
        words = data.draw(st.lists(st.binary(max_size=5), min_size=items, max_size=items))
        flat = np.empty(items, object)
        flat[:] = words
        values = ColumnValues(*texts(words), ends if width == 0 else None)
    keys = [str(row) for row in range(rows)]
    path = tmp_path_factory.mktemp("table") / "table"
    # The same values twice: those of a second block begin behind the first.
    write(path, [column], [(keys, {"y": values}), ([f"again {key}" for key in keys], {"y": values})])
    table = PredictionTable(path)
    order = data.draw(st.permutations(range(2 * rows)))
    read = table.outputs(table.find([(keys + [f"again {key}" for key in keys])[place] for place in order]))["y"]
    assert len(read) == 2 * rows
    lists = np.split(flat, ends[:-1])
    for place, found in zip(order, read, strict=True):
        expected = lists[place % rows] if width is not None else lists[place % rows][0]
        if kind == "number":
            assert np.asarray(found).dtype == dtype
            assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
        else:
            assert np.array_equal(found, expected)
    assert table.outputs(table.find([]))["y"].shape == ((0,) if width is None else (0, width))
    if width is None or width:
        assert read.shape == ((2 * rows,) if width is None else (2 * rows, width))


def test_keys_of_one_hash_are_told_apart(tmp_path: Path) -> None:
    assert len({zlib.crc32(key.encode()) for key in TWINS}) == 1
    for number, keys in enumerate([TWINS, TWINS[::-1], TWINS[:1]]):
        table = numbered(tmp_path / str(number), ["a", *keys, "b"])
        expected = {key: place for place, key in enumerate(["a", *keys, "b"])}
        assert table.find([*TWINS, "a", "b"]).tolist() == [expected.get(key, -1) for key in (*TWINS, "a", "b")]


def forged(count: int) -> list[str]:
    """Keys of one CRC-32: a text and four characters, of bytes that lead its checksum to a fixed one."""
    by_tail = {}
    for word in range(1 << 22):
        text = f"{word:x}"
        by_tail.setdefault(zlib.crc32(text.encode()) & 0xFFFF, []).append(text)
        if len(by_tail[zlib.crc32(text.encode()) & 0xFFFF]) == count:
            return by_tail[zlib.crc32(text.encode()) & 0xFFFF]
    raise AssertionError


def test_many_keys_of_one_hash_are_found_and_repeated_ones_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A hash of 16 bits stands for CRC-32, of which so many keys cannot be found quickly.
    monkeypatch.setattr(zlib, "crc32", lambda content: hash_of(content) & 0xFFFF)
    keys = forged(40)
    order = np.random.default_rng(0).permutation(40)
    shuffled = [keys[place] for place in order]
    footer, repeated = write(
        tmp_path / "t",
        ONE,
        [([*shuffled, keys[7], keys[3]], {"prediction": ColumnValues(np.arange(42, dtype=np.float32))})],
    )
    assert footer.entries == 40
    assert repeated == [(40, shuffled.index(keys[7])), (41, shuffled.index(keys[3]))]
    table = PredictionTable(tmp_path / "t")
    assert table.find([*shuffled, keys[7] + " "]).tolist() == [*range(40), -1]


hash_of = zlib.crc32


def test_an_empty_table_has_no_keys(tmp_path: Path) -> None:
    table = numbered(tmp_path / "t", [])
    assert len(table) == 0
    assert table.find(["", "a"]).tolist() == [-1, -1]
    assert table.find([]).tolist() == []


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    keys = [f"key-{i}" for i in np.random.default_rng(3).permutation(5000)]
    values = np.arange(5000, dtype=np.float32)
    for size in (33, 5000):
        blocks = [
            (keys[b : b + size], {"prediction": ColumnValues(values[b : b + size])}) for b in range(0, 5000, size)
        ]
        write(tmp_path / str(size), ONE, blocks)
    assert (tmp_path / "33").read_bytes() == (tmp_path / "5000").read_bytes()


def test_every_damaged_byte_and_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    numbered(path, ["a", "b"])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match="the file is not a whole table of predictions"):
            PredictionTable(path)
    for size in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="the file is not a whole table of predictions"):
            PredictionTable(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DataError, match="truncated or damaged at its end"):
        PredictionTable(path)
    path.unlink()
    with pytest.raises(UsageError, match="the table cannot be read"):
        PredictionTable(path)
    with pytest.raises(UsageError, match="the table cannot be read"):
        PredictionTable(tmp_path)


def test_tables_of_one_path_are_open_at_a_time_while_readers_switch(tmp_path: Path) -> None:
    """A new file over the path: readers of the old table read the old one, and each answer is of one table."""
    path, keys = tmp_path / "t", [f"k{i}" for i in range(100)]
    current = [numbered(path, keys)]
    wrong: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            table = current[0]
            found = table.outputs(table.find(keys))["prediction"]
            if len(set((found - np.arange(100)).tolist())) != 1:
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    old = current[0]
    for number in range(1, 30):
        new = tmp_path / "new"
        numbered(new, keys, 1000 * number)
        new.replace(path)
        current[0] = PredictionTable(path)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert old.outputs(old.find(["k5"]))["prediction"].tolist() == [5.0]
    assert current[0].outputs(current[0].find(["k5"]))["prediction"].tolist() == [29_005.0]
