"""The three approaches on the same rows and models: the same predictions, and the same rows in quarantine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peers.our_server import our_server

from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.options import EndpointOptions, JobOptions
from headrace.components.score.score import score
from headrace.components.train.config import TrainConfig
from headrace.components.train.trainer import train
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.problem.file import load_problem
from headrace.core.storage.remote import folders

if TYPE_CHECKING:
    from peers.vertex.server import VertexServer

IDENTITY = "0123456789abcdef"
PROJECT, REGION = "demo-project", "us-central1"
FLIGHTS = """
from headrace.core.problem import Categorical, Crossed, Numeric, Problem, Training

problem = Problem(
    name="flight-time",
    key="flight",
    label=Numeric("air_time", minimum=1, maximum=1000),
    features=[
        Numeric("distance", minimum=1, maximum=6000),
        Categorical("hour", embedding=4),
        Categorical("weekday"),
        Categorical("origin"),
        Categorical("dest", embedding=8),
        Categorical("carrier", embedding=4),
        Crossed("origin", "dest", hash_buckets=64, embedding=8),
        Crossed("hour", "weekday", hash_buckets=64),
    ],
    training=Training(batch_size=128, epochs=2, learning_rate=0.003, hidden_units=[32, 16], seed=1),
)
"""


def flights(rows: int) -> pa.Table:
    """Flights from three airports to twenty, with a time in the air that depends on all of their columns."""
    draw = np.random.default_rng(1)
    origin, dest, hour = draw.integers(0, 3, rows), draw.integers(0, 20, rows), draw.integers(5, 24, rows)
    weekday, carrier = draw.integers(0, 7, rows), draw.integers(0, 5, rows)
    distance = 200.0 + 110 * dest + 7 * origin
    time = 20 + distance / 8 + hour % 3 + weekday % 2 + carrier + draw.normal(0, 3, rows)
    return pa.table(
        {
            "flight": [f"flight-{row}" for row in range(rows)],
            "distance": distance,
            "hour": [str(value) for value in hour],
            "weekday": [str(value) for value in weekday],
            "origin": [("EWR", "JFK", "LGA")[value] for value in origin],
            "dest": [f"D{value:02}" for value in dest],
            "carrier": [("AA", "B6", "DL", "UA", "WN")[value] for value in carrier],
            "air_time": time,
        }
    )


@pytest.fixture(scope="module")
def flights_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A wide and deep Model of flights."""
    root = tmp_path_factory.mktemp("flights")
    (root / "flight_time.py").write_text(FLIGHTS)
    pq.write_table(flights(1500), root / "flights.parquet")
    problem_file = load_problem(str(root / "flight_time.py"))
    preprocess(problem_file, PreprocessConfig(str(root / "flights.parquet"), str(root / "examples"), "e" * 16))
    train(problem_file, TrainConfig(str(root / "examples"), str(root / "model"), "b" * 16))
    return str(root / "model")


@dataclass(frozen=True)
class Made:
    """What came of an approach."""

    result: ScoreResult
    manifest: PredictionsManifest
    predictions: dict[str, bytes]
    quarantine: bytes

    @property
    def reasons(self) -> list[tuple[int, str, str]]:
        rows = [json.loads(line) for line in self.quarantine.splitlines()]
        return [(row["row"], row["reason"], row["message"]) for row in rows]


@pytest.fixture
def scored(vertex_server: VertexServer, bucket: str, tmp_path: Path) -> Callable[..., dict[str, Made]]:
    """`scored(model, data)`: what comes of each approach."""

    def made(model: str, data: str, **options: Any) -> dict[str, Made]:
        folders.upload_tree(Path(model), f"gs://{bucket}/model", "problem.json")
        job = JobOptions(
            PROJECT,
            REGION,
            f"gs://{bucket}/staging",
            vertex_server.upload(f"gs://{bucket}/model"),
            # Whole blocks, as the other approaches give them to the model.
            batch_size=48,
            poll_seconds=0.01,
            api_endpoint=vertex_server.url,
        )
        with our_server(model, tmp_path) as url:
            name = json.loads((Path(model) / "problem.json").read_text())["name"]
            endpoint = EndpointOptions(f"{url}/v1/models/{name}:predict", rows_per_request=480)
            approaches: dict[str, dict[str, Any]] = {
                "direct": {},
                "endpoint": {"endpoint": endpoint},
                "job": {"job": job},
            }
            return {
                approach: of(
                    ScoreConfig(model, data, str(tmp_path / approach), IDENTITY, approach=approach, **given, **options)  # type: ignore[arg-type]
                )
                for approach, given in approaches.items()
            }

    return made


def of(config: ScoreConfig) -> Made:
    result = score(config)
    folder = Path(config.output)
    manifest = PredictionsManifest.read(str(folder))
    assert (result.approach, manifest.approach) == (config.approach, config.approach)
    files = {path.name: path.read_bytes() for path in (folder / "predictions").iterdir()}
    return Made(result, manifest, files, b"".join((folder / name).read_bytes() for name in manifest.quarantine.files))


