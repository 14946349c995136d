"""Vertex AI as a platform: custom jobs, Dataflow, the Model Registry and endpoints."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from headrace.components.errors import UsageError
from headrace.components.preprocess.dataflow import DataflowRunner
from headrace.components.preprocess.runner_options import RunnerOptions
from headrace.pipelines.platforms import vertex_rules
from headrace.pipelines.platforms.images import Images, Role, role_of
from headrace.pipelines.platforms.vertex_options import TaskOptions, VertexOptions

# The platform runs these as jobs of their own; the task that starts such a job has no machine to choose.
_JOBS = ("train", "tune")
_GCPC = "google-cloud-pipeline-components"


class VertexPlatform:
    """Compiles for Vertex AI Pipelines.

    Args:
        images: what tasks start from.
        options: what the user says about Vertex AI.

    Raises:
        UsageError: options that the service would refuse, or ignore.
    """

    name = "vertex"

    def __init__(self, images: Images, options: VertexOptions) -> None:
        self._images = images
        self._options = options
        self._dataflow = _dataflow(images, options)

    def component(self, component: Any) -> Any:
        """A component whose work is a custom job, for training; any other as it is.

        The job's workers get our image and the component's own small program. Each worker runs the same, with the
        cluster in CLUSTER_SPEC; only the first one writes.

        Raises:
            UsageError: google-cloud-pipeline-components is not installed.
        """
        role = role_of(component.component_spec.name)
        if role not in _JOBS:
            return component
        wrap = _custom_job_maker()
        options = self._options.training
        component = copy.copy(component)
        component.component_spec = copy.deepcopy(component.component_spec)
        component.component_spec.implementation.container.image = self._images.of(role)
        job = wrap(
            component,
            display_name=f"headrace-{role}",
            replica_count=options.replicas,
            machine_type=options.machine_type,
            accelerator_type=options.accelerator,
            accelerator_count=options.accelerator_count or 1,
            boot_disk_type=options.disk_type,
            boot_disk_size_gb=options.disk_gigabytes,
            timeout=f"{round(options.timeout_hours * 3600)}s",
            restart_job_on_worker_restart=options.restart,
            service_account=self._options.service_account,
            network=self._options.network,
            encryption_spec_key_name=self._options.encryption_key,
            labels=self._labels(role),
            # Without a value of their own these would leave placeholders in the request.
            reserved_ip_ranges=[],
            psc_interface_config={},
            env=[{"name": name, "value": value} for name, value in sorted(options.environment.items())],
        )
        _set_strategy(job, "SPOT" if options.spot else "STANDARD")
        self._set_topology(job)
        return _calling(job, location=self._options.location)

    def place(self, task: Any, *, cache: bool = True) -> Any:
        """Image, CPU, memory, accelerator, retries and caching; a job of its own has them in its request."""
        role = role_of(task.name)
        options = self._options.tasks.get(role, TaskOptions())
        if role in _JOBS:
            training = self._options.training
            if self._options.launcher_image:
                task.set_container_image(self._options.launcher_image)
            task.set_retry(training.retries, backoff_duration="60s", backoff_factor=2.0)
            return task.set_caching_options(cache and training.cache)
        task.set_container_image(self._images.of(role))
        if options.cpu:
            task.set_cpu_limit(str(options.cpu))
        if options.memory:
            task.set_memory_limit(options.memory)
        if options.accelerator:
            task.set_accelerator_type(options.accelerator).set_accelerator_limit(options.accelerator_count)
        if options.retries:
            task.set_retry(options.retries, backoff_duration="30s", backoff_factor=2.0)
        return task.set_caching_options(cache and options.cache)

    def beam(self) -> str:
        """Dataflow, where the options have a table of it."""
        return "" if self._dataflow is None else runner_json(self._dataflow)

    def register(self, *, registry: Any, root: Any, model: Any, evaluation: Any) -> Any:
        """A version in the Model Registry, with aliases, under its parent model."""
        from headrace.components.registry.vertex_component import register

        task = register(
            registry=registry,
            root=root,
            model=model,
            evaluation=evaluation,
            serving_image=self._images.serve,
            aliases=list(self._options.endpoint.aliases),
            labels=self._labels("register"),
            encryption_key=self._options.encryption_key,
        )
        return self.place(task, cache=False).output

    def deploy(self, *, registered: Any, endpoint: Any, root: Any) -> Any:
        """A deployment with a stated share of the endpoint's traffic."""
        from headrace.components.deploy.vertex_component import deploy

        options = self._options.endpoint
        task = deploy(
            model=registered,
            endpoint_name=endpoint,
            root=root,
            machine_type=options.machine_type,
            traffic=options.traffic,
            min_replicas=options.min_replicas,
            max_replicas=options.max_replicas,
            labels=self._labels("deploy"),
            accelerator=options.accelerator,
            accelerator_count=options.accelerator_count,
            service_account=self._options.service_account,
            encryption_key=self._options.encryption_key,
            timeout_minutes=options.timeout_minutes,
        )
        return self.place(task, cache=False)

    def _labels(self, role: Role) -> dict[str, str]:
        return {"headrace-step": role, **self._options.labels}

    def _set_topology(self, job: Any) -> None:
        """Adds to the job's worker pools what the wrapper has no argument for: the topology of a TPU.

        The pools are an input's default. Given as an argument instead, the placeholder in them, which stands for the
        task's inputs and outputs, would be filled in before those are known.
        """
        if self._options.training.tpu_topology:
            for pool in job.component_spec.inputs["worker_pool_specs"].default:
                pool["machine_spec"]["tpu_topology"] = self._options.training.tpu_topology


