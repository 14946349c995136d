"""Lint rules for Vertex AI Pipelines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.components.tune.vertex import space
from headrace.pipelines.lint.finding import Finding
from headrace.pipelines.lint.spec import Spec, SpecTask
from headrace.pipelines.platforms import vertex_rules
from headrace.pipelines.platforms.machines import task_limits

_NAME = re.compile(r"[a-z][-a-z0-9]{0,127}\Z")
_SCHEMA = re.compile(r"2\.[01]\.\d+\Z")
_IMAGE = re.compile(
    r"([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io|docker\.io)/\S+\Z"  # a registry's name and a path
    r"|[a-z0-9_-]+(/[a-z0-9._-]+)?(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?\Z"  # Docker Hub's
)
# Models, endpoints and tables are artifacts by the addresses of their APIs, with no file to read.
_RESOURCE = re.compile(r"https://[a-z0-9.-]+\.googleapis\.com/|bq://")
_STRATEGY = '"strategy": "{{$.inputs.parameters[\'strategy\']}}"'
_STRATEGIES = ("STANDARD", "ON_DEMAND", "LOW_COST", "SPOT", "FLEX_START")
# The compiler passes values within a text by names of this prefix.
_CHANNEL = "pipelinechannel--"
# Fields of a container that kfp's compiler passes as arguments where their values are parameters or outputs of tasks.
_AT_RUN_TIME = (
    *("cpu_request", "cpu_limit", "memory_request", "memory_limit", "accelerator_type", "accelerator_count"),
    "base_image",
)
_LAUNCHER = "google_cloud_pipeline_components.container"


def check(spec: Spec) -> Iterator[Finding]:
    """Yields all findings, in no particular order."""
    yield from _document(spec)
    for name, container in spec.containers():
        yield from _container(name, container)
    yield from _importers(spec)
    for task in spec.tasks():
        yield from _task(spec, task)


def _document(spec: Spec) -> Iterator[Finding]:
    if spec.documents > 1:
        yield Finding("V001", "the file", f"{spec.documents} documents")
    for executor, settings in spec.kubernetes().items():
        yield Finding("V002", f"platforms.kubernetes, {executor}", ", ".join(sorted(settings)) or "nothing")
    if not _NAME.match(spec.name):
        yield Finding("V005", "pipelineInfo.name", repr(spec.name))
    schema = str(spec.pipeline.get("schemaVersion", ""))
    if not _SCHEMA.match(schema):
        yield Finding("V006", "schemaVersion", repr(schema))
    root = spec.pipeline.get("defaultPipelineRoot")
    if root and not str(root).startswith("gs://"):
        yield Finding("V012", "defaultPipelineRoot", str(root))


def _importers(spec: Spec) -> Iterator[Finding]:
    for where, uri in spec.imported():
        if not uri.startswith("gs://") and not _RESOURCE.match(uri):
            yield Finding("V019", where, uri)


def _container(name: str, container: Mapping[str, Any]) -> Iterator[Finding]:
    image = str(container.get("image", ""))
    if "{{$" not in image and not _IMAGE.match(image):
        yield Finding("V010", name, image or "no image")
    resources = container.get("resources", {})
    for key in ("cpuRequest", "memoryRequest"):
        value = resources.get(f"resource{key[0].upper()}{key[1:]}") or resources.get(key)
        if value:
            yield Finding("V003", name, f"{key} {value}")
    for broken in task_limits.broken_limits(resources):
        yield Finding("V022", name, broken)
    accelerator = resources.get("accelerator", {})
    kind = str(accelerator.get("resourceType") or accelerator.get("type") or "")
    count = str(accelerator.get("resourceCount") or accelerator.get("count") or "0")
    known = vertex_rules.table()["accelerators"]
    if accelerator and "{{$" not in kind and (kind not in known or ("{{$" not in count and count not in known[kind])):
        yield Finding("V004", name, f"{count} x {kind}")


def _is_input(task: SpecTask, name: str, value: Mapping[str, Any]) -> bool:
    """Whether an argument is an input of its component, or one that KFP's compiler adds to it."""
    if name in task.component.get("inputDefinitions", {}).get("parameters", {}) or name.startswith(_CHANNEL):
        return True
    # A machine that only the run knows is an argument by the name of its field, which no component declares.
    return name in _AT_RUN_TIME and _CHANNEL in str(value.get("runtimeValue", {}).get("constant", ""))


