"""Numbers of 1e-290 to 1e250, from rows to predictions: trained, measured, scored in batches and answered alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from support.serving import load

from headrace.components.evaluate.evaluator import EvaluateConfig, evaluate
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.components.score.config import ScoreConfig
from headrace.components.score.score import score
from headrace.components.train.config import TrainConfig
from headrace.components.train.trainer import train
from headrace.core.artifacts.examples import Schema
from headrace.core.problem.file import load_problem
from headrace.core.saved_model.json.columns import columns_from_inputs, columns_from_instances
from headrace.core.saved_model.json.refused_rows import RowsRefused

SOURCE = """
from headrace import Categorical, Crossed, Numeric, Problem, Splits, Training
from headrace.expressions import col

problem = Problem(
    "sizes", key="k", label=Numeric("y"),
    features=[
        Numeric("mass", buckets=4, maximum=1e251),
        Numeric("width", buckets=[-1e-290, 1e-290], optional=True),
        Numeric("plain"), Categorical("c"), Crossed("mass", "c", hash_buckets=16), DERIVED
    ],
    splits=Splits(0.6, 0.2, 0.2), derive={DERIVE}, weight=None,
    training=Training(epochs=20, batch_size=32, learning_rate=0.01, hidden_units=[16], seed=1),
)
BUILD
"""
BUILD_MODEL = """
def build_model(problem, statistics, hyperparameters):
    import keras

    inputs = {n: keras.Input(shape=(), name=n, dtype="float32") for n in ("mass", "plain")}
    columns = []
    for name, value in inputs.items():
        measured = statistics[name]
        known = keras.ops.where(keras.ops.isnan(value), measured["mean"], value)
        columns.append((known[:, None] - measured["mean"]) / measured["standard_deviation"])
    label = statistics["y"]
    out = keras.layers.Dense(1)(keras.layers.Concatenate()(columns))
    return keras.Model(inputs, keras.layers.Rescaling(label["standard_deviation"], label["mean"])(out))
