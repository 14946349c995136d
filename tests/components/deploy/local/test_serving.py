"""Serving options of an endpoint: its servers are started with those of the last deployment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tables import table_by_hand

from headrace.components.deploy.local import operate, switch
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.publisher import DeployConfig, deploy
from headrace.components.deploy.serving import Serving
from headrace.components.deploy.state import EndpointState
from headrace.core.errors import PlatformError, UsageError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Serving]:
    """The options of servers, which do not start."""
    found: list[Serving] = []

    def start(*_: Any, serving: Serving, **__: Any) -> Any:
        found.append(serving)
        raise PlatformError("not started")

    monkeypatch.setattr(switch.launcher, "start", start)
    return found


def test_servers_are_started_with_the_options_of_the_endpoint(
    tmp_path: Path, make_model: Callable[..., Path], started: list[Serving]
) -> None:
    table = table_by_hand(tmp_path / "table", ["a"], "a" * 16)
    endpoint = str(tmp_path / "endpoint")
    models = {version: str(make_model(tmp_path / version, version)) for version in ("v1", "v2")}
    first: list[dict[str, Any]] = [{}, {"rules": "warn"}, {"table": table, "cache_rows": 5}]
    for options in first:
        with pytest.raises(PlatformError, match="not started"):
            deploy(DeployConfig(models["v1"], endpoint, **options))
    folder = EndpointFolder(endpoint)
    for version, model in models.items():
        folder.publish(model, version)
    folder.write(EndpointState("natality", "v2", "v1", rules="warn", table=table, cache_rows=7), folder.read())
    # A promotion and a rollback keep them, and a deployment that does not name a table keeps that.
    with pytest.raises(PlatformError, match="not started"):
        operate.promote(endpoint, "v1")
    for options in ({}, {"table": ""}):
        with pytest.raises(PlatformError, match="not started"):
            deploy(DeployConfig(models["v1"], endpoint, **options))
    assert started == [
        Serving(),
        Serving("warn"),
        Serving("enforce", table, 5),
        Serving("warn", table, 7),
        Serving("enforce", table, 7),
        Serving(),
    ]


def test_options_are_checked_before_a_server_is_started(
    tmp_path: Path, make_model: Callable[..., Path], started: list[Serving]
) -> None:
    model = str(make_model(tmp_path / "v1", "v1"))
    with pytest.raises(UsageError, match="the mode of rules is not valid"):
        DeployConfig(model, "endpoint", rules="off")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a cache belongs to a table"):
        DeployConfig(model, "endpoint", cache_rows=5)
    with pytest.raises(UsageError, match="nothing is published there"):
        deploy(DeployConfig(model, str(tmp_path / "endpoint"), table=str(tmp_path / "gone")))
    assert not started


def test_the_server_gets_them_as_options() -> None:
    assert Serving("warn").arguments == ("--rules", "warn")
    assert Serving("enforce", "t").arguments == (
        *("--rules", "enforce", "--mode", "hybrid", "--table", "t", "--follow", "30"),
    )
    assert Serving("enforce", "t", 9).arguments[-2:] == ("--cache", "9")