def _task(spec: Spec, task: SpecTask) -> Iterator[Finding]:
    declared = task.component.get("inputDefinitions", {})
    arguments = task.spec.get("inputs", {})
    unknown = [name for name, value in arguments.get("parameters", {}).items() if not _is_input(task, name, value)]
    unknown += [
        name
        for name in arguments.get("artifacts", {})
        if not name.startswith(_CHANNEL) and name not in declared.get("artifacts", {})
    ]
    for name in unknown if task.component else ():
        yield Finding("V013", task.where, f"argument {name!r}")
    retries = task.spec.get("retryPolicy", {}).get("maxRetryCount")
    if retries and "dag" in task.component:
        yield Finding("V020", task.where, f"{retries} retries")
    if task.spec.get("cachingOptions", {}).get("cacheKey"):
        yield Finding("V014", task.where, f"cache key {task.spec['cachingOptions']['cacheKey']!r}")
    inputs = task.inputs()
    yield from _family(f"{task.where}.machine_type", inputs.get("machine_type"))
    container = spec.executor_of(task)
    if not any(_LAUNCHER in str(part) for part in container.get("command", [])):
        return
    yield from _glued(task, container, inputs)
    if any(_STRATEGY in str(part) for part in container.get("args", [])):
        default = declared.get("parameters", {}).get("strategy", {}).get("defaultValue")
        if inputs.get("strategy", default) not in (*_STRATEGIES, None):
            yield Finding("V015", f"{task.where}.strategy", repr(inputs.get("strategy", default)))
    labels = inputs.get("labels")
    if isinstance(labels, dict):
        for wrong in vertex_rules.broken_labels({key: str(value) for key, value in labels.items()}):
            yield Finding("V009", f"{task.where}.labels", wrong)
        for key, value in labels.items():
            if not value:
                yield Finding("V021", f"{task.where}.labels", f"{key}={value!r}")
    yield from _study(task.where, inputs)
    pools = inputs.get("worker_pool_specs")
    for number, pool in enumerate(pools if isinstance(pools, list) else []):
        if isinstance(pool, dict):
            yield from _pool(f"{task.where}.worker_pool_specs[{number}]", number, pool)


def _study(where: str, inputs: Mapping[str, Any]) -> Iterator[Finding]:
    """Checks the study of a hyperparameter tuning job, as far as the spec contains it."""
    specs = inputs.get("study_spec_parameters")
    found: list[space.StudyViolation] = []
    if isinstance(specs, list) and all(isinstance(one, dict) for one in specs) and "{{$" not in str(specs):
        try:
            found += space.broken_parameters(specs, str(inputs.get("study_spec_algorithm", "")))
        except (TypeError, ValueError, AttributeError, KeyError, OverflowError, ArithmeticError):
            yield Finding("V016", f"{where}, parameters", f"{specs} (the parameters are not messages of StudySpec)")
    trials, parallel = (inputs.get(f"{name}_trial_count") for name in ("max", "parallel"))
    if isinstance(trials, int | float) and isinstance(parallel, int | float):
        found += space.broken_numbers(int(trials), int(parallel))
    for one in found:
        rule = "V017" if one.rule in space.UNVERIFIED else "V016"
        yield Finding(rule, f"{where}, {one.where}", f"{one.received} ({space.RULES[one.rule]})")


def _pool(where: str, number: int, pool: Mapping[str, Any]) -> Iterator[Finding]:
    """Checks a worker pool, whose keys have either of the two spellings that the service accepts."""
    machine = _either(pool, "machine_spec", "machineSpec")
    machine = machine if isinstance(machine, dict) else {}
    kind = str(_either(machine, "machine_type", "machineType") or "")
    accelerator = str(_either(machine, "accelerator_type", "acceleratorType") or "")
    count = _number(_either(machine, "accelerator_count", "acceleratorCount"))
    topology = str(_either(machine, "tpu_topology", "tpuTopology") or "")
    replicas = _number(_either(pool, "replica_count", "replicaCount"))
    container = _either(pool, "container_spec", "containerSpec")
    variables = container.get("env") if isinstance(container, dict) else None
    for variable in variables if isinstance(variables, list) else []:
        if isinstance(variable, dict) and "name" in variable and not variable.get("value"):
            yield Finding("V021", f"{where}.env", str(variable["name"]))
    if "{{$" in kind + accelerator + topology or count is None or replicas is None:
        return
    broken = vertex_rules.broken_machine_rule(kind, accelerator, count, topology)
    if broken:
        configuration = f"{kind} with {f'{count} x {accelerator}' if accelerator else 'no accelerator'}"
        yield Finding("V007", where, f"{configuration} ({vertex_rules.table()['rules'][broken]['text']})")
    else:
        yield from _family(where, kind)
    if number == 0 and replicas != 1:
        yield Finding("V008", where, f"{replicas} replicas")
    if number > 0 and replicas and vertex_rules.is_tpu(kind):
        yield Finding("V007", where, f"{kind} ({vertex_rules.table()['rules']['tpu_replicas']['text']})")


def _family(where: str, machine: object) -> Iterator[Finding]:
    """Checks a machine type that is a constant in the spec."""
    if isinstance(machine, str) and machine and "{{$" not in machine and not vertex_rules.is_known_machine(machine):
        yield Finding("V018", where, machine)


def _glued(task: SpecTask, container: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[Finding]:
    """Checks texts within quotes in a request."""
    payload = " ".join(str(part) for part in container.get("args", []))
    for name, value in inputs.items():
        quoted = f"\"{{{{$.inputs.parameters['{name}']}}}}\"" in payload
        if quoted and isinstance(value, str) and "{{$" not in value and re.search(r'["\\\n\r\t]', value):
            yield Finding("V011", f"{task.where}.{name}", repr(value))


def _number(value: object) -> int | None:
    """A count, which JSON has as a number or a text; None where only the run knows it, or it is none."""
    try:
        return int(value or 0)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        return None


def _either(table: Mapping[str, Any], *names: str) -> Any:
    return next((table[name] for name in names if name in table), None)
