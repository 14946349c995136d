"""Finding what is to be served."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.core.errors import DataError, UsageError
from headrace.core.saved_model.find import find_source
from headrace.core.saved_model.json.inputs import InputFeature


def test_a_model(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    source = find_source(str(model))
    assert source.saved_model == str(model / "saved_model")
    assert (source.name, source.version) == ("natality", "v1")
    assert len(source.warm_up) == 3
    assert source.interface is not None
    assert tuple(replace(taken, rule=None) for taken in source.interface.inputs) == (
        InputFeature("mother_age", "numeric"),
        InputFeature("gestation_weeks", "numeric", optional=True),
        InputFeature("plurality", "categorical"),
        InputFeature("mother_smokes", "categorical", optional=True),
    )
    assert source.interface.key_name == "record_id"
    assert source.rules == source.interface.rules
    assert source.rules is not None
    assert source.rules.inputs == {taken.name: taken.rule for taken in source.interface.inputs}
    assert source.rules.mode == "enforce"
    relaxed = find_source(str(model), rules="warn").rules
    assert relaxed is not None
    assert {rule.mode for rule in relaxed.inputs.values()} == {relaxed.mode} == {"warn"}
    assert find_source(str(model), name="other").name == "other"


def test_a_bare_saved_model(tiny_saved_model: Path) -> None:
    source = find_source(str(tiny_saved_model))
    assert (source.name, source.version, source.interface) == ("saved_model", "1", None)


def test_an_endpoint_means_its_live_version(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    make_model(tmp_path / "versions" / "v1", "v1")
    make_model(tmp_path / "versions" / "v2", "v2")
    (tmp_path / "endpoint.json").write_text(json.dumps({"name": "weights", "live": "v2"}))
    source = find_source(str(tmp_path))
    assert (source.name, source.version) == ("weights", "v2")


def test_what_cannot_be_served_is_refused(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="Received: nothing"):
        find_source(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"a folder without endpoint\.json or saved_model\.pb"):
        find_source(str(tmp_path))
    model = make_model(tmp_path / "model", "v1")
    with pytest.raises(UsageError, match="the model name is not valid"):
        find_source(str(model), name="a/b")
    (model / "schema.json").write_text('{"columns": [{"name": "x"}]}')
    with pytest.raises(DataError, match="the schema is damaged"):
        find_source(str(model))
    (model / "training.json").write_text("[]")
    with pytest.raises(DataError, match="the Model is damaged"):
        find_source(str(model))
    (tmp_path / "endpoint.json").write_text("{}")
    with pytest.raises(DataError, match="no version is live"):
        find_source(str(tmp_path))
