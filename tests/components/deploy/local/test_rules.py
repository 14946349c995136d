"""Mode of rules in the servers of an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.components.deploy.local import switch
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.publisher import DeployConfig, deploy, rollback
from headrace.components.deploy.state import EndpointState
from headrace.core.errors import PlatformError, UsageError


def test_servers_are_started_in_the_mode_of_the_deployment_and_a_rollback_keeps_it(
    tmp_path: Path, make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []

    def start(*_: Any, rules: str, **__: Any) -> Any:
        modes.append(rules)
        raise PlatformError("not started")

    monkeypatch.setattr(switch.launcher, "start", start)
    endpoint = str(tmp_path / "endpoint")
    models = {version: str(make_model(tmp_path / version, version)) for version in ("v1", "v2")}
    for mode in ("enforce", "warn"):
        with pytest.raises(PlatformError, match="not started"):
            deploy(DeployConfig(models["v1"], endpoint, rules=mode))  # type: ignore[arg-type]
    folder = EndpointFolder(endpoint)
    for version, model in models.items():
        folder.publish(model, version)
    folder.write(EndpointState("natality", "v2", "v1", None, None, rules="warn"), folder.read())
    with pytest.raises(PlatformError, match="not started"):
        rollback(endpoint)
    assert modes == ["enforce", "warn", "warn"]
    with pytest.raises(UsageError, match="the mode of rules is not valid"):
        DeployConfig(models["v1"], endpoint, rules="off")  # type: ignore[arg-type]
