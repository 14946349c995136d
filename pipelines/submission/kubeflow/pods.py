"""Pods of a run on Kubeflow Pipelines: their names from what the API reports, and what their logs say of a failure.

The API names no pods. The `child_tasks` of its tasks are ids of Argo's nodes, WORKFLOW-HASH, with the hash of the
node's path, and a task with retries has its pod some levels below. A node's pod is WORKFLOW-TEMPLATE-HASH.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from headrace.pipelines.submission.run import LogLine, RunTask

# Templates of a task's container, in specs that Kubeflow Pipelines compiles with retries and without.
_TEMPLATES = ("retry-system-container-impl", "system-container-impl")
_ATTEMPT = re.compile(r"\(\d+\)\Z")
_EXIT_STATUS = re.compile(r"exit (?:code|status):? (\d+)")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\S+Z) (.*)\Z")
_EXECUTOR = "executor"
# How the server's error begins, which it writes in one piece.
_ERROR = '{"error_message":'


class PodLog(NamedTuple):
    """The log of a pod.

    Attributes:
        text: its lines.
        broken: why the server read no more of it, or "".
    """

    text: str
    broken: str = ""


def pod_names(node: str) -> tuple[str, ...]:
    """Names that the pod of a node may have; the last is that of Argo before 3.4."""
    workflow, _, number = node.rpartition("-")
    return (*(f"{workflow}-{template}-{number}" for template in _TEMPLATES), node)


def nodes_by_task(details: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    """The nodes of each task that may be its pods, by the task's name.

    Args:
        details: task details of the API, in the order of their creation.
    """
    ids = {child.pod_name for one in details for child in one.child_tasks or ()}
    paths = _paths({one.display_name for one in details}, ids)
    if not paths:
        return {one.display_name: _by_order(details, place) for place, one in enumerate(details)}
    found: dict[str, tuple[str, ...]] = {}
    for path, node in paths.items():
        # A node with others below it, or with attempts, has no pod.
        if any(other.startswith((f"{path}.", f"{path}(")) for other in paths):
            continue
        for name in {_ATTEMPT.sub("", part) for part in path.split(".")}:
            found[name] = (*found.get(name, ()), node)
    return found


def _paths(shown: set[str], ids: set[str]) -> dict[str, str]:
    """The node of each path whose hash is in an id: a path is that of the node around it, and its own name."""
    found: dict[str, str] = {}
    around = sorted({node.rpartition("-")[0] for node in ids})
    while around:
        path = around.pop()
        workflow = path.partition(".")[0]
        for name in sorted(shown):
            inner = f"{path}.{name}"
            node = f"{workflow}-{_fnv32a(inner)}"
            if node in ids and inner not in found:
                found[inner] = node
                around.append(inner)
    return found


def _by_order(details: Sequence[Any], place: int) -> tuple[str, ...]:
    """Without hashes: the children of the task, or of the executors that were created next."""
    below = [details[place]]
    for one in details[place + 1 :]:
        if _ATTEMPT.sub("", one.display_name) != _EXECUTOR:
            break
        below.append(one)
    if sum(one.display_name == _EXECUTOR for one in below) > 1:
        # Of several tasks that started at the same time.
        below = below[:1]
    last = next((one for one in reversed(below) if one.child_tasks), None)
    return tuple(child.pod_name for child in last.child_tasks) if last else ()


def _fnv32a(text: str) -> int:
    number = 0x811C9DC5
    for byte in text.encode():
        number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
    return number


def pod_log(body: str) -> PodLog | None:
    """A pod's log of the body of a response; None where that is the server's error.

    The server sends status 200 before it reads the log, and writes an error in place of it, or after what it has read.
    """
    start = max(body.rfind(_ERROR), 0)
    try:
        content = json.loads(body[start:])
    except ValueError:
        return PodLog(body)
    if not isinstance(content, dict) or "error_message" not in content or "severity" in content:
        return PodLog(body)
    reason = str(content["error_message"]).partition("\n")[0]
    return PodLog(body[:start], reason or "no reason") if body[:start].strip() else None


def log_lines(task: RunTask, logs: Sequence[PodLog]) -> Iterator[LogLine]:
    """The lines of a task's logs; a warning where an ended task has none, and where one breaks off.

    Args:
        task: of the logs.
        logs: of its pods.
    """
    if not logs and task.state in ("succeeded", "failed"):
        missing = "the API server has no log of this task: its pod may be deleted, or its result came from the cache"
        yield LogLine("", task.name, "WARNING", missing)
    for log in logs:
        for line in log.text.splitlines():
            found = _STAMP.match(line)
            yield _line(task.name, *(found.groups() if found else ("", line)))
        if log.broken:
            yield LogLine("", task.name, "WARNING", f"the log breaks off here: {log.broken}")


def _line(task: str, when: str, text: str) -> LogLine:
    """Parses a line of a pod's log; headrace's own events are JSON."""
    event = _event(text)
    if event is None:
        return LogLine(when, task, "DEFAULT", text)
    return LogLine(when, task, str(event["severity"]), str(event["message"]))


def with_reason(task: RunTask, logs: Sequence[PodLog]) -> RunTask:
    """A task with what its logs say: headrace's own error or result, the exit status, and a message or the last line.

    Args:
        task: that failed, or decided.
        logs: of its pods.
    """
    refusal, result, status, message, last = None, task.result, None, "", ""
    for line in (line for log in logs for line in log.text.splitlines() if line.strip()):
        last = line.strip()
        stamped = _STAMP.match(line)
        event = _event(stamped[2] if stamped else line)
        if event is None:
            found = _EXIT_STATUS.search(line)
            if found:
                status, message = int(found[1]), message or line.strip()
            continue
        details = event.get("headrace")
        record = details.get("record") if isinstance(details, dict) else None
        if not isinstance(record, dict):
            record = {}
        if isinstance(record.get("result"), dict):
            result = record["result"]
        if event["severity"] == "ERROR":
            message = str(event["message"])
            refusal = record.get("error") or refusal
    return replace(task, refusal=refusal, result=result, exit_status=status, message=message or last)


def _event(text: str) -> dict[str, Any] | None:
    if not text.startswith('{"severity"'):
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "message" in event else None
