"""A real, tiny Model artifact for the tests of whatever keeps, serves, deploys or scores with one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.core.problem import Categorical, Numeric, Problem

# 98 makes the model wait, if it was made so; 99 makes its prediction NaN: what tests of limits need of a real model.
WAITING_AGE = 98
NAN_AGE = 99

PROBLEM = Problem(
    name="natality",
    key="record_id",
    label=Numeric("weight_pounds"),
    features=[
        Numeric("mother_age"),
        Numeric("gestation_weeks", optional=True),
        Categorical("plurality"),
        Categorical("mother_smokes", optional=True),
    ],
)

INSTANCES = [
    {"key": "a", "mother_age": 30.0, "gestation_weeks": 40.0, "plurality": "1", "mother_smokes": "true"},
    {"key": "b", "mother_age": 20.0, "gestation_weeks": None, "plurality": "2", "mother_smokes": None},
    {"key": "c", "mother_age": 41.5, "gestation_weeks": 35.0, "plurality": "1", "mother_smokes": "false"},
]


def expected_weight(row: dict[str, Any], bias: float = 1.0) -> float:
    """What the tiny model predicts, by hand."""
    weeks = row.get("gestation_weeks")
    return (
        bias
        + 0.05 * row["mother_age"]
        + 0.1 * (38.0 if weeks is None else weeks)
        - (0.0 if row["plurality"] == "1" else 2.0)
        - (0.5 if row.get("mother_smokes") == "true" else 0.0)
    )


def save(folder: Path, wait_for: tuple[Path, Path] | None = None, bias: float = 1.0) -> None:
    """Saves the tiny model.

    Args:
        folder: of the SavedModel.
        wait_for: two files. A prediction of a row of WAITING_AGE makes the first, and then waits for the second.
        bias: what a version adds to its predictions.
    """
    import tensorflow as tf

    def wait(key: Any) -> Any:
        begun, ended = map(str, wait_for or ())

        def there(turn: Any) -> Any:
            # A name that did not depend on the turn would be looked up once.
            name = tf.strings.join([ended, tf.strings.substr(tf.strings.as_string(turn), 0, 0)])
            return tf.size(tf.io.matching_files(name)) > 0

        with tf.control_dependencies([tf.io.write_file(tf.strings.join([begun, tf.strings.substr(key[0], 0, 0)]), "")]):
            turns = tf.while_loop(lambda turn: tf.logical_not(there(turn)), lambda turn: [turn + 1], [tf.constant(0)])
        return 0.0 * tf.cast(turns[0], tf.float32)

    class Tiny(tf.Module):  # type: ignore[misc]
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
            weeks = tf.where(tf.math.is_nan(gestation_weeks), 38.0, gestation_weeks)
            weight = (
                bias
                + 0.05 * mother_age
                + 0.1 * weeks
                - tf.where(plurality == "1", 0.0, 2.0)
                - tf.where(mother_smokes == "true", 0.5, 0.0)
            )
            if wait_for:
                weight += tf.cond(tf.reduce_any(mother_age == float(WAITING_AGE)), lambda: wait(key), lambda: 0.0)
            nan = tf.where(mother_age == float(NAN_AGE), float("nan"), 0.0)
            return {"key": key, "prediction": weight + nan}

    module = Tiny()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.predict})


@pytest.fixture(scope="session")
def tiny_saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with the signature that the contract asks for."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    folder = tmp_path_factory.mktemp("tiny") / "saved_model"
    save(folder)
    return folder


@pytest.fixture(scope="session")
def make_model(tiny_saved_model: Path) -> Callable[..., Path]:
    """Makes Model artifacts: `make_model(folder, version, golden_offset=0.0)`."""

    def make(folder: Path, version: str, *, golden_offset: float = 0.0) -> Path:
        folder.mkdir(parents=True)
        shutil.copytree(tiny_saved_model, folder / "saved_model")
        columns = [
            {
                "name": f.name,
                "kind": type(f).__name__.lower(),
                "role": "feature",
                "optional": f.optional,
            }
            for f in PROBLEM.columns
        ]
        columns.append({"name": "weight_pounds", "kind": "numeric", "role": "label", "optional": False})
        columns.append({"name": "record_id", "kind": "key", "role": "key", "optional": False})
        golden = [{"key": row["key"], "prediction": expected_weight(row) + golden_offset} for row in INSTANCES]
        files: dict[str, Any] = {
            "schema.json": {"format": 1, "columns": columns},
            "problem.json": PROBLEM.to_json(),
            "training.json": {"format": 1, "model_version": version},
            "golden.json": {"format": 1, "instances": INSTANCES, "predictions": golden},
        }
        for name, value in files.items():
            (folder / name).write_text(json.dumps(value))
        return folder

    return make
