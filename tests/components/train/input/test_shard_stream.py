from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.train.input.interleaving import INTERLEAVED_SHARDS, PIECE_ROWS, Interleave
from headrace.components.train.input.shard_stream import Shards
from headrace.core.problem import Numeric, Problem
from headrace.core.tfrecord import native

PROBLEM = Problem(name="small", key="id", label=Numeric("y"), features=[Numeric("x")])

Piece = tuple[int, int, int]


def interleaved(opened: list[int], rows: list[int]) -> list[Piece]:
    """(shard, first row, rows) of every piece, as tf.data's interleave gives them."""
    waiting, slots, slot = deque((shard, 0) for shard in opened), [None] * INTERLEAVED_SHARDS, 0  # type: ignore[var-annotated]
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


@given(rows=st.lists(st.integers(1, 2000), min_size=1, max_size=20))
def test_shards_give_pieces_by_turns(rows: list[int]) -> None:
    assert [tuple(piece) for piece in Interleave(rows).pieces()] == interleaved(list(range(len(rows))), rows)


def test_shards_are_dealt_out_evenly() -> None:
    dealt = Shards(PROBLEM, ("a", "b", "c", "d"), (40, 10, 20, 30), seed=1)
    assert [dealt.own(worker, 2).rows for worker in range(2)] == [(40, 10), (20, 30)]
    assert dealt.own(4, 5).total == 0


def test_what_decodes_records_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Shards(PROBLEM, ("a.tfrecord",), (1,), seed=1)
    monkeypatch.setattr(native, "library", lambda: object())
    assert opened.decoder == "C"
    monkeypatch.setattr(native, "library", lambda: None)
    monkeypatch.setattr(native, "absence", lambda: "it was not built")
    assert opened.decoder == "numpy, because the C code is not used: it was not built"