def test_a_wide_and_deep_model(scored: Callable[..., dict[str, Made]], flights_model: str, tmp_path: Path) -> None:
    table = flights(2000).drop_columns(["air_time"])
    dest = pa.array([None if row == 7 else "new" if row == 8 else d for row, d in enumerate(table["dest"].to_pylist())])
    table = table.set_column(table.schema.get_field_index("dest"), "dest", dest)
    pq.write_table(table, tmp_path / "flights.parquet")
    made = scored(flights_model, str(tmp_path / "flights.parquet"))
    for one in made.values():
        assert (one.result.rows_in, one.result.rows_out) == (2000, 1999)
        assert one.reasons == [(8, "missing_value", "dest is missing, and is not optional")]
        assert one.manifest.notes == ()
    assert made["endpoint"].predictions == made["direct"].predictions
    here, there = (pq.read_table(pa.BufferReader(*made[name].predictions.values())) for name in ("direct", "job"))
    assert there.drop_columns("prediction").equals(here.drop_columns("prediction"))
    # The last batch of a job is not filled up, and TensorFlow then adds up in another order.
    np.testing.assert_array_max_ulp(there["prediction"].to_numpy(), here["prediction"].to_numpy(), maxulp=4)
    assert made["job"].quarantine == made["endpoint"].quarantine == made["direct"].quarantine


def ages(bad: dict[int, float]) -> pa.Table:
    """Rows for the tiny model."""
    rows = 500
    return pa.table(
        {
            "record_id": [f"id-{row}" for row in range(rows)],
            "mother_age": [bad.get(row, 20.0 + row % 30 + row / 1000) for row in range(rows)],
            "gestation_weeks": [None if row % 11 == 0 else 30.0 + row % 12 for row in range(rows)],
            "plurality": [None if row == 3 else str(1 + row % 2) for row in range(rows)],
            "mother_smokes": [("true", "false", None)[row % 3] for row in range(rows)],
        }
    )


def test_predictions_that_are_not_finite(
    scored: Callable[..., dict[str, Made]], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    # Some are together, and one is last, of which a request that is filled up has many.
    bad = dict.fromkeys((17, 18, 19, 200, 330, 499), 99.0)
    pq.write_table(ages(bad), tmp_path / "rows.parquet")
    model = str(make_model(tmp_path / "model", "a" * 16))
    made = scored(model, str(tmp_path / "rows.parquet"))
    for one in made.values():
        assert one.result.reasons == {"missing_value": 1, "not_finite": 6}
        assert [row for row, *_ in one.reasons] == [4, 18, 19, 20, 201, 331, 500]
    assert made["direct"].reasons[1][2] == "the model's output prediction is not a finite number"
    assert made["endpoint"].predictions == made["direct"].predictions
    assert made["job"].predictions == made["direct"].predictions
    assert made["job"].quarantine == made["endpoint"].quarantine == made["direct"].quarantine
    (note,) = made["job"].manifest.notes
    assert note.endswith("rows of batches that the container refused are sent again, one by one")


def test_rows_on_which_the_model_fails(
    scored: Callable[..., dict[str, Made]], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    import tensorflow as tf

    class Strict(tf.Module):  # type: ignore[misc]
        @tf.function(  # type: ignore[misc]
            input_signature=[
                tf.TensorSpec([None], tf.float32, "mother_age"),
                tf.TensorSpec([None], tf.float32, "gestation_weeks"),
                tf.TensorSpec([None], tf.string, "plurality"),
                tf.TensorSpec([None], tf.string, "mother_smokes"),
                tf.TensorSpec([None], tf.string, "key"),
            ]
        )
        def predict(self, mother_age, gestation_weeks, plurality, mother_smokes, key):  # type: ignore[no-untyped-def]
            del gestation_weeks, plurality, mother_smokes
            with tf.control_dependencies([tf.debugging.assert_less(mother_age, 90.0, message="nobody is that old")]):
                return {"key": key, "prediction": tf.where(mother_age > 80, float("inf"), mother_age)}

    model = make_model(tmp_path / "model", "a" * 16)
    module = Strict()
    tf.saved_model.save(module, str(model / "saved_model"), signatures={"serving_default": module.predict})
    pq.write_table(ages({40: 99.0, 41: 85.0, 300: 99.0}), tmp_path / "rows.parquet")
    made = scored(str(model), str(tmp_path / "rows.parquet"))
    for approach, one in made.items():
        reasons = {row: (reason, message) for row, reason, message in one.reasons}
        assert {row: reason for row, (reason, _) in reasons.items() if row != 42} == {
            4: "missing_value",
            41: "model_failed",
            301: "model_failed",
        }
        # A job does not say which of its rows it was of which it says this or that.
        assert reasons[42][0] == ("model_failed" if approach == "job" else "not_finite")
        assert "nobody is that old" in reasons[41][1]
    assert made["job"].predictions == made["endpoint"].predictions == made["direct"].predictions
