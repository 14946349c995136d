"""Numbers of any scale: normalized as numpy's float64 does, in all spans alike; ordinary Examples are as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from headrace.components.preprocess.append.spans import add_span, append
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.components.train.model import wide_and_deep
from headrace.components.train.model.scaled_numbers import stored_statistics
from headrace.core.artifacts.examples import Schema
from headrace.core.artifacts.open_examples import open_examples
from headrace.core.problem import Numeric, Problem, Splits
from headrace.core.problem.file import ProblemFile
from headrace.core.sources.open import list_parts, read_part
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records
from headrace.core.values.scaling import unscaled

ROWS = 400


def file_of(*features: Numeric, **options: Any) -> ProblemFile:
    declared = {"splits": Splits(0.6, 0.2, 0.2), "quarantine_budget": 0.1, **options}
    return ProblemFile(Problem("sizes", "k", Numeric("y"), list(features), **declared), "sizes.py", "", "", None)


def config(folder: Path, columns: dict[str, Any], name: str = "data", output: str = "examples") -> PreprocessConfig:
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return PreprocessConfig(str(folder / f"{name}.parquet"), str(folder / output), "0" * 16)


def stored(examples: Path, split: str, names: list[str]) -> dict[str, np.ndarray[Any, Any]]:
    files = sorted(examples.rglob(f"{split}/*.tfrecord"))
    batches = [decode(records, names) for file in files for records in read_records(file, compressed=False)]
    table = pa.Table.from_batches(batches)
    return {name: table.column(name).to_numpy() for name in names}


def test_numbers_of_any_scale_are_normalized_as_by_numpy(tmp_path: Path) -> None:
    draw = np.random.default_rng(7)
    exponents = [*draw.uniform(-300, 300, 16).tolist(), -300.0, 300.0, -38.0, 38.5]
    names = [f"x{n}" for n in range(len(exponents))]
    shapes = (draw.normal(0, 1, ROWS), draw.lognormal(0, 2, ROWS), draw.uniform(2, 5, ROWS), draw.normal(-3, 1, ROWS))
    raw = {n: shapes[at % 4] * 10.0 ** exponents[at] for at, n in enumerate(names)}
    # Half of the numbers of the last column are missing.
    raw["late"] = np.where(np.arange(ROWS) % 2, np.nan, shapes[0] * 1e-250)
    names.append("late")
    keys = [f"k{n}" for n in range(ROWS)]
    features = [Numeric(n, optional=n == "late") for n in names]
    options = config(tmp_path, {"k": keys, "y": shapes[1] * 1e200, **raw})
    problem = file_of(*features).problem
    result = preprocess(file_of(*features), options)
    assert (result.rows_out, result.rows_quarantined) == (ROWS, 0)

    opened = open_examples(options.output, problem)
    measured = problem.measured(opened.statistics)
    train = stored(Path(options.output), "train", ["k", *names])
    at = np.array([int(key[1:]) for key in train["k"].tolist()])
    prepare = wide_and_deep.build_preprocessing(measured.stored, stored_statistics(opened.statistics))
    inputs = {n: tf.constant(train[n], tf.float32) for n in names}
    found = prepare(wide_and_deep.preprocessing_inputs(measured, inputs))["numeric"].numpy()
    for place, name in enumerate(names):
        values = raw[name][at]
        # Exact, but for the overflow of squares: a power of two changes no digit.
        plain = np.ldexp(values, -int(np.frexp(np.nanmax(np.abs(values)))[1]))
        expected = np.nan_to_num((plain - np.nanmean(plain)) / np.nanstd(plain))
        np.testing.assert_allclose(found[:, place], expected, rtol=1e-6, atol=3e-6, err_msg=name)
        column = opened.statistics[name]
        assert np.isclose(column["mean"], np.nanmean(values), rtol=1e-6)
        assert np.isclose(column["maximum"], np.nanmax(values), rtol=1e-7)
    assert "y" in measured.exponents
    assert {"x16", "x17", "late"} <= measured.exponents.keys()

    # Shards are read in the columns' own units, as data too.
    (part, *_) = list_parts(str(Path(options.output) / "test" / "*.tfrecord"))
    (batch, *_) = read_part(part, ["k", "x17"], 1000)
    rows = np.array([int(key[1:]) for key in batch.batch.column("k").to_pylist()])
    np.testing.assert_allclose(batch.batch.column("x17").to_numpy(), raw["x17"][rows], rtol=1e-7)


def test_spans_and_appended_rows_share_the_scale(tmp_path: Path) -> None:
    file = file_of(Numeric("x", buckets=4))

    def rows(name: str, size: float, first: int, count: int = 120) -> PreprocessConfig:
        values = np.random.default_rng(first).normal(2, 1, count) * size
        keys = [f"k{first + n}" for n in range(count)]
        return config(tmp_path, {"k": keys, "y": values, "x": values}, name)

    add_span(file, rows("one", 1e200, 0), "1")
    before = Schema.read(str(tmp_path / "examples")).exponents
    add_span(file, rows("two", 1e203, 200), "2")
    append(file, rows("three", 1e198, 400, 20), span="2")
    folder = tmp_path / "examples"
    assert Schema.read(str(folder)).exponents == before == Schema.read(str(folder / "spans" / "2")).exponents
    statistics = json.loads((folder / "statistics.json").read_text())["columns"]["x"]
    train = stored(folder, "train", ["x"])["x"]
    own = unscaled(train, before["x"])
    assert statistics["exponent"] == before["x"]
    assert statistics["count"] == len(own)
    assert np.isclose(statistics["mean"], own.mean(), rtol=1e-9)
    assert statistics["maximum"] == own.max()
    assert statistics["buckets"] == sorted(statistics["buckets"])
    assert open_examples(str(folder), file.problem).statistics["x"]["exponent"] == before["x"]


def test_ordinary_rows_that_are_added_to_scaled_ones_are_small_beside_them(tmp_path: Path) -> None:
    file = file_of(Numeric("x"))
    values = np.random.default_rng(0).normal(2, 1, 120)
    keys = [f"k{n}" for n in range(120)]
    preprocess(file, config(tmp_path, {"k": keys, "y": values, "x": values}))
    assert Schema.read(str(tmp_path / "examples")).exponents == {}
    # The Examples hold ordinary numbers: huge ones are out of range, as they were before.
    update = append(file, config(tmp_path, {"k": ["a", "b"], "y": [1.0, 2.0], "x": [1e200, 1.0]}, "more"))
    assert update.manifest.quarantine.reasons == {"out_of_range": 1}
