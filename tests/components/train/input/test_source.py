from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.components.train.input import batches, interleaving, records, row_cache, row_order, shard_stream
from headrace.components.train.input import source as input_pipeline
from headrace.components.train.input.batches import prefetched
from headrace.components.train.input.examples import Examples, SplitFiles, open_examples
from headrace.components.train.input.source import CachePlacement, Order, choose_cache, order_of
from headrace.components.train.options import Input
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.problem.file import ProblemFile

PROBLEM = Problem(
    name="small",
    key="id",
    label=Categorical("kind", vocabulary=["a", "b", "c"]),
    features=[Numeric("x", optional=True), Categorical("color", optional=True)],
)


@pytest.fixture(scope="module")
def examples(natality: ProblemFile, natality_examples: Path) -> Examples:
    return open_examples(str(natality_examples), natality.problem)


def source(
    problem: Problem,
    examples: Examples,
    *,
    cache: Any = "auto",
    order: Order | None = None,
    seed: int = 1,
    batch: int = 64,
    memory: int | None = 1 << 33,
    **wanted: Any,
) -> Any:
    return input_pipeline.open_source(
        problem,
        examples,
        lambda features: features,
        batch_size=batch,
        seed=seed,
        memory_bytes=memory,
        wanted=Input(cache=cache, **wanted),
        order=order,
    )


def take(dataset: Any, count: int) -> list[tuple[Any, ...]]:
    """The rows of the first batches, as (features and label in order), hashable."""
    rows: list[tuple[Any, ...]] = []
    for features, labels in itertools.islice(dataset, count):
        columns = [np.nan_to_num(f.numpy(), nan=-1) if f.dtype == tf.float32 else f.numpy() for f in features.values()]
        rows.extend(zip(*(column.tolist() for column in (*columns, labels.numpy())), strict=True))
    return rows


def test_missing_values_and_classes(make_examples: Callable[..., Path]) -> None:
    rows = [
        {"id": str(i), "x": x, "color": color, "kind": kind}
        for i, (x, color, kind) in enumerate([(1.5, "red", "c"), (None, None, "a"), (-2.0, "blau ü", "b")] * 20)
    ]
    opened = open_examples(str(make_examples(PROBLEM, rows, shards=1)), PROBLEM)
    raw = input_pipeline.raw_rows(PROBLEM, opened.eval, 100)
    assert set(raw) == {"x", "color", "key"}
    assert len(raw["key"]) == opened.eval.rows
    (features, labels), *_ = list(source(PROBLEM, opened).eval_blocks)
    expected = {int(key): rows[int(key)] for key in raw["key"]}
    for i, row in enumerate(expected.values()):
        x = float(features["x"][i])
        assert math.isnan(x) if row["x"] is None else x == row["x"]
        assert features["color"][i].numpy().decode() == (row["color"] or "")
        assert "abc"[int(labels[i])] == row["kind"]


# Every order, and every place that its rows can be in.
KEPT: list[tuple[str, Order]] = [
    ("memory", "uniform"),
    ("disk", "uniform"),
    ("memory", "blocks_then_uniform"),
    ("disk", "blocks_then_uniform"),
    ("memory", "blocks_then_runs"),
    ("disk", "blocks_then_runs"),
    ("none", "blocks"),
]
COUNTED = Problem(name="counted", key="id", label=Numeric("y"), features=[Numeric("x"), Categorical("text")])


