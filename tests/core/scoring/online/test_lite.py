"""LiteRT behind the text features: equal to TensorFlow, from a cache of texts, and refused with a reason otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.serving import load
from support.tiny_model import PROBLEM

from headrace.components.serve.config import ServeConfig, config_from_environment
from headrace.core.errors import UsageError
from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.scoring.online import engine, lite
from headrace.core.scoring.online.golden import check_golden
from headrace.core.scoring.online.lite import LiteModel
from headrace.core.scoring.online.model import OnlineModel


@pytest.fixture(scope="module")
def models(natality_model: str) -> tuple[OnlineModel, OnlineModel]:
    """The same Model with TensorFlow and with LiteRT."""
    return load(natality_model), load(natality_model, engine="litert")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each call of LiteRT, whether it answered."""
    answered: list[bool] = []
    call = LiteModel.__call__

    def counted(self: LiteModel, *arguments: Any) -> Any:
        found = call(self, *arguments)
        answered.append(found is not None)
        return found

    monkeypatch.setattr(LiteModel, "__call__", counted)
    return answered


def rows_of(model: OnlineModel, texts: list[str]) -> dict[str, Any]:
    """Columns of golden rows, in each text column one of `texts`, in turn."""
    golden = model.source.warm_up
    rows = [dict(golden[number % len(golden)]) for number in range(len(texts))]
    columns = dict(columns_from_instances(rows, model.interface))
    for name, column in columns.items():
        if column.dtype == object and name != "key":
            columns[name] = np.array(texts, object)
    return columns


@pytest.mark.parametrize("rows", [1, 48, 49, 200])
def test_predictions_are_tensorflows_and_each_row_is_alone(
    models: tuple[OnlineModel, OnlineModel], calls: list[bool], rows: int
) -> None:
    slow, fast = models
    assert slow.engine == "TensorFlow (--engine litert tries LiteRT)"
    assert fast.engine.startswith("LiteRT behind the text features: equal to TensorFlow within a relative 1e-5 on ")
    columns = rows_of(fast, [("true", "1", "never seen", "")[number % 4] for number in range(rows)])
    ours, theirs = fast.predict(columns), slow.predict(columns)
    assert calls == [True]
    assert engine.worst_difference(ours, theirs) == ""
    assert ours.model_version == theirs.model_version
    last = fast.predict({name: column[-1:] for name, column in columns.items()})
    for name, values in last.outputs.items():
        assert values[0] == pytest.approx(ours.outputs[name][-1], rel=1e-6) if values.dtype != object else True


def test_texts_are_looked_up_once(
    models: tuple[OnlineModel, OnlineModel], calls: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = models[1]
    asked: list[int] = []
    tables = LiteModel._tables

    def counted(self: LiteModel, words: Any) -> Any:
        asked.append(sum(map(len, words)))
        return tables(self, words)

    monkeypatch.setattr(LiteModel, "_tables", counted)
    columns = rows_of(fast, ["a new one", "another new one"])
    first = fast.predict(columns)
    assert len(asked) == 1
    again = fast.predict(columns)
    assert len(asked) == 1
    # The binary protocol has bytes.
    encoded = {n: np.array([t.encode() for t in c], object) if c.dtype == object else c for n, c in columns.items()}
    assert fast.predict(encoded).outputs["prediction"].tolist() == first.outputs["prediction"].tolist()
    assert len(asked) == 2
    for name, values in first.outputs.items():
        assert values.tolist() == again.outputs[name].tolist()
    # A full cache begins anew, and answers as before.
    monkeypatch.setattr(lite, "_MAX_CACHED", 3)
    fast.predict(rows_of(fast, ["third", "fourth", "fifth", "sixth"]))
    assert len(asked) == 3
    assert fast.predict(columns).outputs["prediction"].tolist() == first.outputs["prediction"].tolist()
    assert calls == [True] * 5


def test_many_new_texts_are_left_to_tensorflow(
    models: tuple[OnlineModel, OnlineModel], calls: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = models
    monkeypatch.setattr(lite, "MAX_COMBINATIONS", 4)
    columns = rows_of(fast, [f"unique {number}" for number in range(60)])
    found = fast.predict(columns)
    assert calls == [False]
    assert found.outputs["prediction"].tolist() == slow.predict(columns).outputs["prediction"].tolist()


def test_a_long_text_is_left_to_tensorflow_and_not_cached(
    models: tuple[OnlineModel, OnlineModel], calls: list[bool]
) -> None:
    slow, fast = models
    columns = rows_of(fast, ["true", "x" * 257])
    assert engine.worst_difference(fast.predict(columns), slow.predict(columns)) == ""
    fast.predict(rows_of(fast, ["true", "x" * 256]))
    assert calls == [False, True]


def test_golden_rows_hold(models: tuple[OnlineModel, OnlineModel], calls: list[bool]) -> None:
    assert check_golden(models[1]) == len(models[1].source.warm_up)
    assert set(calls) == {True}


def test_a_row_that_is_not_finite_has_its_fault(models: tuple[OnlineModel, OnlineModel]) -> None:
    slow, fast = models
    columns = rows_of(fast, ["true", "true"])
    for name, column in columns.items():
        if column.dtype != object:
            columns[name] = np.array([column[0], np.nan], column.dtype)
    ours, theirs = fast.predict(columns), slow.predict(columns)
    assert {row: fault.reason for row, fault in ours.faults.items()} == {
        row: fault.reason for row, fault in theirs.faults.items()
    }


def test_without_parity_tensorflow_serves_and_the_reason_is_stated(
    natality_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = LiteModel.__call__

    def off(self: LiteModel, *arguments: Any) -> Any:
        found = call(self, *arguments)
        return None if found is None else {**found, "prediction": found["prediction"] * np.float32(1.001)}

    monkeypatch.setattr(LiteModel, "__call__", off)
    model = load(natality_model, engine="litert")
    assert model.engine.startswith("TensorFlow, not LiteRT: prediction differs by ")
    assert model._predictor.engine is None


def test_other_models_are_served_by_tensorflow(tmp_path: Path, make_model: Any) -> None:
    model = load(make_model(tmp_path / "model", "v1"), engine="litert")
    assert PROBLEM.name == model.name
    assert model.engine == (
        "TensorFlow, not LiteRT: the SavedModel is not split behind text features, as `headrace train` splits a model"
    )


def test_the_option_and_the_variable() -> None:
    assert config_from_environment({"HEADRACE_ENGINE": "litert"}).engine == "litert"
    with pytest.raises(UsageError, match="engine"):
        ServeConfig("model", engine="onnx")  # type: ignore[arg-type]
