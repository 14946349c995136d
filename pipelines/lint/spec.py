"""Compiled pipeline spec, read from any output of KFP's compiler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.pipelines.lint.yaml_file import load_documents


@dataclass(frozen=True)
class SpecTask:
    """A task of a pipeline.

    Attributes:
        where: its path: the names of the enclosing graphs and its own, joined by dots.
        spec: the task.
        component: its component.
        component_name: the component's name in the spec.
        in_loop: whether it is within a dsl.ParallelFor.
    """

    where: str
    spec: Mapping[str, Any]
    component: Mapping[str, Any]
    component_name: str
    in_loop: bool

    def inputs(self) -> dict[str, Any]:
        """The input parameters whose values are in the spec: constants, and defaults of omitted ones."""
        definitions = _table(self.component, "inputDefinitions", "parameters")
        known = {name: one["defaultValue"] for name, one in definitions.items() if "defaultValue" in one}
        for name, definition in _table(self.spec, "inputs", "parameters").items():
            known.pop(name, None)
            if "constant" in definition.get("runtimeValue", {}):
                known[name] = definition["runtimeValue"]["constant"]
        return known


@dataclass(frozen=True)
class Spec:
    """A compiled spec.

    Attributes:
        pipeline: the spec itself.
        platform: platform settings of its other documents, such as {"kubernetes": {...}}.
        documents: number of documents in the file.
    """

    pipeline: Mapping[str, Any]
    platform: Mapping[str, Any] = field(default_factory=dict)
    documents: int = 1

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(_table(self.pipeline, "pipelineInfo").get("name", ""))

    def executors(self) -> Mapping[str, Any]:
        """The executors by name."""
        return _table(self.pipeline, "deploymentSpec", "executors")

    def containers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yields name and container of each executor that has a container."""
        for name, executor in self.executors().items():
            if isinstance(executor.get("container"), dict):
                yield name, executor["container"]

    def kubernetes(self) -> Mapping[str, Any]:
        """Settings of kfp-kubernetes by executor."""
        return _table(self.platform, "kubernetes", "deploymentSpec", "executors")

    def tasks(self) -> Iterator[SpecTask]:
        """Yields every task, including those within conditions, loops and exit handlers."""
        yield from self._tasks(_table(self.pipeline, "root", "dag", "tasks"), "", in_loop=False, seen=frozenset())

    def executor_of(self, task: SpecTask) -> Mapping[str, Any]:
        """The container that a task runs; empty for a graph."""
        label = str(task.component.get("executorLabel", ""))
        container: Mapping[str, Any] = self.executors().get(label, {}).get("container", {})
        return container

    def imported(self) -> Iterator[tuple[str, str]]:
        """Yields place and URI of each task that imports an artifact, where the spec has the URI."""
        for task in self.tasks():
            executor = self.executors().get(str(task.component.get("executorLabel", "")), {})
            uri = _table(executor, "importer", "artifactUri")
            value = uri.get("constant", task.inputs().get(str(uri.get("runtimeParameter", ""))))
            # Empty is what pipelines give for no artifact, where a condition then leaves the importer out.
            if isinstance(value, str) and value and "{{$" not in value:
                yield task.where, value

    def _tasks(
        self, tasks: Mapping[str, Any], where: str, *, in_loop: bool, seen: frozenset[str]
    ) -> Iterator[SpecTask]:
        components = _table(self.pipeline, "components")
        for name, spec in tasks.items():
            reference = str(_table(spec, "componentRef").get("name", ""))
            component = components.get(reference, {})
            looped = in_loop or "parameterIterator" in spec or "artifactIterator" in spec
            place = f"{where}.{name}" if where else name
            yield SpecTask(place, spec, component, reference, looped)
            # A component that contains itself is not a pipeline, and must not hang the lint.
            if reference not in seen:
                inner = _table(component, "dag", "tasks")
                yield from self._tasks(inner, place, in_loop=looped, seen=seen | {reference})


def read_spec(path: str) -> Spec:
    """Reads a spec from a YAML or JSON file.

    Raises:
        UsageError: the file does not exist, or is not a compiled pipeline.
    """
    try:
        documents = load_documents(storage.read_bytes(path))
    except FileNotFoundError as error:
        raise UsageError("the file does not exist", where=path, expected="a compiled pipeline spec") from error
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError("the file cannot be read", where=path, expected="YAML or JSON", received=message) from error
    if documents and isinstance(documents[0], dict) and isinstance(documents[0].get("pipelineSpec"), dict):
        # KFP 1.8's compiler wrote the spec within a job.
        documents[0] = documents[0]["pipelineSpec"]
    first = documents[0] if documents else None
    if not isinstance(first, dict) or "root" not in first or "deploymentSpec" not in first:
        argo = isinstance(first, dict) and str(first.get("apiVersion", "")).startswith("argoproj.io/")
        raise UsageError(
            "the file is not a compiled pipeline spec",
            where=path,
            expected="the output of kfp.compiler.Compiler().compile, with root and deploymentSpec",
            received="an Argo workflow, which KFP 1 or a backend compiled" if argo else "something else",
        )
    return spec_of(documents)


def spec_of(documents: Sequence[Any]) -> Spec:
    """The spec of a file's documents, of which the first is the pipeline."""
    platform: dict[str, Any] = {}
    for document in documents[1:]:
        platform.update(_table(document, "platforms"))
    return Spec(documents[0], platform, len(documents))


def _table(value: Any, *keys: str) -> dict[str, Any]:
    """A mapping within mappings; empty where it does not exist."""
    for key in keys:
        value = value.get(key, {}) if isinstance(value, dict) else {}
    return value if isinstance(value, dict) else {}
