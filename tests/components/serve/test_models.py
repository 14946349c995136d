"""Models from registries, and the switch to a new champion."""

from __future__ import annotations

import json
import shutil
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.registered_models import make_evaluation
from support.serving import dynamic

from headrace.components.registry.folder.registry import Registry
from headrace.components.serve import models, start
from headrace.components.serve.app import ServerApp
from headrace.components.serve.config import ServeConfig
from headrace.components.serve.modes.answerer import Answer, RowsRequest
from headrace.core.errors import DataError, UsageError
from headrace.core.scoring.online.current import CurrentModel

ROW = {"mother_age": 30, "gestation_weeks": 40.0, "plurality": "1", "mother_smokes": "true"}


@pytest.fixture
def register(tmp_path: Path, make_model: Callable[..., Path]) -> Callable[..., str]:
    """`register(version)`: registers a Model and makes it the champion; returns its folder in the registry."""
    registry = Registry(str(tmp_path / "registry"))

    def make(version: str, **options: Any) -> str:
        model = make_model(tmp_path / version, version, **options)
        registry.register(str(model), make_evaluation(tmp_path / f"evaluation-{version}", version))
        registry.promote(version)
        return registry.path(version)

    return make


def config(tmp_path: Path, **options: Any) -> ServeConfig:
    return ServeConfig(str(tmp_path / "registry"), **options)


def follower(tmp_path: Path) -> tuple[models.ModelFollower, CurrentModel[Any], Counter[str]]:
    options = config(tmp_path, follow_s=1.0)
    counts: Counter[str] = Counter()
    current = CurrentModel(models.load(models.find(models.locate(options), options), options))
    return models.ModelFollower(options, current, count=lambda result: counts.update([result])), current, counts


def version_of_an_answer(answerer: Any) -> str:
    (outcome,) = answerer.answer([RowsRequest(1, instances=[ROW])])
    assert isinstance(outcome, Answer)
    assert outcome.outputs["prediction"].tolist() == pytest.approx([6.0])
    return outcome.version


