"""The unit of systemd that starts an endpoint after a restart of the machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from headrace.components.deploy.local.unit import unit
from headrace.components.deploy.state import EndpointState
from headrace.core.errors import UsageError


def test_it_starts_and_stops_the_endpoint_by_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / '50 % of "$HOME"'
    folder.mkdir()
    (folder / "endpoint.json").write_text(json.dumps(EndpointState("natality", "v1", None).to_json()))
    monkeypatch.chdir(tmp_path)
    lines = unit(folder.name).splitlines()
    assert lines[1] == "Description=headrace endpoint natality"
    quoted = f'"{tmp_path}/50 %% of \\"$$HOME\\""'
    command = f'"{sys.executable}" -P -m headrace endpoint'
    assert [line for line in lines if line.startswith("Exec")] == [
        f"ExecStart={command} start {quoted}",
        f"ExecStop={command} stop {quoted}",
    ]
    with pytest.raises(UsageError, match="the endpoint does not exist"):
        unit("other")
