from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.train.input import shard_stream
from headrace.components.train.input.interleaving import INTERLEAVED_SHARDS, PIECE_ROWS, Interleave, entered
from headrace.components.train.input.shard_stream import Shards
from headrace.core.problem import Numeric, Problem
from headrace.core.tfrecord import native

PROBLEM = Problem(name="small", key="id", label=Numeric("y"), features=[Numeric("x")])

Piece = tuple[int, int, int]


def interleaved(opened: list[tuple[int, int]], rows: list[int]) -> list[Piece]:
    """(shard, first row, rows) of every piece, as tf.data's interleave gives them."""
    waiting, slots, slot = deque(opened), [None] * INTERLEAVED_SHARDS, 0  # type: ignore[var-annotated]
    pieces: list[Piece] = []
    while waiting or any(slots):
        if slots[slot] is None and waiting:
            slots[slot] = waiting.popleft()
            continue
        if slots[slot] is not None:
            shard, taken = slots[slot]
            count = min(PIECE_ROWS, rows[shard] - taken)
            if count:
                pieces.append((shard, taken, count))
            slots[slot] = (shard, taken + count) if count else None
        slot = (slot + 1) % INTERLEAVED_SHARDS
    return pieces


@given(rows=st.lists(st.integers(1, 2000), min_size=1, max_size=20), share=st.floats(0, 1, exclude_max=True))
def test_an_interleave_is_entered_where_it_was(rows: list[int], share: float) -> None:
    place = int(share * sum(rows))
    whole = interleaved([(shard, 0) for shard in range(len(rows))], rows)
    assert [tuple(piece) for piece in Interleave(rows).pieces()] == whole
    opened, surplus = entered(rows, place)
    rest = interleaved(opened, rows)
    assert rest == whole[len(whole) - len(rest) :]
    assert sum(count for *_, count in whole[: len(whole) - len(rest)]) + surplus == place
    assert 0 <= surplus < rest[0][2]


def test_tensorflow_interleaves_like_that(tmp_path: Path) -> None:
    rows = [700, 3, 256, 1, 900, 257, 512, 40, 300, 5, 600]
    files = []
    for shard, count in enumerate(rows):
        files.append(str(tmp_path / f"{shard}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for row in range(count):
                writer.write(f"{shard} {row}".encode())
    opened = Shards(PROBLEM, tuple(files), tuple(rows), seed=1)
    order = opened._order(0).numpy().tolist()
    pieces = opened._pieces(tf.constant(order), tf.zeros([len(rows)], tf.int64))
    found = [(*map(int, piece[0].numpy().split()), int(piece.shape[0])) for piece in pieces]
    sizes = [rows[shard] for shard in order]
    expected = interleaved([(shard, 0) for shard in range(len(rows))], sizes)
    assert found == [(order[shard], taken, count) for shard, taken, count in expected]


def test_shards_are_dealt_out_evenly() -> None:
    dealt = Shards(PROBLEM, ("a", "b", "c", "d"), (40, 10, 20, 30), seed=1)
    assert [dealt.own(worker, 2).rows for worker in range(2)] == [(40, 10), (20, 30)]
    assert dealt.own(4, 5).total == 0
    assert shard_stream.ENDLESS > 1 << 60


def test_what_decodes_records_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tfrecord").write_bytes(b"")
    opened = Shards(PROBLEM, (str(tmp_path / "a.tfrecord"),), (1,), seed=1)
    monkeypatch.setattr(native, "library", lambda: object())
    assert opened.decoder == "C"
    for library, absence, in_graph, told in (
        (None, "it was not built", False, "TensorFlow: the C code is not used: it was not built"),
        (object(), "", True, "TensorFlow: batches are made in other processes"),
    ):
        monkeypatch.setattr(native, "library", lambda library=library: library)
        monkeypatch.setattr(native, "absence", lambda absence=absence: absence)
        assert Shards(PROBLEM, opened.files, (1,), seed=1, in_graph=in_graph).decoder == told
