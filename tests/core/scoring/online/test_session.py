"""A session calls a signature as an eager call does, bit for bit, or not at all."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.serving import load

from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.scoring.online import beside, engine, session
from headrace.core.scoring.online import model as online
from headrace.core.scoring.online.engine import equal
from headrace.core.scoring.online.golden import check_golden
from headrace.core.scoring.online.model import OnlineModel
from headrace.core.scoring.predictor import BatchPredictions, Predictor


@pytest.fixture(autouse=True)
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session is faster, however busy this machine is."""

    def timed(predictor: Predictor, columns: Any) -> tuple[BatchPredictions, float]:
        return predictor.predict(columns), 2.0 if predictor.session is None else 1.0

    monkeypatch.setattr(engine, "_timed", timed)


def save(folder: Path, function: Callable[..., Any], *specs: Any, **attributes: Any) -> Path:
    """A SavedModel with `function` as its signature, and objects that it uses."""
    import tensorflow as tf

    module = tf.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    module.predict = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.predict})
    return folder


def both(model: OnlineModel, given: Any) -> tuple[BatchPredictions, BatchPredictions]:
    """Predictions in the session, and by eager calls, for columns or rows."""
    columns = columns_from_instances(given, model.interface) if isinstance(given, list) else given
    called = model._predictor.session
    assert called is not None
    ours = model.predict(columns)
    model._predictor.session = None
    theirs = model.predict(columns)
    model._predictor.session = called
    return ours, theirs


def why_not(caplog: pytest.LogCaptureFixture) -> str:
    """Why the last model is called without a session."""
    return caplog.records[-1].getMessage().partition("without a session: ")[2]


