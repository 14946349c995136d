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

from headrace.core.errors import HeadraceError
from headrace.pipelines.submission.run import LogLine, RunTask

# Templates of a task's container, in specs that Kubeflow Pipelines compiles with retries and without.
_TEMPLATES = ("retry-system-container-impl", "system-container-impl")
_ATTEMPT = re.compile(r"\(\d+\)\Z")
# The line with which KFP's launcher ends after the task's process failed: glog's, with the exit status of the process.
# The launcher's own status, which Kubernetes and Argo report, is always 1.
_LAUNCHER = re.compile(
    r"F\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ main\.go:\d+\] failed to execute (?:component|launcher): "
    r"(?:.*: )?exit status (\d+)\Z"
)
_GLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \w+\.go:\d+\] ")
# What Argo's executor, around the launcher, adds to the log of a container.
_ARGO = re.compile(r'(?:time=|\{"time").*"sub-process exited"|Error: exit status \d+\Z')
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
        for name in sorted(shown, key=_by_attempt):
            inner = f"{path}.{name}"
            node = f"{workflow}-{_fnv32a(inner)}"
            if node in ids and inner not in found:
                found[inner] = node
                around.append(inner)
    return found


def _by_attempt(name: str) -> tuple[str, int]:
    found = _ATTEMPT.search(name)
    return (name, -1) if found is None else (name[: found.start()], int(found[0][1:-1]))


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

    The exit status is that of the launcher's last line. Other lines are the process's own, whatever numbers they have.

    Args:
        task: that failed, or decided.
        logs: of its pods, in the order of the attempts.
    """
    refusal, result, status, message, last = None, task.result, None, "", ""
    for log in logs:
        lines = [_unstamped(line) for line in log.text.splitlines() if line.strip()]
        status = _exit_status(lines) or status
        last = _last_words(lines) or last
        for event in filter(None, map(_event, lines)):
            details = event.get("headrace")
            record = details.get("record") if isinstance(details, dict) else None
            if isinstance(record, dict):
                result = record["result"] if isinstance(record.get("result"), dict) else result
                refusal = record["error"] if isinstance(record.get("error"), dict) else None
            if event["severity"] == "ERROR":
                message = str(event["message"])
    if refusal is not None and status not in (None, HeadraceError.from_json(refusal).exit_status):
        # The error of a step within the process, which then ended in another way.
        refusal, message = None, ""
    return replace(task, refusal=refusal, result=result, exit_status=status, message=message or last)


def _exit_status(lines: Sequence[str]) -> int | None:
    """Exit status of a container's process, by the launcher; None if it wrote none, as where the pod was killed."""
    ends = next((line for line in reversed(lines) if not _ARGO.match(line)), "")
    found = _LAUNCHER.match(ends)
    return int(found[1]) if found else None


def _last_words(lines: Sequence[str]) -> str:
    """The last line of the process; of the launcher where the process wrote none."""
    lines = [line.strip() for line in reversed(lines) if not _ARGO.match(line)]
    return next((line for line in lines if not _GLOG.match(line)), _GLOG.sub("", lines[0]) if lines else "")


def _unstamped(line: str) -> str:
    stamped = _STAMP.match(line)
    return stamped[2] if stamped else line


def _event(text: str) -> dict[str, Any] | None:
    if not text.startswith('{"severity"'):
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "message" in event else None
