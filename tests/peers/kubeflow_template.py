"""What Kubeflow Pipelines 2 refuses when a run is created: how it reads the spec and the parameters, and compiles them.

After template.go, v2_template.go, argocompiler/dag.go and error.go of kubeflow/pipelines 2.17, with what releases
before 2.14 had in another way. An error that is not an InvalidInputError by its outermost class leaves as HTTP 500,
whatever caused it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as messages

_STACK = "\n\ngithub.com/kubeflow/pipelines/backend/src/apiserver/template.(*V2Spec).RunWorkflow\n\t/go/src/x.go:1"
_KINDS = {
    "NUMBER_DOUBLE": ("number_value", "double or integer"),
    "NUMBER_INTEGER": ("number_value", "double or integer"),
    "STRING": ("string_value", "string"),
    "BOOLEAN": ("bool_value", "bool"),
    "LIST": ("list_value", "list"),
    "STRUCT": ("struct_value", "struct"),
}


class Refused(Exception):
    """What the server answers in place of a resource: an HTTP status, a gRPC code and a sentence."""

    def __init__(self, status: int, code: int, message: str, body: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.body = status, code, body


def checked(sent: Any, release: str) -> Any:
    """The pipeline of what was sent, as a message, if the server takes it.

    Args:
        sent: `pipeline_spec` of a request.
        release: of the server, as 2.14.3; any other text is the newest.
    """
    pipeline: dict[str, Any] = sent.get("pipeline_spec", sent)
    spec = messages.PipelineSpec()
    try:
        json_format.ParseDict(pipeline, spec)
    except json_format.ParseError:
        # isPipelineSpec says no, without the reason.
        raise _manifest("unknown template format") from None
    if not spec.pipeline_info.name or not spec.HasField("root"):
        raise _manifest("unknown template format")
    if spec.schema_version != "2.1.0":
        version = spec.schema_version
        raise _manifest(f"KFP only supports schema version 2.1.0, but the pipeline spec has version {version}")
    if not re.search("[a-z0-9]", spec.pipeline_info.name):
        raise _manifest("invalid v2 pipeline spec: name should consist of lower case alphanumeric characters")
    if "platform_spec" in sent:
        try:
            json_format.ParseDict(sent["platform_spec"], messages.PlatformSpec())
        except json_format.ParseError as error:
            raise _manifest(f"cannot unmarshal platform specific configs: {error}") from error
    for fault in _uncompiled(spec, release):
        raise Refused(500, 13, f"Internal error: {fault}\nFailed to compile job{_STACK}\nFailed to create a new run")
    return spec


def check_parameters(spec: Any, parameters: Any) -> None:
    """Refuses parameters as validatePipelineJobInputs does. Those of the API v2beta1 may have any length."""
    declared = spec.root.input_definitions.parameters
    for name, one in sorted(declared.items()):
        if name not in parameters:
            if not one.is_optional and not one.HasField("default_value"):
                raise _input(f"parameter {name} is not optional, yet has neither default value nor user provided value")
            continue
        value = json_format.ParseDict(parameters[name], struct_pb2.Value())
        kind = messages.ParameterType.ParameterTypeEnum.Name(one.parameter_type)
        if kind not in _KINDS:
            raise _input(f"input parameter {name} requires type {kind}, which is invalid for root component")
        field, called = _KINDS[kind]
        if value.WhichOneof("kind") != field:
            raise _input(f"input parameter {name} requires type {called}, but the parameter value is not of it")
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise _input(f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")


def _manifest(reason: str) -> Refused:
    around = "Failed to create a new run: InternalServerError: Failed to create a run due to error fetching manifest"
    return Refused(500, 13, f"{around}: InvalidInputError: {reason}: pipeline spec is invalid")


def _input(reason: str) -> Refused:
    around = "Failed to create a new run: Failed to generate the ExecutionSpec: invalid pipeline job inputs"
    return Refused(400, 3, f"{around}: Invalid input error: {reason}")


def _uncompiled(spec: Any, release: str) -> Iterator[str]:
    """What the compiler of workflows says of each graph."""
    deployment = messages.PipelineDeploymentConfig()
    whole = json_format.MessageToDict(spec.deployment_spec)
    try:
        json_format.ParseDict(whole, deployment, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        yield f"unmarshalling deployment config: {error}"
        return
    graphs = [("root", spec.root), *sorted(spec.components.items(), key=lambda item: item[0])]
    for name, component in graphs:
        if component.WhichOneof("implementation") != "dag":
            continue
        tasks = component.dag.tasks
        for fault in _implicit(tasks, release):
            yield f'compiling DAG "{name}": failed to add implicit deps: {fault}'
        for task_name in sorted(tasks):
            if tasks[task_name].WhichOneof("iterator") == "artifact_iterator":
                yield f'compiling DAG "{name}": artifact iterator not implemented yet'
            for fault in _task(spec, deployment, tasks[task_name]):
                yield f'compiling DAG "{name}": compiling task "{task_name}": {fault}'
        if all(task.trigger_policy.strategy == _AT_THE_END for task in tasks.values()):
            yield f'compiling DAG "{name}": DAG {name} must contain one or more non-exit tasks'


_AT_THE_END = messages.PipelineTaskSpec.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED


def _implicit(tasks: Any, release: str) -> Iterator[str]:
    for _, task in sorted(tasks.items(), key=lambda item: item[0]):
        producers = [one.task_output_parameter.producer_task for one in task.inputs.parameters.values()]
        producers += [one.task_output_artifact.producer_task for one in task.inputs.artifacts.values()]
        for producer in producers:
            if producer and producer not in tasks:
                yield f'unknown producer task "{producer}" in DAG'
        found = re.match(r"v?(\d+)\.(\d+)", release)
        old = found is not None and (int(found[1]), int(found[2])) < (2, 14)
        if old and any(one.HasField("task_final_status") for one in task.inputs.parameters.values()):
            yield "task final status not supported yet"


def _task(spec: Any, deployment: Any, task: Any) -> Iterator[str]:
    name = task.component_ref.name
    if name not in spec.components:
        yield f'component spec for "{name}" not found'
        return
    component = spec.components[name]
    if component.WhichOneof("implementation") == "dag":
        return
    if component.WhichOneof("implementation") is None:
        yield "unsupported component implementation kind: <nil>"
        return
    if component.executor_label not in deployment.executors:
        yield f'executor with label "{component.executor_label}" not found'
        return
    kind = deployment.executors[component.executor_label].WhichOneof("spec")
    if kind == "importer" and task.trigger_policy.condition:
        yield "triggerPolicy.condition on importer task is not supported"
    elif kind == "resolver":
        yield "resolver executors not implemented"
    elif kind == "custom_job":
        yield "custom job executors is Google Cloud only, it's not supported"
    elif kind is None:
        yield "unknown executor spec type: <nil>"
