"""What a pod's log says of a failure: the launcher's last line has the exit status, and no other line has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from peers.kubeflow_logs import main_log

from headrace.core.errors import DataError, HeadraceError, PlatformError
from headrace.pipelines.submission.kubeflow.pods import PodLog, nodes_by_task, with_reason
from headrace.pipelines.submission.run import RunTask

TASK = RunTask("train", "failed")
FORGED = "F0325 16:58:41.568909 98 main.go:54] failed to execute component: exit status 2"
SLOG = 'time=2026-03-25T16:58:42.294Z level=INFO msg="sub-process exited" argo=true error=<nil>'


def failed(error: HeadraceError) -> str:
    """The event with which a step ends."""
    record = {"status": "failed", "error": error.to_json(), "result": {}}
    return _event("ERROR", error.text, record)


def _event(severity: str, message: str, record: Any) -> str:
    return json.dumps({"severity": severity, "message": message, "headrace": {"event": "x", "record": record}})


@pytest.mark.parametrize(
    ("log", "status", "message"),
    [
        (main_log("no such column", "exit status 2"), 2, "no such column"),
        (main_log("no such column", "exit status 75"), 75, "no such column"),
        # Of backends without ML Metadata, and where publishing failed too.
        (main_log("x", "exit status 3", launcher="failed to execute launcher: failed to execute component: "), 3, "x"),
        (
            main_log(
                "x",
                "exit status 2",
                launcher="failed to execute component: failed to publish execution with error EOF after execution"
                " failed: ",
            ),
            2,
            "x",
        ),
        (f"x\n{FORGED}\n{SLOG}\nError: exit status 1\n", 2, "x"),
        # With the server's time stamps.
        (f"2025-03-25T16:58:40.1Z x\n2025-03-25T16:58:41.6Z {FORGED}\n", 2, "x"),
        # What the process prints, whatever its numbers are.
        (main_log("Error (exit code 2)", "exit status 1"), 1, "Error (exit code 2)"),
        (main_log("exit status 2", "signal: killed"), None, "exit status 2"),
        (main_log("Error: exit status 2\nexit code: 3", "exit status 75"), 75, "exit code: 3"),
        (main_log(FORGED, "exit status 1"), 1, "failed to execute component: exit status 1"),
        (main_log("", "signal: killed"), None, "failed to execute component: signal: killed"),
        (f"{FORGED}\nretrying", None, "retrying"),
        ("worker ended with exit code 2", None, "worker ended with exit code 2"),
        ("Error: exit status 2", None, ""),
        ("", None, ""),
    ],
)
def test_the_exit_status_is_the_launchers(log: str, status: int | None, message: str) -> None:
    found = with_reason(TASK, [PodLog(log)])
    assert (found.exit_status, found.refusal, found.message) == (status, None, message)


def test_the_last_attempt_that_the_launcher_reported_decides() -> None:
    first, second = main_log("a", "exit status 75"), main_log("b", "exit status 2")
    assert with_reason(TASK, [PodLog(first), PodLog(second)]).exit_status == 2
    assert with_reason(TASK, [PodLog(second), PodLog(first)]).exit_status == 75
    assert with_reason(TASK, [PodLog(second), PodLog("killed")]).exit_status == 2


@pytest.mark.parametrize(
    ("ended", "refused"), [("exit status 2", True), ("signal: killed", True), ("exit status 1", False)]
)
def test_the_error_of_a_step_is_the_tasks_unless_the_launcher_reports_another_status(ended: str, refused: bool) -> None:
    mistake = DataError("no rows", where="births.csv")
    found = with_reason(TASK, [PodLog(main_log(f"{failed(mistake)}\nTraceback", ended))])
    assert (found.refusal == mistake.to_json()) is refused
    assert found.message == (mistake.text if refused else "Traceback")


def test_the_error_of_a_step_within_a_step_that_succeeded_is_none() -> None:
    finished = _event("INFO", "finished", {"status": "succeeded", "error": None, "result": {"rows": 3}})
    found = with_reason(TASK, [PodLog(f"{failed(PlatformError('busy'))}\n{finished}\n")])
    assert (found.refusal, found.result) == (None, {"rows": 3})


def test_attempts_are_in_their_order() -> None:
    def node(path: str) -> str:
        number = 0x811C9DC5
        for byte in path.encode():
            number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
        return f"w-{number}"

    def detail(name: str, *children: str) -> Any:
        kids = [type("Child", (), {"pod_name": child})() for child in children]
        return type("Detail", (), {"display_name": name, "child_tasks": kids})()

    attempts = [f"w.root.train.executor({number})" for number in range(11)]
    details = [
        detail("w", node("w.root")),
        detail("root", node("w.root.train")),
        detail("train", node("w.root.train.executor")),
        detail("executor", *map(node, attempts)),
        *(detail(f"executor({number})") for number in range(11)),
    ]
    assert nodes_by_task(details)["train"] == tuple(map(node, attempts))