"""
IDENTITY = "0123456789abcdef"
ROWS = 500


@dataclass(frozen=True)
class Made:
    folder: Path
    model: Path
    measured: dict[str, float | None]


def table() -> pa.Table:
    draw = np.random.default_rng(1)
    mass, width, plain = draw.normal(3, 1, ROWS), draw.normal(0, 1, ROWS), draw.normal(0, 1, ROWS)
    c = draw.choice(["a", "b"], ROWS)
    columns = {"k": [f"k{n}" for n in range(ROWS)], "mass": mass * 1e250, "width": width * 1e-290, "plain": plain}
    label = (2 * mass - width + plain + (c == "a")) * 1e200
    more = {"charge": mass * 1e-60, "w": (1 + np.arange(ROWS) % 3) * 1e-50, "at": 1_700_000_000 + 7 * np.arange(ROWS)}
    return pa.table({**columns, "c": c, "y": label, **more})


def make(folder: Path, source: str) -> Made:
    folder.mkdir()
    (folder / "sizes.py").write_text(source)
    pq.write_table(table(), folder / "rows.parquet")
    file = load_problem(str(folder / "sizes.py"))
    preprocess(file, PreprocessConfig(str(folder / "rows.parquet"), str(folder / "examples"), IDENTITY))
    train(file, TrainConfig(str(folder / "examples"), str(folder / "model"), IDENTITY))
    evaluation = EvaluateConfig(str(folder / "examples"), str(folder / "model"), str(folder / "evaluation"))
    return Made(folder, folder / "model", dict(evaluate(file, evaluation).metrics))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    source = SOURCE.replace("DERIVED", "").replace("{DERIVE}", "{}").replace("BUILD", "")
    return make(tmp_path_factory.mktemp("sizes") / "default", source)


def predicted(made: Made, data: Path, output: Path) -> dict[str, float]:
    score(ScoreConfig(str(made.model), str(data), str(output), IDENTITY))
    found = pq.read_table(output / "predictions")
    assert found.schema.field("prediction").type == pa.float64()
    return dict(zip(found["k"].to_pylist(), found["prediction"].to_pylist(), strict=True))


def test_a_label_of_1e200_is_learned_and_measured_in_its_own_unit(made: Made) -> None:
    r_squared, error = made.measured["r_squared"], made.measured["root_mean_squared_error"]
    assert r_squared is not None
    assert error is not None
    assert r_squared > 0.95
    deviation = float(np.std(table()["y"].to_numpy() / 1e200)) * 1e200
    assert 1e-3 * deviation < error < 0.2 * deviation
    # Its square is beyond float64.
    assert made.measured["mean_squared_error"] is None
    training = json.loads((made.model / "training.json").read_text())
    assert training["baseline"]["value"] == pytest.approx(deviation, rel=0.3)
    rules = json.loads((made.model / "problem.json").read_text())["features"]
    assert rules[0]["maximum"] == 1e251
    assert [feature.get("exponent", 0) != 0 for feature in rules] == [True, True, False, False, False]
    evaluation = json.loads((made.folder / "evaluation" / "evaluation.json").read_text())
    names = [part["value"] for part in evaluation["slices"] if part["feature"] == "width"]
    assert names == ["< -1e-290", "[-1e-290, 1e-290)", ">= 1e-290"]


def test_batches_and_requests_agree_bit_by_bit(made: Made, tmp_path: Path) -> None:
    rows = table().drop_columns(["y", "charge", "w"])
    pacsv.write_csv(rows, tmp_path / "rows.csv")
    found = predicted(made, made.folder / "rows.parquet", tmp_path / "parquet")
    # Arrow writes 17 digits, from which each number is read again.
    assert found == predicted(made, tmp_path / "rows.csv", tmp_path / "csv")
    served = load(made.model)
    answers = served.predict(columns_from_instances(rows.to_pylist(), served.interface)).outputs
    assert answers["prediction"].dtype == np.float64
    assert answers["prediction"].tolist() == [found[key] for key in rows["k"].to_pylist()]
    inputs = {name: rows[name].to_pylist() for name in rows.schema.names}
    assert served.predict(columns_from_inputs(inputs, served.interface)).outputs["prediction"].tolist() == list(
        answers["prediction"]
    )
    text = json.loads(json.dumps(rows.to_pylist()[:3]))
    few = served.predict(columns_from_instances(text, served.interface)).outputs["prediction"]
    np.testing.assert_allclose(few, answers["prediction"][:3], rtol=1e-5)
    # Shards of Examples are rows too: in the columns' own units.
    shards = predicted(made, made.folder / "examples" / "test", tmp_path / "shards")
    assert shards
    assert all(np.isclose(value, found[key], rtol=1e-5) for key, value in shards.items())
    manifest = json.loads((tmp_path / "parquet" / "manifest.json").read_text())
    distribution = manifest["distribution"]
    assert distribution["predictions"]["prediction"]["maximum"] == pytest.approx(max(found.values()), rel=1e-6)
    assert 0 <= distribution["training"]["jensen_shannon"] < 0.1


def test_rules_hold_beyond_float32(made: Made) -> None:
    served = load(made.model)
    row = table().drop_columns(["y"]).to_pylist()[0]
    with pytest.raises(RowsRefused, match="mass is 2e\\+251, which is not between"):
        served.predict(columns_from_instances([{**row, "mass": 2e251}], served.interface))
    with pytest.raises(RowsRefused, match="plain is 1e\\+39"):
        served.predict(columns_from_instances([{**row, "plain": 1e39}], served.interface))
    optional = served.predict(columns_from_instances([{**row, "width": None}], served.interface)).outputs
    assert np.isfinite(optional["prediction"]).all()


@pytest.mark.parametrize("build", ["", BUILD_MODEL], ids=["default", "build_model"])
def test_derived_features_and_models_of_users_get_numbers_that_fit(tmp_path: Path, build: str) -> None:
    source = SOURCE.replace("DERIVED", 'Numeric("density")').replace("BUILD", build)
    source = source.replace("{DERIVE}", '{"density": col("mass") * 1e20 + col("mass") * col("plain")}')
    made = make(tmp_path / "sizes", source)
    assert (made.measured["r_squared"] or 0) > (0.6 if build else 0.95)
    assert json.loads((made.model / "problem.json").read_text())["features"][5]["exponent"] > 800
    found = predicted(made, made.folder / "rows.parquet", tmp_path / "scored")
    served = load(made.model)
    rows = table().drop_columns(["y"]).to_pylist()
    answers = served.predict(columns_from_instances(rows, served.interface)).outputs["prediction"].tolist()
    assert answers == [found[row["k"]] for row in rows]


def test_weights_and_what_only_expressions_read_may_have_any_scale(tmp_path: Path) -> None:
    source = SOURCE.replace("DERIVED", 'Numeric("charges")').replace("BUILD", "").replace("weight=None", 'weight="w"')
    made = make(tmp_path / "sizes", source.replace("{DERIVE}", '{"charges": col("charge") * 1e60}'))
    problem = json.loads((made.model / "problem.json").read_text())
    schema = {column.name: column for column in Schema.read(str(made.model)).columns}
    assert (schema["charge"].role, schema["w"].role) == ("input", "weight")
    assert schema["charge"].double
    assert problem["weight"]["exponent"] == schema["w"].exponent < -100
    weighted = json.loads((made.model / "statistics.json").read_text())["columns"]
    assert weighted["w"]["maximum"] == pytest.approx(3e-50)
    assert weighted["charges"]["mean"] == pytest.approx(3, abs=0.2)
    assert (made.measured["r_squared"] or 0) > 0.95
    found = predicted(made, made.folder / "rows.parquet", tmp_path / "scored")
    served = load(made.model)
    rows = table().drop_columns(["y", "w"]).to_pylist()
    answers = served.predict(columns_from_instances(rows, served.interface)).outputs["prediction"].tolist()
    assert answers == [found[row["k"]] for row in rows]
    # The model computes the feature from the column alone.
    one = {**rows[0], "charge": 2 * rows[0]["charge"]}
    other = served.predict(columns_from_instances([one], served.interface)).outputs["prediction"].tolist()
    assert other != answers[:1]


def test_expressions_read_the_whole_number_of_a_feature(tmp_path: Path) -> None:
    """Seconds since 1970: float32 tells apart one in 128 of them."""
    source = SOURCE.replace("DERIVED", 'Numeric("at"), Numeric("second")').replace("BUILD", "")
    made = make(tmp_path / "sizes", source.replace("{DERIVE}", '{"second": col("at") % 60}'))
    schema = {column.name: column for column in Schema.read(str(made.model)).columns}
    assert (schema["at"].exact, schema["second"].exact, schema["at"].double) == ("at.exact", None, False)
    measured = json.loads((made.model / "statistics.json").read_text())["columns"]
    assert (measured["second"]["minimum"], measured["second"]["maximum"]) == (0, 59)
    assert measured["at"]["maximum"] > 1_700_000_000
    found = predicted(made, made.folder / "rows.parquet", tmp_path / "scored")
    served = load(made.model)
    rows = table().drop_columns(["y"]).to_pylist()
    answers = served.predict(columns_from_instances(rows, served.interface)).outputs["prediction"].tolist()
    assert answers == [found[row["k"]] for row in rows]
    shards = predicted(made, made.folder / "examples" / "test", tmp_path / "shards")
    assert shards
    assert shards == {key: found[key] for key in shards}
    with pytest.raises(RowsRefused, match="at is 1e\\+39, which is not between"):
        served.predict(columns_from_instances([{**rows[0], "at": 1e39}], served.interface))
    # float32 cannot tell 7 of these seconds apart: the derived feature can.
    one = {**rows[0], "at": rows[0]["at"] + (7 if rows[0]["at"] % 60 < 53 else -7)}
    other = served.predict(columns_from_instances([one], served.interface)).outputs["prediction"].tolist()
    assert other != answers[:1]
