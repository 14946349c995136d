"""The mode that the Problem of a Model declares: what the server does where no option names one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tables import table_by_hand

from headrace.components.serve.config import ServeConfig, config_from_environment
from headrace.components.serve.start import find
from headrace.core.errors import DataError, UsageError


@pytest.fixture
def place(tmp_path: Path) -> str:
    return table_by_hand(tmp_path / "tables", ["a", "b"], "a" * 16)


@pytest.fixture
def declaring(tmp_path: Path, make_model: Callable[..., Path]) -> Callable[..., ServeConfig]:
    """Makes a Model whose Problem declares a mode, and the options to serve it."""

    def make(serving: Any) -> ServeConfig:
        model = make_model(tmp_path / "model", "v1")
        problem = json.loads((model / "problem.json").read_text())
        (model / "problem.json").write_text(json.dumps({**problem, "serving": serving}))
        return ServeConfig(str(model))

    return make


def test_hybrid_by_the_problem(declaring: Callable[..., ServeConfig], place: str) -> None:
    config = declaring({"mode": "hybrid", "table": place, "cache_rows": 9})
    found = find(config)
    assert found.config == replace(config, mode="hybrid", table=place, cache_rows=9)
    assert found.source is not None


def test_static_by_the_problem(declaring: Callable[..., ServeConfig], place: str) -> None:
    """The Model only names the mode: neither it nor TensorFlow is loaded."""
    config = declaring({"mode": "static", "table": place})
    found = find(config)
    assert (found.source, found.config.mode, found.name, found.version) == (None, "static", "model", "v1")


def test_an_option_comes_before_the_problem(declaring: Callable[..., ServeConfig], place: str, tmp_path: Path) -> None:
    config = declaring({"mode": "static", "table": place})
    dynamic = find(replace(config, mode="dynamic"))
    assert (dynamic.config.mode, dynamic.config.table) == ("dynamic", None)
    other = table_by_hand(tmp_path / "others", ["a"], "b" * 16)
    assert find(replace(config, table=other)).config.table == other
    assert find(replace(config, mode="hybrid", table=other)).config.mode == "hybrid"


def test_a_table_that_nobody_names(declaring: Callable[..., ServeConfig]) -> None:
    with pytest.raises(UsageError, match="static and hybrid serving need a table") as caught:
        find(declaring({"mode": "hybrid"}))
    assert caught.value.fix == "Give --prediction-table TABLE"


def test_without_a_declaration_the_model_answers(tmp_path: Path, make_model: Callable[..., Path], place: str) -> None:
    config = ServeConfig(str(make_model(tmp_path / "model", "v1")))
    assert find(config).config == replace(config, mode="dynamic")
    with pytest.raises(UsageError, match="static and hybrid serving need a table"):
        find(replace(config, table=place))


def test_a_damaged_declaration(declaring: Callable[..., ServeConfig]) -> None:
    config = declaring({"mode": "fast"})
    with pytest.raises(DataError, match="the serving mode of the Problem is damaged") as caught:
        find(config)
    assert caught.value.where == f"{config.source}/problem.json"


def test_a_container_has_its_mode_by_a_variable_or_by_the_problem() -> None:
    assert config_from_environment({"AIP_STORAGE_URI": "/m"}).mode is None
    assert config_from_environment({"AIP_STORAGE_URI": "/m", "HEADRACE_MODE": "dynamic"}).mode == "dynamic"
    static = {"AIP_STORAGE_URI": "/m", "HEADRACE_MODE": "static", "HEADRACE_TABLE": "gs://b/t"}
    assert config_from_environment(static) == ServeConfig("", mode="static", table="gs://b/t")
