"""Shards that are damaged or lack rows are named, whichever way they are read and whenever it is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from headrace.components.train.input import source
from headrace.components.train.input.examples import Examples, SplitFiles, blaming_shards, damage_of
from headrace.components.train.input.source import Order
from headrace.components.train.options import Input
from headrace.core.errors import DataError
from headrace.core.problem import Numeric, Problem
from headrace.core.tfrecord import native

PROBLEM = Problem(name="numbers", key="id", label=Numeric("y"), features=[Numeric("x")])
ROWS = 60
# An Example of two numbers, with its length and both checksums.
FRAME = 48


@pytest.fixture
def split(tmp_path: Path) -> Callable[..., SplitFiles]:
    """`split(damage)`: two shards, of whose second the file's content is changed."""

    def made(damage: Callable[[bytes], bytes]) -> SplitFiles:
        files = [tmp_path / f"part-{shard}.tfrecord" for shard in range(2)]
        for file in files:
            with tf.io.TFRecordWriter(str(file)) as writer:
                for row in range(ROWS):
                    example = tf.train.Example()
                    for name in ("x", "y"):
                        example.features.feature[name].float_list.value.append(row)
                    writer.write(example.SerializeToString())
        files[1].write_bytes(damage(files[1].read_bytes()))
        return SplitFiles(2 * ROWS, tuple(map(str, files)), 0, (ROWS, ROWS))

    return made


def flipped(content: bytes) -> bytes:
    return content[: FRAME * 20 + 20] + bytes([content[FRAME * 20 + 20] ^ 8]) + content[FRAME * 20 + 21 :]


@pytest.mark.parametrize(
    ("damage", "place", "received"),
    [
        (flipped, f", byte {FRAME * 20 + 12}", "a corrupted record"),
        (lambda content: content[:-30], f", byte {FRAME * 59}", "a truncated record"),
        (lambda content: content[: FRAME * 20 + 5], "", "20 of 60 records"),
        (lambda content: content[: FRAME * 20], "", "20 of 60 records"),
        (lambda content: content + content[:FRAME], "", "61 of 60 records"),
    ],
)
def test_what_is_wrong_is_named(
    split: Callable[..., SplitFiles], damage: Callable[[bytes], bytes], place: str, received: str
) -> None:
    made = split(damage)
    error = damage_of(made)
    assert error is not None
    assert str(error.where).startswith(made.files[1])
    assert str(error.where).endswith(place)
    assert error.received == received


def test_what_is_not_there_is_named_and_what_is_whole_is_not(split: Callable[..., SplitFiles]) -> None:
    made = split(bytes)
    assert damage_of(made) is None
    Path(made.files[1]).unlink()
    error = damage_of(made)
    assert error is not None
    assert (error.where, error.received) == (made.files[1], f"{made.files[1]}; No such file or directory")


@pytest.mark.parametrize(
    ("cache", "order"),
    [
        ("memory", "uniform"),
        ("disk", "uniform"),
        ("memory", "blocks_then_uniform"),
        ("disk", "blocks_then_runs"),
        ("none", "blocks"),
    ],
)
@pytest.mark.parametrize("way", ["compiled", "no compiler"])
def test_rows_that_are_not_there_are_no_end(
    split: Callable[..., SplitFiles], cache: Any, order: Order, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "no compiler":
        monkeypatch.setattr(native, "library", lambda: None)
    made = split(lambda content: content[: FRAME * 20 + 5])
    examples = Examples("", "0" * 16, {}, made, SplitFiles(ROWS, made.files[:1], 0, (ROWS,)))
    with pytest.raises(DataError, match="20 of 60 records") as caught, blaming_shards(examples):
        opened = source.open_source(
            PROBLEM,
            examples,
            lambda features: features,
            batch_size=20,
            seed=1,
            memory_bytes=1 << 33,
            wanted=Input(cache=cache),
            order=order,
        )
        # Two epochs and the beginning of a third.
        for _ in itertools.islice(opened.batches(0), 13):
            pass
    assert caught.value.where == made.files[1]
