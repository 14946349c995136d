"""Serving options of an endpoint: its servers are started with those of the last deployment."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.mode_requests import ROWS, instances
from support.tables import table_by_hand, table_of_model

from headrace.components.deploy.local import operate, switch
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.publisher import LocalDeployConfig, deploy
from headrace.components.deploy.serving import ServerOptions
from headrace.components.deploy.state import EndpointState
from headrace.core.errors import PlatformError, UsageError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerOptions]:
    """The options of servers, which do not start."""
    found: list[ServerOptions] = []

    def start(*_: Any, serving: ServerOptions, **__: Any) -> Any:
        found.append(serving)
        raise PlatformError("not started")

    monkeypatch.setattr(switch.launcher, "start", start)
    return found


def test_servers_are_started_with_the_options_of_the_endpoint(
    tmp_path: Path, make_model: Callable[..., Path], started: list[ServerOptions]
) -> None:
    table = table_by_hand(tmp_path / "table", ["a"], "a" * 16)
    endpoint = str(tmp_path / "endpoint")
    models = {version: str(make_model(tmp_path / version, version)) for version in ("v1", "v2")}
    first: list[dict[str, Any]] = [{}, {"rules": "warn"}, {"table": table, "cache_rows": 5}]
    for options in first:
        with pytest.raises(PlatformError, match="not started"):
            deploy(LocalDeployConfig(models["v1"], endpoint, **options))
    folder = EndpointFolder(endpoint)
    for version, model in models.items():
        folder.publish(model, version)
    folder.write(EndpointState("natality", "v2", "v1", rules="warn", table=table, cache_rows=7), folder.read())
    # A promotion and a rollback keep them, and a deployment that does not name a table keeps that.
    with pytest.raises(PlatformError, match="not started"):
        operate.promote(endpoint, "v1")
    for options in ({}, {"table": ""}):
        with pytest.raises(PlatformError, match="not started"):
            deploy(LocalDeployConfig(models["v1"], endpoint, **options))
    assert started == [
        ServerOptions(),
        ServerOptions("warn"),
        ServerOptions("enforce", table, 5),
        ServerOptions("warn", table, 7),
        ServerOptions("enforce", table, 7),
        ServerOptions(),
    ]


def test_options_are_checked_before_a_server_is_started(
    tmp_path: Path, make_model: Callable[..., Path], started: list[ServerOptions]
) -> None:
    model = str(make_model(tmp_path / "v1", "v1"))
    with pytest.raises(UsageError, match="the mode of rules is not valid"):
        LocalDeployConfig(model, "endpoint", rules="off")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a cache belongs to a table"):
        LocalDeployConfig(model, "endpoint", cache_rows=5)
    with pytest.raises(UsageError, match="nothing is published there"):
        deploy(LocalDeployConfig(model, str(tmp_path / "endpoint"), table=str(tmp_path / "gone")))
    assert not started


@pytest.mark.parametrize(
    ("declared", "before", "expected"),
    [
        ({"mode": "hybrid", "table": "/t", "cache_rows": 5}, None, ServerOptions("warn", "/t", 5)),
        (
            {"mode": "hybrid", "table": "/t"},
            ServerOptions("enforce", "/u", 7, 0.5),
            ServerOptions("warn", "/t", 0, 0.5),
        ),
        ({"mode": "hybrid"}, ServerOptions("enforce", "/u", 7), ServerOptions("warn", "/u")),
        ({"mode": "dynamic"}, ServerOptions("enforce", "/u", 7), ServerOptions("warn")),
        (None, ServerOptions("enforce", "/u", 7, 0.5), ServerOptions("warn", "/u", 7, 0.5)),
        (None, None, ServerOptions("warn")),
    ],
)
def test_the_problem_of_the_model_comes_before_what_the_endpoint_has(
    tmp_path: Path,
    make_model: Callable[..., Path],
    declared: Any,
    before: ServerOptions | None,
    expected: ServerOptions,
) -> None:
    config = LocalDeployConfig(str(declaring(make_model(tmp_path / "v1", "v1"), declared)), "endpoint", rules="warn")
    state = None if before is None else EndpointState("natality", "v0", None, **vars(before), traffic={"v0": 100})
    assert config.serving(state) == expected
    assert replace(config, table="").serving(state) == replace(expected, table="", cache_rows=0)


@pytest.mark.parametrize(
    ("declared", "what"),
    [
        ({"mode": "static", "table": "/t"}, "declares static serving, which uses no model"),
        ({"mode": "hybrid"}, "declares hybrid serving, and no table is named"),
    ],
)
def test_a_mode_that_needs_another_deployment(
    tmp_path: Path, make_model: Callable[..., Path], started: list[ServerOptions], declared: Any, what: str
) -> None:
    model = declaring(make_model(tmp_path / "v1", "v1"), declared)
    with pytest.raises(UsageError, match=what):
        deploy(LocalDeployConfig(str(model), str(tmp_path / "endpoint")))
    assert not started


def declaring(model: Path, serving: Any) -> Path:
    """A Model whose Problem declares a mode."""
    problem = json.loads((model / "problem.json").read_text())
    (model / "problem.json").write_text(json.dumps({**problem, "serving": serving}))
    return model


def test_the_server_gets_them_as_options() -> None:
    assert ServerOptions("warn").arguments == ("--rules", "warn", "--mode", "dynamic")
    assert ServerOptions("enforce", "t").arguments == (
        *("--rules", "enforce", "--mode", "hybrid", "--prediction-table", "t", "--follow-every", "30"),
    )
    assert ServerOptions("enforce", "t", 9).arguments[-2:] == ("--answer-cache", "9")


def test_an_endpoint_answers_from_a_table_of_the_version_that_is_live(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    """With real servers: the model answers a new version's rows until its table is there."""
    models = {version: str(make_model(tmp_path / version, version)) for version in ("v1", "v2")}
    table = table_of_model(models["v1"], ROWS[:20], tmp_path / "table")
    endpoint = str(tmp_path / "endpoint")
    body = {"instances": [instances(ROWS)[0], instances(ROWS)[30]]}
    try:
        url = deploy(LocalDeployConfig(models["v1"], endpoint, table=table, cache_rows=10)).url
        headers, answers = ask(url, body)
        assert (headers["x-model-version"], headers["x-answered-by"]) == ("v1", "table=1, model=1")
        assert deploy(LocalDeployConfig(models["v2"], endpoint)).url == url
        headers, again = ask(url, body)
        assert (headers["x-model-version"], headers["x-answered-by"]) == ("v2", "model=2")
        assert again["predictions"] == answers["predictions"]
    finally:
        operate.stop(endpoint)


def ask(url: str, body: Any) -> tuple[dict[str, str], Any]:
    """Headers and body of a response of the endpoint."""
    request = urllib.request.Request(f"{url}/v1/models/natality:predict", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=600) as response:
        return dict(response.headers.items()), json.loads(response.read())
