"""The taxi example: raw columns in, label and features derived, and the same in training, batches and online."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from support.command import headrace
from support.taxi import taxi_table, write_taxi

from headrace.core.saved_model.find import find_source
from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.saved_model.loaded import SavedModel
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

PROBLEM = Path(__file__).parents[2] / "examples" / "taxi" / "taxi.py"
ROWS = 4000


@dataclass(frozen=True)
class Trained:
    examples: Path
    model: Path
    data: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("taxi")
    made = Trained(folder / "examples", folder / "model", write_taxi(folder / "taxi.csv", ROWS))
    done = headrace("preprocess", "--problem", PROBLEM, "--data", made.data, "--output", made.examples)
    assert done.returncode == 0, done.stderr
    assert f"{ROWS:,} rows in = {ROWS:,} out" in done.stdout + done.stderr
    done = headrace("train", "--problem", PROBLEM, "--examples", made.examples, "--output", made.model)
    assert done.returncode == 0, done.stderr
    return made


def scored(trained: Trained, data: Path, output: Path) -> pa.Table:
    done = headrace(
        "score",
        "--model",
        trained.model,
        "--data",
        data,
        "--output",
        output,
    )
    assert done.returncode == 0, done.stderr
    return pq.read_table(output / "predictions").sort_by("unique_key")


def test_examples_hold_what_python_computes(trained: Trained) -> None:
    names = ["unique_key", "big_tip", "hour", "weekday", "log_fare", "fare_per_km"]
    shards = [path for path in trained.examples.rglob("*.tfrecord*") if path.is_file()]
    read = (
        {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
        for path in shards
        for records in read_records(path, compressed=path.suffix == ".gz")
        for row in decode(records, names).to_pylist()
    )
    found = {row["unique_key"]: row for row in read}
    table = taxi_table(ROWS).to_pylist()
    assert len(found) == ROWS
    for row in table:
        local = datetime.fromtimestamp(row["trip_start_timestamp"], ZoneInfo("America/Chicago"))
        derived = found[row["unique_key"]]
        assert derived["big_tip"] == ("true" if row["tips"] > 0.2 * row["fare"] else "false")
        assert (derived["hour"], derived["weekday"]) == (str(row["trip_start_hour"]), str(local.weekday()))
        assert derived["log_fare"] == pytest.approx(math.log1p(row["fare"]), rel=1e-6)
        ends = [row[f"{end}_{what}"] for end in ("pickup", "dropoff") for what in ("latitude", "longitude")]
        # Without a distance the quotient is missing too.
        assert (derived["fare_per_km"] is None) == (None in ends or ends[:2] == ends[2:])


def test_nine_of_ten_tips_are_foretold(trained: Trained, tmp_path: Path) -> None:
    output = tmp_path / "evaluation"
    done = headrace(
        "evaluate", "--problem", PROBLEM, "--examples", trained.examples, "--model", trained.model, "--output", output
    )
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((output / "evaluation.json").read_text())["metrics"]
    assert metrics["accuracy"]["value"] >= 0.9


def test_batches_and_endpoint_take_the_raw_columns(trained: Trained, tmp_path: Path) -> None:
    by_csv = scored(trained, trained.data, tmp_path / "csv")
    typed = pacsv.read_csv(trained.data)
    typed = typed.drop_columns(["tips"])
    pq.write_table(typed, tmp_path / "taxi.parquet")
    by_parquet = scored(trained, tmp_path / "taxi.parquet", tmp_path / "parquet")
    assert by_csv.equals(by_parquet)

    source = find_source(str(trained.model))
    assert source.interface is not None
    names = {feature.name for feature in source.interface.inputs}
    assert {"trip_start_timestamp", "fare", "pickup_latitude"} < names
    assert not names & {"hour", "log_fare", "km", "tips"}
    # What a client sends: numbers where the table has numbers, the time among them.
    rows = typed.to_pylist()[:96]
    instances = [{n: v for n, v in row.items() if n in names} for row in rows]
    columns = columns_from_instances(instances, source.interface)
    columns["key"] = np.array([row["unique_key"] for row in rows], object)
    model = SavedModel(source.saved_model)
    answers = model({name: _tensor(column) for name, column in columns.items()})
    np.testing.assert_array_equal(answers["probability"].numpy(), by_csv.column("probability").to_numpy()[: len(rows)])


def _tensor(column: np.ndarray) -> object:  # type: ignore[type-arg]
    import tensorflow as tf

    return tf.constant(column)


def test_the_declaration_of_the_docs() -> None:
    text = (PROBLEM.parents[2] / "docs" / "derived_columns.md").read_text()
    namespace: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], namespace)
    derivation = namespace["problem"].derivation
    assert [column.name for column in derivation.served] == ["payment_type", "fare", "trip_start_timestamp"]
