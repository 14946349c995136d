"""A task's container without a container: its own command and arguments, placeholders filled in as Vertex AI does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peers.pipeline_engine import Call, TaskFailed
from peers.vertex.service import LOCATION, PROJECT

_PLACEHOLDER = re.compile(r"\{\{\$(?:\.([^}]*))?\}\}")
_INPUT = re.compile(r"inputs\.parameters\['([^']+)'\]\Z")
_OUTPUT = re.compile(r"outputs\.parameters\['([^']+)'\]\.output_file\Z")
_METADATA = re.compile(r"inputs\.artifacts\['([^']+)'\]\.metadata\['([^']+)'\]\Z")
_SYSTEM = {
    "pipeline_google_cloud_location": LOCATION,
    "pipeline_google_cloud_project_id": PROJECT,
    "pipeline_persistent_resource_id": "",
}
# What stands within a request as it is, and not as an input's value.
_OF_THE_JOB = {"pipeline_job_uuid": "1234567890"}
_REDIRECT = Path(__file__).parent / "redirect"


def environment(url: str) -> dict[str, str]:
    """What a task's process has: this interpreter as python3, and the server in the place of Vertex AI."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(_REDIRECT),
        "HEADRACE_TEST_VERTEX": url,
        "VERTEX_AI_PIPELINES_RUN_LABELS": json.dumps({"team": "growth", "vertex-ai-pipelines-run-billing-id": "42"}),
    }


def command(call: Call, scratch: Path) -> list[str]:
    """The container's command and arguments, placeholders filled in."""
    told = executor_input(call, scratch)
    parts = (*call.container["command"], *call.container["args"])
    return [fill(part, call, told) for whole in parts for part in _words(whole, call)]


def _words(part: str, call: Call) -> list[str]:
    """The words of the command line that an argument is: those of {"IfPresent": {...}} may be several, or none."""
    if not part.startswith('{"IfPresent"'):
        return [part]
    choice = json.loads(part)["IfPresent"]
    words = choice["Then"] if _is_present(choice["InputName"], call) else choice.get("Else", [])
    return words if isinstance(words, list) else [words]


def _is_present(name: str, call: Call) -> bool:
    return name in call.artifacts or name in call.parameters


def executor_input(call: Call, scratch: Path) -> dict[str, Any]:
    """What a component is told of its inputs and outputs."""
    made = call.component.get("outputDefinitions", {}).get("parameters", {})
    folder = scratch / call.task
    return {
        "inputs": {
            "parameterValues": {name: known(value) for name, value in call.parameters.items()},
            "artifacts": {name: {"artifacts": [artifact]} for name, artifact in call.artifacts.items()},
        },
        "outputs": {
            "parameters": {name: {"outputFile": str(folder / name)} for name in made},
            "artifacts": {name: {"artifacts": [artifact]} for name, artifact in call.outputs.items()},
            "outputFile": str(folder / "executor_output.json"),
        },
    }


def fill(text: str, call: Call, told: Mapping[str, Any]) -> str:
    """A text with its placeholders filled in; those that a value brings in are filled in too."""
    if text.startswith('{"Concat"'):
        return fill(_joined(json.loads(text), call), call, told)

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return json.dumps(told)
        if name == "json_escape[1]":
            return json.dumps(json.dumps(told))[1:-1]
        if wanted := _INPUT.match(name):
            # An optional input that nobody gave has no value.
            given = known(call.parameters.get(wanted[1]))
            return fill(given if isinstance(given, str) else json.dumps(given), call, told)
        if wanted := _OUTPUT.match(name):
            return str(told["outputs"]["parameters"][wanted[1]]["outputFile"])
        if wanted := _METADATA.match(name):
            return str(call.artifacts[wanted[1]]["metadata"][wanted[2]])
        if name in _OF_THE_JOB:
            return _OF_THE_JOB[name]
        raise NotImplementedError(found[0])

    return _PLACEHOLDER.sub(value, text)


def _joined(part: Any, call: Call) -> str:
    """The text of what a component glues together: {"Concat": [...]}, and {"IfPresent": {...}} within."""
    if isinstance(part, str):
        return part
    if "Concat" in part:
        return "".join(_joined(one, call) for one in part["Concat"])
    if "IfPresent" not in part:
        raise NotImplementedError(str(part))
    choice = part["IfPresent"]
    return _joined(choice["Then"] if _is_present(choice["InputName"], call) else choice.get("Else", ""), call)


def known(value: Any) -> Any:
    """A parameter as the service sends it: its own names filled in, and whole numbers without a point."""
    if isinstance(value, str):
        found = _PLACEHOLDER.fullmatch(value)
        return _SYSTEM.get(found[1], value) if found else value
    if isinstance(value, dict):
        return {name: known(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [known(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def run(call: Call, scratch: Path, url: str) -> dict[str, Any]:
    """Runs a task's process to its end.

    Returns:
        The parameters that it gave.

    Raises:
        TaskFailed: it ended with another status than 0.
    """
    done = subprocess.run(command(call, scratch), env=environment(url), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip()[-1500:]
        raise TaskFailed(f"exited with a non-zero status of {done.returncode}. {last}")
    return read_outputs(executor_input(call, scratch))


def read_outputs(told: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a process wrote."""
    found: dict[str, Any] = {}
    output = Path(told["outputs"]["outputFile"])
    if output.exists():
        found |= json.loads(output.read_text()).get("parameterValues", {})
    for name, place in told["outputs"]["parameters"].items():
        path = Path(place["outputFile"])
        if path.exists():
            found.setdefault(name, path.read_text())
    return found
