"""A pipeline engine for test servers: a compiled spec's tasks in their order, a step at a time, conditions judged.

What a task does is given from outside, so that a test may answer for it, or run its container's command for real.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

_CONDITION = re.compile(r"(!\()?inputs\.parameter_values\['([^']+)'\] == (true|false)\)?\Z")
_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_EXECUTION = "{{$.pipeline_job_uuid}}"
_NOTHING = {"STRING": "", "BOOLEAN": True, "NUMBER_INTEGER": 0, "NUMBER_DOUBLE": 0.0, "LIST": [], "STRUCT": {}}


class TaskFailed(Exception):
    """A task's process ended with a status that is not 0.

    Attributes:
        outputs: parameters that it had given by then.
        status: its exit status; None where it was killed with its machine.
    """

    def __init__(self, message: str, outputs: Mapping[str, Any] | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.outputs = dict(outputs or {})
        self.status = status


@dataclass
class Call:
    """A task that runs.

    Attributes:
        task: its name.
        component: its definition.
        container: what the executor runs: image, command and args with their placeholders.
        parameters: its input parameters, defaults filled in.
        artifacts: its input artifacts.
        outputs: its output artifacts, with where each is to be.
    """

    task: str
    component: Mapping[str, Any]
    container: Mapping[str, Any]
    parameters: dict[str, Any]
    artifacts: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]


# Does the work of a task, and gives its output parameters; {"cached": True} beside them says that it did not.
Do = Callable[[Call], Mapping[str, Any]]


@dataclass
class TaskState:
    """A task that the engine has got to; `state` as in `submission.run.RunTask`."""

    name: str
    parent: str
    state: str
    started: float
    finished: float | None = None
    outputs: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    message: str = ""
    exit_status: int | None = None


class Engine:
    """A run of a compiled pipeline.

    Args:
        name: the platform's id of the run.
        resource: the name of the run in the final status; that id by default.

    Attributes:
        tasks: those that it has got to, by name.
        state: running, succeeded, failed or cancelled.
    """

    def __init__(
        self, spec: Mapping[str, Any], parameters: Mapping[str, Any], do: Do, root: str, name: str, resource: str = ""
    ) -> None:
        self.tasks: dict[str, TaskState] = {}
        self.state = "running"
        self._spec, self._do, self._root, self._name = spec, do, root, name
        self._resource = resource or name
        self._steps = self._graph(spec["root"], self._defaults(spec["root"], parameters), {}, "")

    def step(self) -> None:
        """Lets one thing happen: a task starts, or ends."""
        if self.state != "running":
            return
        try:
            next(self._steps)
        except StopIteration as done:
            self.state = "failed" if done.value else "succeeded"

    def cancel(self) -> None:
        """Ends what runs; nothing more starts."""
        self.state = "cancelled"
        for task in self.tasks.values():
            if task.state == "running":
                task.state, task.finished = "cancelled", time.time()

    @staticmethod
    def _defaults(component: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        definitions = component.get("inputDefinitions", {}).get("parameters", {})
        known = {name: one["defaultValue"] for name, one in definitions.items() if "defaultValue" in one}
        return {**known, **given}

    def _graph(
        self, component: Mapping[str, Any], parameters: dict[str, Any], artifacts: dict[str, Any], parent: str
    ) -> Generator[None, None, bool]:
        """Runs a graph's tasks; whether one of them failed."""
        tasks, failed = component["dag"]["tasks"], False
        # Sorted: a spec that went through a message has its tasks in any order.
        order = TopologicalSorter(
            {name: sorted(task.get("dependentTasks", ())) for name, task in sorted(tasks.items())}
        )
        for name in order.static_order():
            task = tasks[name]
            policy = task.get("triggerPolicy", {})
            before = [self.tasks.get(other) for other in task.get("dependentTasks", ())]
            whatever = policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
            if not whatever and any(one is None or one.state not in ("succeeded", "cached") for one in before):
                continue
            given, things = self._inputs(task, parameters, artifacts)
            state = TaskState(name, parent, "running", time.time())
            if not self._met(policy.get("condition", ""), given):
                state.state, state.finished = "skipped", time.time()
                self.tasks[name] = state
                continue
            self.tasks[name] = state
            inner = self._spec["components"][task["componentRef"]["name"]]
            yield
            if "dag" in inner:
                bad = yield from self._graph(inner, self._defaults(inner, given), things, name)
                state.state = "failed" if bad else "succeeded"
                state.artifacts = self._selected(inner["dag"])
            else:
                bad = self._execute(state, inner, self._defaults(inner, given), things)
                state.finished = time.time()
                yield
            state.finished = time.time()
            failed = failed or bad
        return failed

    def _selected(self, dag: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """A graph's own artifacts: each is of the first of its selected tasks that ran."""
        found: dict[str, dict[str, Any]] = {}
        for name, output in dag.get("outputs", {}).get("artifacts", {}).items():
            for selector in output["artifactSelectors"]:
                task = self.tasks.get(selector["producerSubtask"])
                if task is not None and task.state in ("succeeded", "cached") and name not in found:
                    found[name] = task.artifacts[selector["outputArtifactKey"]]
        return found

    def _execute(
        self, state: TaskState, component: Mapping[str, Any], given: dict[str, Any], things: dict[str, Any]
    ) -> bool:
        executor = self._spec["deploymentSpec"]["executors"][component["executorLabel"]]
        container = executor.get("container", {})
        made = component.get("outputDefinitions", {})
        state.artifacts = {
            key: {"name": key, "type": one["artifactType"], "uri": f"{self._root}/{state.name}/{key}", "metadata": {}}
            for key, one in made.get("artifacts", {}).items()
        }
        if "importer" in executor:
            _import(executor["importer"], state.artifacts["artifact"], given)
            state.state = "succeeded"
            return False
        call = Call(state.name, component, container, given, things, state.artifacts)
        try:
            told = dict(self._do(call))
        except TaskFailed as failure:
            state.state, state.message, state.outputs = "failed", str(failure), failure.outputs
            state.exit_status = failure.status
            return True
        state.state = "cached" if told.pop("cached", False) else "succeeded"
        nothing = {key: _NOTHING[one["parameterType"]] for key, one in made.get("parameters", {}).items()}
        state.outputs = {**nothing, **told}
        return False

    def _inputs(
        self, task: Mapping[str, Any], parameters: Mapping[str, Any], artifacts: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        given: dict[str, Any] = {}
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if "runtimeValue" in source:
                constant = source["runtimeValue"]["constant"]
                given[name] = self._name if constant == _EXECUTION else constant
            elif "componentInputParameter" in source:
                given[name] = parameters[source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                where = source["taskOutputParameter"]
                producer = self.tasks.get(where["producerTask"])
                # A task that runs also after failures has its input's default for what was not made.
                made = {} if producer is None or producer.state == "failed" else producer.outputs
                if where["outputParameterKey"] in made:
                    given[name] = made[where["outputParameterKey"]]
            elif "taskFinalStatus" in source:
                other = self.tasks.get(source["taskFinalStatus"]["producerTask"])
                ended = "SUCCEEDED" if other and other.state == "succeeded" else "FAILED"
                given[name] = {"state": ended, "pipelineJobResourceName": self._resource}
            else:
                raise NotImplementedError(f"{name}: {source}")
        things: dict[str, Any] = {}
        for name, source in task.get("inputs", {}).get("artifacts", {}).items():
            if "componentInputArtifact" in source:
                things[name] = artifacts[source["componentInputArtifact"]]
            else:
                where = source["taskOutputArtifact"]
                things[name] = self.tasks[where["producerTask"]].artifacts[where["outputArtifactKey"]]
        return given, things

    @staticmethod
    def _met(condition: str, given: Mapping[str, Any]) -> bool:
        if not condition:
            return True
        found = _CONDITION.match(" ".join(condition.split()))
        if found is None:
            raise NotImplementedError(condition)
        return bool((given[found[2]] is (found[3] == "true")) is not bool(found[1]))


def _import(importer: Mapping[str, Any], artifact: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Makes the artifact that an importer is of: no process runs for it."""
    uri = importer["artifactUri"]
    artifact["uri"] = given[uri["runtimeParameter"]] if "runtimeParameter" in uri else uri["constant"]
    for name, value in importer.get("metadata", {}).items():
        found = _PARAMETER.fullmatch(value) if isinstance(value, str) else None
        artifact["metadata"][name] = given[found[1]] if found else value


class Answers:
    """What tasks do in a test, by their names: outputs, or a TaskFailed.

    Others do nothing and succeed: an output of the name of an input is that input.

    Attributes:
        by_task: the answers.
        calls: of the tasks, in order.
    """

    def __init__(self) -> None:
        self.by_task: dict[str, Mapping[str, Any] | TaskFailed | Do] = {}
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Mapping[str, Any]:
        self.calls.append(call)
        made = call.component.get("outputDefinitions", {}).get("parameters", {})
        answer = self.by_task.get(call.task, {name: call.parameters[name] for name in made if name in call.parameters})
        if isinstance(answer, TaskFailed):
            raise answer
        return answer(call) if callable(answer) else answer