def load_eagerly(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SavedModels that are loaded for eager calls from now on."""
    import tensorflow as tf

    loaded: list[str] = []
    load = tf.saved_model.load

    def noted(path: str, tags: Any) -> Any:
        loaded.append(path)
        return load(path, tags)

    monkeypatch.setattr(tf.saved_model, "load", noted)
    return loaded


@pytest.mark.parametrize("rows", [1, 30, 48, 49, 200])
def test_a_models_predictions_are_those_of_an_eager_call(natality_model: str, rows: int) -> None:
    model = load(natality_model)
    golden = model.source.warm_up
    columns = columns_from_instances([golden[number % len(golden)] for number in range(rows)], model.interface)
    chance = np.random.default_rng(rows)
    for name, column in columns.items():
        if column.dtype == object:
            column[::3] = chance.choice(np.array(["never seen", "\u00e9", ""], object), len(column[::3]))
        else:
            column *= chance.uniform(0.9, 1.1, rows).astype(column.dtype)
            column[1::7] = np.nan
        assert len(column) == rows, name
    ours, theirs = both(model, columns)
    assert len(ours.at) == rows
    assert equal(ours, theirs)


def test_vocabularies_in_files_are_read(tmp_path: Path) -> None:
    import tensorflow as tf

    words = tmp_path / "words"
    words.write_text("red\ngreen\n")
    kinds = tf.lookup.TextFileInitializer(
        str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    table = tf.lookup.StaticHashTable(kinds, -1)
    weights = tf.Variable([0.25, 0.1, 0.3])

    def predict(color: Any, size: Any) -> Any:
        return {"y": tf.gather(weights, table.lookup(color) + 1) * size, "color": color}

    specs = tf.TensorSpec([None], tf.string, "color"), tf.TensorSpec([None], tf.float32, "size")
    path = save(tmp_path / "m", predict, *specs, table=table, weights=weights, words=tf.saved_model.Asset(str(words)))
    words.unlink()
    given = [{"color": color, "size": 1.5} for color in ("green", "red", "blue")]
    ours, theirs = both(load(path), given)
    assert ours.outputs["y"].tolist() == pytest.approx([0.45, 0.15, 0.375])
    assert ours.outputs["color"].tolist() == [b"green", b"red", b"blue"]
    assert equal(ours, theirs)


def test_a_row_that_fails_is_found_with_the_same_message(tmp_path: Path) -> None:
    import tensorflow as tf

    def positive(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_greater(x, -5.0, message="no age below -5")]):
            return {"y": tf.math.log(x + 5.0)}

    model = load(save(tmp_path / "m", positive, tf.TensorSpec([None], tf.float32, "x")))
    ours, theirs = both(model, [{"x": 1}, {"x": -9}, {"x": 2}, {"x": 3e38}])
    assert list(ours.faults) == [1]
    assert "no age below -5" in ours.faults[1].message
    assert ours.at.tolist() == [0, 2, 3]
    assert equal(ours, theirs)


def test_constants_and_bfloat16(tmp_path: Path) -> None:
    import tensorflow as tf

    def predict(x: Any, factor: Any) -> Any:
        return {"y": tf.cast(x * factor, tf.bfloat16)}

    specs = tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([], tf.float32, "factor")
    model = load(save(tmp_path / "m", predict, *specs), constants={"factor": 3.0})
    ours, theirs = both(model, [{"x": 1.5}, {"x": 0.1}])
    assert ours.outputs["y"].dtype == np.float32
    assert ours.outputs["y"][0] == 4.5
    assert equal(ours, theirs)


def test_a_model_that_answers_otherwise_is_called_eagerly(
    natality_model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = session.SessionModel.__call__

    def rounded(self: session.SessionModel, columns: Any) -> dict[str, Any]:
        found = call(self, columns)
        return {n: np.nextafter(v, v + 1) if v.dtype.kind == "f" else v for n, v in found.items()}

    monkeypatch.setattr(session.SessionModel, "__call__", rounded)
    with caplog.at_level(logging.INFO, "headrace.serve"):
        model = load(natality_model)
    assert model._predictor.session is None
    assert why_not(caplog) == "its predictions are not equal"


def test_a_model_is_called_eagerly_where_a_session_is_not_faster(
    natality_model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "_timed", lambda predictor, columns: (predictor.predict(columns), 1.0))
    assert load(natality_model)._predictor.session is not None
    monkeypatch.setattr(
        engine,
        "_timed",
        lambda predictor, columns: (predictor.predict(columns), 1.0 if predictor.session is None else 1.5),
    )
    with caplog.at_level(logging.INFO, "headrace.serve"):
        model = load(natality_model)
    assert model._predictor.session is None
    assert why_not(caplog) == "it is not faster"


def test_a_large_model_has_no_second_copy(
    natality_model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "MAX_BYTES", 1 << 10)
    with caplog.at_level(logging.INFO, "headrace.serve"):
        model = load(natality_model)
    assert model._predictor.session is None
    assert why_not(caplog).startswith("it has more than ")


def test_a_tensorflow_without_callables_is_called_eagerly(
    natality_model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import tensorflow as tf

    monkeypatch.delattr(tf.compat.v1.Session.__mro__[1], "_make_callable_from_options")
    with caplog.at_level(logging.INFO, "headrace.serve"):
        model = load(natality_model)
    assert model._predictor.session is None
    assert "_make_callable_from_options" in why_not(caplog)


def test_a_model_with_the_same_operations_needs_no_proof(
    natality_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    def scaled(factor: float) -> OnlineModel:
        path = save(tmp_path / str(factor), lambda x: {"y": x * factor}, tf.TensorSpec([None], tf.float32, "x"))
        return load(path)

    first, second = scaled(2.0), scaled(3.0)
    assert first.operations == second.operations != ""
    assert second.predict({"x": np.array([5.0], np.float32)}).outputs["y"].tolist() == [15.0]
    proven = load(natality_model)
    assert proven.operations not in ("", first.operations)
    asked: list[bool] = []
    monkeypatch.setattr(online, "prove", lambda *_: asked.append(True))
    eager, gently = load_eagerly(monkeypatch), list[str]()

    def at_low_priority(call: Callable[[], Any]) -> Any:
        gently.append(call.__qualname__)
        return beside.at_low_priority(call)

    monkeypatch.setattr(session, "at_low_priority", at_low_priority)
    newer = load(natality_model, like=proven)
    assert newer.operations == proven.operations
    assert not asked
    # What cannot be cut gives way to the model that answers: the variables, and the first call.
    assert [name.partition(".<locals>")[0] for name in gently] == ["SessionModel.__init__", "SessionModel.__call__"]
    assert not eager
    rows = columns_from_instances(list(newer.source.warm_up), newer.interface)
    assert equal(newer.predict(rows), proven.predict(rows))
    assert newer.signature_def == proven.signature_def
    assert check_golden(newer) == len(newer.source.warm_up)
    other = load(natality_model, like=first)
    assert asked == [True]
    assert eager == [str(other.source.saved_model)]
    # It was loaded before the files of a remote model would be gone.
    other._predictor.session = None
    assert equal(other.predict(rows), proven.predict(rows))
    assert len(eager) == 1


def test_variables_are_in_memory_once(natality_model: str) -> None:
    model = load(natality_model)
    assert "_loaded" not in vars(model._model)
    rows = columns_from_instances(list(model.source.warm_up), model.interface)
    before = model.predict(rows)
    # LiteRT calls the text features of the SavedModel eagerly.
    assert "_loaded" in vars(load(natality_model, engine="litert")._model)
    ours, theirs = both(model, rows)
    assert equal(ours, theirs)
    assert equal(ours, before)


def test_a_session_is_freed_with_its_model(natality_model: str) -> None:
    model = load(natality_model)
    called = weakref.ref(model._predictor.session)  # type: ignore[arg-type]
    assert called() is not None
    del model
    gc.collect()
    assert called() is None
