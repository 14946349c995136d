"""`headrace serve`: its options become the server's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headrace.components.serve import server
from headrace.components.serve.config import ServeConfig
from headrace.core.errors import UsageError
from headrace.pipelines.cli import cli


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeConfig]:
    """The options of servers, which are not started."""
    found: list[ServeConfig] = []
    monkeypatch.setattr(server, "serve", lambda config, _: found.append(config))
    return found


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["serve", *arguments])


def test_modes_are_options(served: list[ServeConfig], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    model = str(tmp_path / "model")
    assert invoke(model).exit_code == 0
    assert invoke("--mode", "static", "--prediction-table", "table", "--follow-every", "30").exit_code == 0
    assert (
        invoke(model, "--mode", "hybrid", "--prediction-table", "gs://b/table", "--answer-cache", "100").exit_code == 0
    )
    assert served == [
        ServeConfig(model),
        ServeConfig("", mode="static", table="table", follow_s=30.0),
        ServeConfig(model, mode="hybrid", table="gs://b/table", cache_rows=100),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mode", "static"), "static and hybrid serving need a table"),
        (("--prediction-table", "table"), "static and hybrid serving need a table"),
        (
            ("--mode", "static", "--prediction-table", "table", "--answer-cache", "5"),
            "a cache belongs to hybrid serving",
        ),
    ],
)
def test_options_that_do_not_go_together(served: list[ServeConfig], arguments: tuple[str, ...], message: str) -> None:
    done = invoke(*arguments)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
    assert not served


def test_a_model_is_needed_but_in_static_mode() -> None:
    done = invoke("--port", "0")
    assert isinstance(done.exception, UsageError)
    assert "the model to serve is missing" in str(done.exception)
    done = invoke(".", "--mode", "static", "--prediction-table", "table")
    assert isinstance(done.exception, UsageError)
    assert "static serving uses no model" in str(done.exception)