def resource_name(options: VertexOptions, collection: str, problem: str) -> str:
    """The name of a problem's entry in the registry, or of its endpoint: what the pipeline's parameters take.

    Args:
        options: project and location.
        collection: "models" or "endpoints".
        problem: the problem's name.

    Raises:
        UsageError: the service takes no such name.
    """
    name = problem.replace("_", "-")
    if name.endswith("-"):
        raise vertex_rules.refuse("endpoint_id", "the problem's name is none for Vertex AI", repr(problem))
    return f"projects/{options.project}/locations/{options.location}/{collection}/{name}"


def runner_json(runner: RunnerOptions) -> str:
    """A Beam runner as components take it: its name, and the options that are not at their defaults."""
    values = {known.name: (getattr(runner, known.name), known.default) for known in dataclasses.fields(runner)}
    said = {name: value for name, (value, default) in values.items() if value not in (default, {})}
    return json.dumps({"name": runner.name, **said}, sort_keys=True)


def _dataflow(images: Images, options: VertexOptions) -> DataflowRunner | None:
    table = options.dataflow
    if table is None:
        return None
    try:
        return DataflowRunner(
            project=options.project,
            region=options.location,
            sdk_container_image=images.beam,
            service_account=options.service_account,
            labels={"headrace-step": "beam", **options.labels},
            **dataclasses.asdict(table),
        )
    except UsageError as error:
        error.where = f"[vertex.dataflow], {error.where}"
        raise


def _custom_job_maker() -> Callable[..., Any]:
    try:
        from google_cloud_pipeline_components.v1.custom_job import create_custom_training_job_from_component
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("google_cloud_pipeline_components"):
            raise
        raise UsageError(
            f"{_GCPC} is not installed", where="--for vertex", fix="Install it: pip install 'headrace[vertex]'"
        ) from error
    make: Callable[..., Any] = create_custom_training_job_from_component
    return make


def _calling(component: Any, **fixed: Any) -> Callable[..., Any]:
    """A component that is called with some of its inputs fixed."""

    def call(**inputs: Any) -> Any:
        return component(**inputs, **fixed)

    return call


def _set_strategy(job: Any, strategy: str) -> None:
    """Writes the scheduling strategy into the request of a custom job.

    The wrapper has an input of that name for it, as the training component has for how it distributes: the wrapper
    lets the component's win, and would send that one to the service.
    """
    container = job.component_spec.implementation.container
    placeholder = "{{$.inputs.parameters['strategy']}}"
    if not any(placeholder in part for part in container.args):
        raise ValueError(f"the request of a custom job has no {placeholder}: {_GCPC} has changed")
    container.args = [part.replace(placeholder, strategy) for part in container.args]
