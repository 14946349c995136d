"""A local endpoint whose processes and router are played: its state and its versions' files are real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.components.deploy.local import control, status, switch
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.switch import Switch
from headrace.components.serve.processes import Announcement


class _Client:
    """What is asked of a version."""

    def healthy(self, *_: object) -> bool:
        return True

    def check_golden(self, *_: object) -> int:
        return 3


def play(monkeypatch: pytest.MonkeyPatch, report: Callable[..., Any] | None = None) -> None:
    """Replaces what an endpoint asks of processes.

    Args:
        monkeypatch: of the test.
        report: of the router; by default it follows the state at once.
    """

    def follows(folder: EndpointFolder, *_: object) -> dict[str, Any]:
        state = folder.existing()
        return {"epoch": state.epoch, "versions": {v: {"pid": 1, "state": "ready"} for v in state.traffic}}

    monkeypatch.setattr(control, "report_at", report or follows)
    monkeypatch.setattr(control, "ensure", lambda *_: None)
    monkeypatch.setattr(switch, "client", _Client())
    monkeypatch.setattr(status, "client", _Client())
    for name in ("wait", "_drained"):
        monkeypatch.setattr(Switch, name, lambda *_: None)
    monkeypatch.setattr(Switch, "prepare", lambda *_: (Announcement(1, "", "v", "http://127.0.0.1:1"), 3))
