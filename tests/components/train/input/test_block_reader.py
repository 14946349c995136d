"""Blocks that are decoded in C, or in numpy, hold what TensorFlow's own parser reads in the records."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from headrace.components.train.input import shard_stream as module
from headrace.components.train.input.shard_stream import Shards
from headrace.components.train.model.distinct_values import decoded
from headrace.components.train.model.wide_and_deep import NUMBERS as NUMBER_COLUMNS
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.tfrecord import native

PROBLEM = Problem(
    name="small",
    key="id",
    label=Categorical("kind", vocabulary=["a", "b"]),
    features=[Numeric("x", optional=True), Categorical("color", optional=True), Categorical("word")],
)
# Of two epochs: a run that resumes from a checkpoint of an earlier version must meet the same rows.
STREAM = "281ee3f5e6f84c9f"
NUMBERS = Problem(name="numbers", key="id", label=Numeric("y"), features=[Numeric("x")])

Fill = Callable[[Any], None]


def example(row: int) -> tf.train.Example:
    made = tf.train.Example()
    features = made.features.feature
    features["id"].bytes_list.value.append(f"key {row}".encode())
    features["kind"].bytes_list.value.append(b"ab"[row % 2 : row % 2 + 1])
    features["word"].bytes_list.value.append(f"word {row} longer than TensorFlow holds inline".encode())
    if row % 3:
        features["x"].float_list.value.append(row / 7)
    if row % 5:
        features["color"].bytes_list.value.append([b"", b"red", "blau ü".encode(), b"no\0end", b"x" * 300][row % 5])
    return made


def written(folder: Path, records: Sequence[bytes], sizes: Sequence[int]) -> tuple[str, ...]:
    files, begin = [], 0
    for shard, size in enumerate(sizes):
        files.append(str(folder / f"{shard}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for record in records[begin : begin + size]:
                writer.write(record)
        begin += size
    return tuple(files)


def rows_of(blocks: Any) -> list[tuple[Any, ...]]:
    """All rows, hashable; a NaN as text."""
    rows: list[tuple[Any, ...]] = []
    for features, labels in blocks:
        plain = decoded(features, ["x"])
        columns = [np.asarray(column).tolist() for column in (*(plain[name] for name in sorted(plain)), labels)]
        rows.extend(tuple(str(v) if v != v else v for v in row) for row in zip(*columns, strict=True))
    return rows


def parsed(problem: Problem, files: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """All rows in the order of the files, by tf.io.parse_example."""
    columns = {
        column.name: tf.io.FixedLenFeature([], tf.float32, float("nan"))
        if isinstance(column, Numeric)
        else tf.io.FixedLenFeature([], tf.string, "")
        for column in (*problem.columns, problem.label)
    }
    records = list(tf.data.TFRecordDataset(list(files)))
    features = dict(tf.io.parse_example(tf.stack(records), columns))
    labels = features.pop("kind").numpy().tolist()
    return rows_of([(features, [b"ab".index(label) for label in labels])])


def in_order(shards: Shards) -> list[Any]:
    return [shards.in_order(number) for number in range(shards.blocks)]


@pytest.fixture(params=["compiled", "not compiled"])
def shards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shards]:
    """`shards(problem, files, sizes)`, read in C, and in numpy."""
    if request.param == "not compiled":
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("what is written in C is not built")
    return lambda problem, files, sizes: Shards(problem, files, tuple(sizes), 7)


def test_blocks_are_the_records_in_an_order_of_the_seed(
    shards: Callable[..., Shards], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 300)
    sizes = [700, 3, 256, 1, 257, 40, 300, 5, 600, 11]
    total = sum(sizes)
    files = written(tmp_path, [example(row).SerializeToString(deterministic=True) for row in range(total)], sizes)
    ours = shards(PROBLEM, files, sizes)
    expected = parsed(PROBLEM, files)
    assert rows_of(in_order(ours)) == expected
    assert len(set(expected)) == total
    epochs = [[row for n in range(ours.blocks) for row in rows_of([ours.shuffled(epoch, n)])] for epoch in (0, 1)]
    assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(expected)
    assert epochs[0] != epochs[1]
    # A block is the same whatever was read before it.
    again = shards(PROBLEM, files, sizes)
    for epoch, number in ((1, 4), (0, 7), (0, 2)):
        assert rows_of([again.shuffled(epoch, number)]) == epochs[epoch][number * 300 : (number + 1) * 300]
    assert hashlib.sha256(repr(epochs).encode()).hexdigest()[:16] == STREAM


def irregular() -> dict[str, bytes]:
    """Records that protobuf reads, written in ways in which it does not write them."""
    plain = example(1)
    number = plain.features.feature["x"].float_list.value[0]
    packed = plain.SerializeToString(deterministic=True)
    field = b"\x0d" + np.float32(number).tobytes()
    unpacked = tf.train.Example(features=tf.train.Features())
    feature = tf.train.Feature()
    feature.MergeFromString(b"\x12" + bytes([len(field)]) + field)
    unpacked.MergeFrom(plain)
    entry = b"\x0a\x01x\x12" + bytes([len(field) + 2]) + b"\x12" + bytes([len(field)]) + field
    twice = b"\x0a" + bytes([len(entry) + 2]) + b"\x0a" + bytes([len(entry)]) + entry
    swapped = b"\x12" + bytes([len(field) + 2]) + b"\x12" + bytes([len(field)]) + field + b"\x0a\x01x"
    return {
        "a number that is not packed": b"\x0a" + bytes([len(entry) + 2]) + b"\x0a" + bytes([len(entry)]) + entry,
        "two messages joined": packed + twice,
        "a value before its key": b"\x0a" + bytes([len(swapped) + 2]) + b"\x0a" + bytes([len(swapped)]) + swapped,
        "an unknown field": packed + b"\x7a\x02hi",
        "nothing": b"",
        "no features": b"\x0a\x00",
        "a feature of no kind": b"\x0a\x07\x0a\x05\x0a\x01x\x12\x00",
        "no values": b"\x0a\x09\x0a\x07\x0a\x01x\x12\x02\x0a\x00",
    }


@pytest.mark.parametrize("kind", irregular())
def test_a_record_in_another_form_is_what_tensorflow_reads(
    kind: str, shards: Callable[..., Shards], tmp_path: Path
) -> None:
    records = [example(row).SerializeToString(deterministic=True) for row in range(20)]
    records[11] = irregular()[kind]
    files = written(tmp_path, records, [20])
    try:
        expected = parsed(PROBLEM, files)
    except tf.errors.InvalidArgumentError:
        with pytest.raises(DataError):
            in_order(shards(PROBLEM, files, [20]))
    else:
        assert rows_of(in_order(shards(PROBLEM, files, [20]))) == expected


@pytest.mark.parametrize(
    ("name", "fill"),
    [
        ("x", lambda feature: feature.float_list.value.extend([1.0, 2.0])),
        ("x", lambda feature: feature.int64_list.value.append(3)),
        ("color", lambda feature: feature.bytes_list.value.extend([b"a", b"b"])),
    ],
    ids=["two numbers", "an integer", "two strings"],
)
def test_another_shape_or_type_is_refused(name: str, fill: Fill, shards: Callable[..., Shards], tmp_path: Path) -> None:
    wrong = example(4)
    del wrong.features.feature[name]
    fill(wrong.features.feature[name])
    records = [example(0).SerializeToString(), wrong.SerializeToString(), example(2).SerializeToString()]
    with pytest.raises(DataError, match=f"feature '{name}' (is|has two different kinds)"):
        in_order(shards(PROBLEM, written(tmp_path, records, [3]), [3]))


@pytest.mark.parametrize(
    ("place", "message"),
    [(3, "length is wrong"), (40, "a record is wrong"), (-30, "a record is wrong"), (None, "ends within a record")],
)
def test_damage_is_found(place: int | None, message: str, shards: Callable[..., Shards], tmp_path: Path) -> None:
    records = [example(row).SerializeToString(deterministic=True) for row in range(500)]
    files = written(tmp_path, records, [500])
    content = bytearray(Path(files[0]).read_bytes())
    if place is None:
        del content[-1]
    else:
        content[place] ^= 4
    Path(files[0]).write_bytes(content)
    with pytest.raises(UnreadableFile) as caught:
        in_order(shards(PROBLEM, files, [500]))
    assert message in str(caught.value)
    assert files[0] in str(caught.value)


def test_numbers_alone(shards: Callable[..., Shards], tmp_path: Path) -> None:
    records = []
    for row in range(10):
        made = tf.train.Example()
        made.features.feature["x"].float_list.value.append(row)
        made.features.feature["y"].float_list.value.append(2 * row)
        records.append(made.SerializeToString())
    records[3] += b"\x7a\x02hi"
    features, labels = shards(NUMBERS, written(tmp_path, records, [4, 6]), [4, 6]).in_order(0)
    assert features[NUMBER_COLUMNS].tolist() == [[float(row)] for row in range(10)]
    assert labels.tolist() == [2.0 * row for row in range(10)]