WEIGHTED = dataclasses.replace(COUNTED, weight="w")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows then have many blocks, pieces and runs."""
    for module in (records, shard_stream, row_order, row_cache, batches, input_pipeline):
        if hasattr(module, "BLOCK_ROWS"):
            monkeypatch.setattr(module, "BLOCK_ROWS", 32)
    monkeypatch.setattr(interleaving, "PIECE_ROWS", 4)
    monkeypatch.setattr(interleaving, "INTERLEAVED_SHARDS", 3)
    monkeypatch.setattr(row_order, "RUN_ROWS", 4)
    monkeypatch.setattr(row_order, "_RUNS", 8)


def counted(folder: Path, sizes: list[int]) -> Examples:
    """Shards of rows whose x counts from 0."""
    files, row = [], 0
    for shard, size in enumerate(sizes):
        files.append(str(folder / f"part-{shard:05d}-{sum(sizes)}-{size}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for _ in range(size):
                example = tf.train.Example()
                example.features.feature["x"].float_list.value.append(row)
                example.features.feature["y"].float_list.value.append(2 * row)
                example.features.feature["w"].float_list.value.append(3 * row)
                example.features.feature["text"].bytes_list.value.append(f"row {row}".encode())
                writer.write(example.SerializeToString())
                row += 1
    split = SplitFiles(row, tuple(files), sum(Path(file).stat().st_size for file in files), tuple(sizes))
    return Examples("", "0" * 16, {}, split, split)


def stream(opened: Any, steps: int, start: int = 0, worker: int = 0, workers: int = 1) -> list[list[int]]:
    """The rows of the batches from a step on, up to step `steps`; all columns must belong together."""
    found = []
    for features, labels, *weights in itertools.islice(opened.batches(start, worker, workers), steps - start):
        x = features["x"].numpy().astype(int).tolist()
        assert labels.numpy().tolist() == [2 * row for row in x]
        assert [column.numpy().tolist() for column in weights] in ([], [[3 * row for row in x]])
        assert features["text"].numpy().tolist() == [f"row {row}".encode() for row in x]
        found.append(x)
    return found


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("cache", "order"), KEPT)
def test_it_goes_on_at_any_step_as_if_it_had_never_stopped(cache: str, order: Order, tmp_path: Path) -> None:
    @settings(max_examples(2), phases=[Phase.generate])
    @given(
        sizes=st.lists(st.integers(1, 60), min_size=1, max_size=7),
        batch=st.integers(1, 40),
        start=st.floats(0, 1),
        seed=st.integers(0, 2**62),
    )
    def check(sizes: list[int], batch: int, start: float, seed: int) -> None:
        examples = counted(tmp_path, sizes)
        rows = examples.train.rows
        batch = min(batch, rows)
        opened = source(COUNTED, examples, cache=cache, order=order, seed=seed, batch=batch)
        # A little more than two epochs.
        steps = 2 * rows // batch + 3
        whole = stream(opened, steps)
        assert all(len(each) == batch for each in whole)
        flat = [row for each in whole for row in each]
        assert sorted(flat[:rows]) == sorted(flat[rows : 2 * rows]) == list(range(rows))
        begin = int(start * steps)
        # Of another source, as after a restart: nothing is kept yet.
        again = source(COUNTED, examples, cache=cache, order=order, seed=seed, batch=batch)
        assert stream(again, steps, begin) == whole[begin:]

    check()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("cache", "order"), KEPT)
def test_weights_go_with_their_rows(cache: str, order: Order, tmp_path: Path) -> None:
    examples = counted(tmp_path, [50, 7, 33, 20])
    opened = source(WEIGHTED, examples, cache=cache, order=order, batch=12, sharding="record")
    assert len(opened.batches().element_spec) == 3
    assert stream(opened, 25, 3) == stream(source(COUNTED, examples, cache=cache, order=order, batch=12), 25, 3)
    assert sorted(stream(opened, 20, 0, 1, 2)[0]) == sorted(stream(opened, 20, 0, 0, 1)[0][6:])
    np.testing.assert_array_equal(opened.eval_weights, 1.5 * opened.eval_labels)
    assert sum(len(block[2]) for block in opened.eval_blocks) == 110


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("cache", "order"), KEPT)
def test_the_workers_parts_make_up_the_batch_of_one(cache: str, order: Order, tmp_path: Path) -> None:
    examples = counted(tmp_path, [50, 7, 33, 20])
    opened = source(COUNTED, examples, cache=cache, order=order, batch=12, sharding="record")
    assert opened.to_json()["sharding"].startswith("by record")
    whole = stream(opened, 25, 3)
    parts = [stream(opened, 25, 3, worker, 3) for worker in range(3)]
    assert [[row for part in step for row in part] for step in zip(*parts, strict=True)] == whole
    with pytest.raises(UsageError, match=r"Expected a multiple of 5\. Received: 12"):
        opened.batches(0, 0, 5)


@pytest.mark.usefixtures("small_blocks")
def test_workers_that_share_by_file_read_files_of_their_own(tmp_path: Path) -> None:
    examples = counted(tmp_path, [40, 10, 20, 30])
    opened = source(COUNTED, examples, cache="none", batch=20)
    assert opened.sharding == "file"
    parts = [stream(opened, 10, 0, worker, 2) for worker in range(2)]
    rows = [sorted(row for step in part[:5] for row in step) for part in parts]
    # 40 + 10 and 20 + 30 rows.
    assert rows == [list(range(50)), list(range(50, 100))]
    assert stream(opened, 10, 4, 1, 2) == parts[1][4:]
    with pytest.raises(UsageError, match="fewer shards than workers"):
        opened.batches(0, 4, 5)
    with pytest.raises(UsageError, match="cached rows cannot be distributed by file"):
        source(COUNTED, examples, sharding="file")


@pytest.mark.usefixtures("small_blocks")
def test_an_order_is_the_same_wherever_its_rows_are_kept(tmp_path: Path) -> None:
    examples = counted(tmp_path, [50, 7, 33, 20])
    for order in ("uniform", "blocks_then_uniform", "blocks_then_runs"):
        both = [stream(source(COUNTED, examples, cache=c, order=order, batch=9), 30) for c in ("memory", "disk")]
        assert both[0] == both[1]
    with pytest.raises(UsageError, match="the order of rows is wrong"):
        source(COUNTED, examples, order="sorted")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cached its rows"):
        source(COUNTED, examples, cache="none", order="uniform")


@pytest.mark.usefixtures("small_blocks")
def test_workers_take_the_order_that_each_of_them_can(tmp_path: Path) -> None:
    examples = counted(tmp_path, [50, 7, 33, 20])

    def opened(cache: str, greatest: Order, workers: int = 2) -> Any:
        def agree(own: float) -> float:
            return max(own, float(get_args(Order).index(greatest)))

        return input_pipeline.open_source(
            COUNTED,
            examples,
            lambda features: features,
            batch_size=12,
            seed=1,
            memory_bytes=1 << 33,
            wanted=Input(cache=cache),  # type: ignore[arg-type]
            workers=workers,
            agree=agree,
        )

    # One has room in memory, and the other on disk alone.
    roomy, poor = opened("memory", "blocks_then_runs"), opened("disk", "uniform")
    assert roomy.order == poor.order == "blocks_then_runs"
    assert stream(roomy, 25, 0, 0, 2) == stream(poor, 25, 0, 0, 2)
    streamed = opened("memory", "blocks")
    assert (streamed.order, streamed.place.cache, streamed.sharding) == ("blocks", "none", "file")
    # Four shards are too few for each of five workers to have its own.
    assert opened("none", "blocks", workers=5).sharding == "record"


@pytest.mark.parametrize(("cache", "order"), [k for k in KEPT if k[1] != "uniform"])
def test_the_shuffle_is_as_good_as_it_is_said_to_be(cache: str, order: Order, tmp_path: Path) -> None:
    # 60,000 rows in 12 shards of 5,000: 8 shards are mixed, and blocks of 16,384 rows permuted.
    rows = 60_000
    examples = counted(tmp_path, [5000] * 12)
    flat = np.array(stream(source(COUNTED, examples, cache=cache, order=order, batch=1000), 120)).ravel()
    for epoch, places in enumerate(flat.reshape(2, rows)):
        # A uniform permutation moves a row by a third of all on average, and neighbours end up as far apart.
        displacement = np.abs(places - np.arange(rows)).mean() / rows
        place_of = np.argsort(places)
        neighbours = np.abs(np.diff(place_of)).mean() / rows
        is_uniform = order == "blocks_then_uniform" and epoch == 1
        assert displacement == pytest.approx(1 / 3, abs=0.01 if is_uniform else 0.09)
        # Within a block of 16,384 they are a third of it apart; runs of 256 rows and blocks stay together.
        assert neighbours == pytest.approx(1 / 3, abs=0.01) if is_uniform else neighbours > 16_384 / rows / 3 * 0.7
        # No two batches of 1,000 are of one stretch of the data.
        spread = places.reshape(-1, 1000).std(axis=1).min() / rows
        assert spread > (0.27 if is_uniform else 0.2)
    assert order.split("_")[0] in source(COUNTED, examples, order="blocks", cache="none").shuffle


@max_examples(10)
@given(rows=st.integers(1, 300), batch=st.integers(1, 70), seed=st.integers(0, 2**62))
def test_each_epoch_is_a_permutation(rows: int, batch: int, seed: int) -> None:
    epochs = 3
    for order in (row_order.Uniform(rows, seed), row_order.ShuffledRuns(rows, seed)):
        stream = order.numbers(0, epochs * rows + batch).tolist()
        passes = [stream[epoch * rows : (epoch + 1) * rows] for epoch in range(epochs)]
        assert all(sorted(each) == list(range(rows)) for each in passes)
        if rows > 20:
            assert passes[0] != passes[1] != passes[2]
        for place in range(0, epochs * rows, batch):
            assert order.numbers(place, batch).tolist() == stream[place : place + batch]


def test_the_permutations_are_uniform() -> None:
    rows, epochs = 12, 2000
    orders_ = row_order.Uniform(rows, 1).numbers(0, rows * epochs).reshape(epochs, rows)
    counts = np.stack([np.bincount(orders_[:, place], minlength=rows) for place in range(rows)])
    expected = epochs / rows
    # Chi-squared of a 12 x 12 table with fixed margins has 121 degrees of freedom: 200 is beyond 5 deviations.
    assert ((counts - expected) ** 2 / expected).sum() < 200


def test_batches_follow_from_the_seed(natality: ProblemFile, examples: Examples) -> None:
    for cache, order in KEPT:
        first = take(source(natality.problem, examples, cache=cache, order=order).batches(), 40)
        assert first == take(source(natality.problem, examples, cache=cache, order=order).batches(), 40)
        assert first != take(source(natality.problem, examples, cache=cache, order=order, seed=2).batches(), 40)


def test_rows_that_do_not_fit_are_streamed_and_the_same(natality: ProblemFile, examples: Examples) -> None:
    kept, streamed = source(natality.problem, examples), source(natality.problem, examples, cache="none", memory=0)
    assert (kept.cached, streamed.cached) == (True, False)
    np.testing.assert_array_equal(kept.eval_labels, streamed.eval_labels)
    assert isinstance(kept.eval_blocks, list)
    assert not isinstance(streamed.eval_blocks, list)
    rows = examples.train.rows
    # As many batches as hold two epochs, and the rest of the last one.
    count = math.ceil(2 * rows / 64)
    from_memory, from_disk = take(kept.batches(), count), take(streamed.batches(), count)
    assert Counter(from_memory[:rows]) == Counter(from_memory[rows : 2 * rows]) == Counter(from_disk[:rows])
    assert Counter(from_disk[rows : 2 * rows]) == Counter(from_disk[:rows])
    assert from_disk[:rows] != from_disk[rows : 2 * rows]


def test_where_rows_are_kept_follows_from_what_is_free() -> None:
    def chosen(needed: int, memory: int | None, disk: int) -> str:
        return choose_cache("auto", needed, memory, disk).cache

    assert chosen(100, 400, 0) == "memory"
    assert chosen(101, 400, 202) == "disk"
    assert chosen(101, 400, 201) == "none"
    assert (chosen(1 << 30, None, 0), chosen((1 << 30) + 1, None, 0)) == ("memory", "none")
    assert choose_cache("none", 1, 100, 100) == CachePlacement("none", "requested")
    assert choose_cache("memory", 100, 100, 0).cache == "memory"
    with pytest.raises(UsageError, match="do not fit in memory"):
        choose_cache("memory", 101, 100, 0)
    with pytest.raises(UsageError, match="do not fit on disk"):
        choose_cache("disk", 101, 100, 100)


def test_the_order_follows_from_the_place_and_the_size() -> None:
    assert order_of(CachePlacement("memory", ""), 64 << 20) == "uniform"
    assert order_of(CachePlacement("memory", ""), (64 << 20) + 1) == "blocks_then_uniform"
    assert order_of(CachePlacement("disk", ""), 1) == "blocks_then_runs"
    assert order_of(CachePlacement("none", ""), 1) == "blocks"


def test_batches_made_ahead_follow_from_their_size() -> None:
    assert prefetched(1000, 1 << 30) == 64
    assert prefetched(1 << 20, 1 << 30) == 10
    assert prefetched(1 << 30, 1 << 30) == 2
    assert prefetched(1 << 20, None) == 10


def test_what_a_row_takes() -> None:
    rows = ({"a": tf.zeros([5, 3]), "b": tf.zeros([5], tf.string)}, tf.zeros([5]))
    assert records.row_bytes(rows) == 3 * 4 + 48 + 4


def test_a_damaged_record_is_a_data_error(natality: ProblemFile, examples: Examples, tmp_path: Path) -> None:
    content = bytearray(Path(examples.train.files[0]).read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged = tmp_path / "part-00000-of-00001.tfrecord"
    damaged.write_bytes(content)
    split = dataclasses.replace(examples.train, files=(str(damaged),))
    with pytest.raises(DataError, match="a shard cannot be read"):
        source(natality.problem, dataclasses.replace(examples, train=split))


def test_fewer_rows_than_the_manifest_says_are_refused(natality: ProblemFile, examples: Examples) -> None:
    split = dataclasses.replace(examples.train, rows=examples.train.rows + 1)
    with pytest.raises(DataError, match=f"Expected {split.rows} rows. Received: {split.rows - 1} rows"):
        source(natality.problem, dataclasses.replace(examples, train=split))


@pytest.mark.usefixtures("small_blocks")
def test_in_any_order_every_row_still_comes_once_an_epoch(tmp_path: Path) -> None:
    examples = counted(tmp_path, [50, 7, 33, 20])
    for cache, order in (("memory", "uniform"), ("none", "blocks")):
        free = source(COUNTED, examples, cache=cache, order=order, batch=11, deterministic=False)
        assert free.batches().options().deterministic is False
        # An epoch of 110 rows is ten batches; late ones may be overtaken, within what is made at once.
        counts = Counter(row for batch in stream(free, 40) for row in batch)
        assert set(counts) == set(range(110))
        assert sum(counts.values()) == 440
        assert max(counts.values()) - min(counts.values()) <= 2
    assert source(COUNTED, examples).batches().options().deterministic is True