def test_the_log_names_the_engine_and_why(
    tmp_path: Path, register: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    register("v1")
    options = config(tmp_path, engine="litert", follow_s=3600.0)
    reports: list[str] = []
    app = ServerApp("natality", "v1")
    (follow,) = start.load(start.find(options), app, lambda message, **_: reports.append(message))
    why = "TensorFlow, not LiteRT: the SavedModel is not split behind text features, as `headrace train` splits a model"
    assert f"engine: {why}" in reports
    register("v2")
    with caplog.at_level("INFO"):
        assert follow.look()
    assert f"version v2 with {why}, is in use" in caplog.text
    follow.close()
    app.batcher.close()


def test_an_alias_is_followed_and_the_previous_model_is_kept(
    tmp_path: Path, register: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register("v1")
    follow, current, counts = follower(tmp_path)
    answerer = dynamic(current.model)
    answerer._current = current
    assert version_of_an_answer(answerer) == "v1"
    assert not follow.look()
    first = weakref.ref(current.model)
    register("v2")
    assert follow.look()
    assert version_of_an_answer(answerer) == answerer.description.version == "v2"
    back = current.back()
    assert back is not None
    assert version_of_an_answer(answerer) == "v1"
    current.back()
    del back
    register("v3")
    real, gone = current.switch, []

    def switch(*arguments: Any) -> Any:
        new = real(*arguments)
        gone.append(first() is None)
        return new

    # Not only after the collection that follows the switch, or what it refers to would wait for another one.
    monkeypatch.setattr(current, "switch", switch)
    assert follow.look()
    assert gone == [True]
    assert version_of_an_answer(answerer) == "v3"
    assert counts == {"switched": 2}


def test_a_rollback_of_the_alias_uses_the_model_that_is_still_in_memory(
    tmp_path: Path, register: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = register("v1")
    follow, current, counts = follower(tmp_path)
    before = current.model
    register("v2")
    assert follow.look()
    after = current.model
    monkeypatch.setattr(models, "load", lambda *_: pytest.fail("it is in memory"))
    registry = Registry(str(tmp_path / "registry"))
    registry.promote("v1")
    # It was verified when it was loaded; the switch does not depend on its files.
    shutil.rmtree(Path(first) / "saved_model" / "variables")
    assert follow.look()
    assert (current.model, current.previous) == (before, after)
    assert not follow.look()
    registry.promote("v2")
    assert follow.look()
    assert (current.model, current.previous) == (after, before)
    assert counts == {"switched": 3}


def test_a_new_version_with_other_predictions_than_its_golden_rows_is_refused(
    tmp_path: Path, register: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    register("v1")
    follow, current, counts = follower(tmp_path)
    register("v2", golden_offset=0.5)
    assert not follow.look()
    assert current.model.version == "v1"
    assert "version v2 is refused, and v1 stays: " in caplog.text
    assert "predictions[0].prediction: the model's prediction differs from its golden row. Expected 6.5" in caplog.text
    # It is refused once, and not loaded again and again.
    assert not follow.look()
    assert counts == {"refused": 1}
    register("v3")
    assert follow.look()
    assert current.model.version == "v3"


def test_a_damaged_new_version_is_refused(
    tmp_path: Path, register: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    register("v1")
    follow, current, counts = follower(tmp_path)
    model = register("v2")
    golden = Path(model) / "golden.json"
    golden.write_text(golden.read_text().replace("a", "b", 1))
    assert not follow.look()
    assert "a file of the registered Model is damaged" in caplog.text
    assert (current.model.version, counts) == ("v1", {"refused": 1})


def test_a_registry_that_cannot_be_read_changes_nothing(tmp_path: Path, register: Callable[..., str]) -> None:
    register("v1")
    follow, current, counts = follower(tmp_path)
    state = (tmp_path / "registry" / "registry.json").read_text()
    (tmp_path / "registry" / "registry.json").write_text("{")
    assert not follow.look()
    assert current.model.version == "v1"
    assert sum(counts.values()) == 1
    (tmp_path / "registry" / "registry.json").write_text(state)
    register("v2")
    assert follow.look()


def test_another_alias_and_none(tmp_path: Path, register: Callable[..., str]) -> None:
    register("v1")
    register("v2")
    assert models.locate(config(tmp_path)).version == "v2"
    assert models.locate(config(tmp_path, alias="previous")).version == "v1"
    with pytest.raises(UsageError, match=r"the registry has no challenger.*Expected an alias that is set: champion"):
        models.locate(config(tmp_path, alias="challenger"))
    with pytest.raises(UsageError, match="the interval of --follow-every is wrong"):
        config(tmp_path, follow_s=0.0)


def test_an_endpoints_folder_is_followed(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    endpoint = tmp_path / "registry"
    for version in ("v1", "v2"):
        make_model(endpoint / "versions" / version, version)
    (endpoint / "endpoint.json").write_text(json.dumps({"name": "natality", "live": "v1"}))
    follow, current, counts = follower(tmp_path)
    (endpoint / "endpoint.json").write_text(json.dumps({"name": "natality", "live": "v2"}))
    assert follow.look()
    assert current.model.version == "v2"
    shutil.rmtree(endpoint / "versions" / "v2")
    (endpoint / "endpoint.json").write_text(json.dumps({"name": "natality", "live": "v3"}))
    assert not follow.look()
    assert current.model.version == "v2"
    assert counts["switched"] == 1


def test_a_damaged_registered_model_is_not_served(tmp_path: Path, register: Callable[..., str]) -> None:
    model = register("v1")
    (Path(model) / "schema.json").write_text("{}")
    with pytest.raises(DataError, match="a file of the registered Model is damaged"):
        models.find(models.locate(config(tmp_path)), config(tmp_path))
