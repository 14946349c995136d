"""Loading real SavedModels, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.serving import load

from headrace.core.errors import DataError, PlatformError
from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.saved_model.json.tensors import TensorInput


def save(folder: Path, function: Callable[..., Any], *specs: Any) -> Path:
    """A SavedModel with `function` as its signature."""
    import tensorflow as tf

    module = tf.Module()
    module.predict = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.predict})
    return folder


def test_a_bare_saved_model_serves_what_its_signature_says(tiny_saved_model: Path) -> None:
    model = load(tiny_saved_model)
    assert model.interface.takes_key
    assert sorted(model.interface.inputs, key=lambda i: i.name) == [
        TensorInput("gestation_weeks", "numeric"),
        TensorInput("mother_age", "numeric"),
        TensorInput("mother_smokes", "categorical", dtype="string"),
        TensorInput("plurality", "categorical", dtype="string"),
    ]
    row = {"mother_age": 30, "gestation_weeks": 40, "plurality": "1", "mother_smokes": "true"}
    outputs = model.predict(columns_from_instances([row, row], model.interface)).outputs
    assert list(outputs) == ["prediction"]
    np.testing.assert_allclose(outputs["prediction"], [6.0, 6.0], rtol=1e-6)


def test_doubles_and_one_output(tmp_path: Path) -> None:
    import tensorflow as tf

    path = save(tmp_path / "m", lambda x: {"y": 2 * x}, tf.TensorSpec([None], tf.float64, "x"))
    model = load(path)
    assert model.signature_def["inputs"]["x"]["dtype"] == "DT_DOUBLE"
    given = [1.5, 1700000059.0, 0.1, 1e39]
    predicted = model.predict(columns_from_instances([{"x": value} for value in given], model.interface))
    assert predicted.outputs["y"].tolist() == [2 * value for value in given]


def test_what_no_list_of_a_row_makes_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    model = save(tmp_path / "complex", lambda x: {"y": x + 1}, tf.TensorSpec([None, None], tf.complex64, "x"))
    with pytest.raises(DataError, match=r'input "x" cannot be mapped.*Received: dtype complex64'):
        load(model)


def test_a_model_that_does_not_answer_every_row_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    path = save(tmp_path / "m", lambda x: {"y": tf.boolean_mask(x, x < 1)}, tf.TensorSpec([None], tf.float32, "x"))
    model = load(path)
    with pytest.raises(PlatformError, match=r"did not answer every row.*Received: shape \[0\]"):
        model.predict(columns_from_instances([{"x": 1}], model.interface))


def test_a_model_that_fails_on_a_row_says_so(tmp_path: Path) -> None:
    import tensorflow as tf

    def positive(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_positive(x, message="no age below 0")]):
            return {"y": tf.identity(x)}

    model = load(save(tmp_path / "m", positive, tf.TensorSpec([None], tf.float32, "x")))
    predicted = model.predict(columns_from_instances([{"x": 1}, {"x": -1}, {"x": 2}], model.interface))
    assert predicted.outputs["y"].tolist() == [1.0, 2.0]
    assert predicted.at.tolist() == [0, 2]
    assert list(predicted.faults) == [1]
    assert "no age below 0" in predicted.faults[1].message


def test_a_saved_model_without_a_signature_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "m"))
    with pytest.raises(DataError, match=r"Expected a signature serving_default\. Received: no signature"):
        load(tmp_path / "m")


def test_a_damaged_saved_model_is_refused(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    (model / "saved_model" / "saved_model.pb").write_bytes(b"not a graph")
    with pytest.raises(DataError, match="the SavedModel cannot be loaded"):
        load(model)


def test_a_schema_of_another_model_is_refused(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    schema = json.loads((model / "schema.json").read_text())
    schema["columns"][0]["name"] = "age"
    (model / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(DataError, match=r"disagree\. Expected age \(numeric\).*Received: .*mother_age \(numeric\)"):
        load(model)
