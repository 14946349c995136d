"""Vertex AI jobs of components, by google-cloud-pipeline-components: custom jobs and hyperparameter tuning jobs."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import yaml

from headrace.components.tune.identity import LABEL
from headrace.components.tune.vertex import space
from headrace.core.errors import UsageError
from headrace.pipelines.platforms.images import Role
from headrace.pipelines.platforms.vertex_options import VertexOptions

_GCPC = "google-cloud-pipeline-components"
_SEARCH = "{{$.inputs.parameters['search']}}"
_TRIAL = ["python3", "-m", "headrace.components.tune.vertex.trial"]
_TOLD = ["--executor_input", "{{$.json_escape[1]}}"]


def custom_job(component: Any, role: Role, image: str, options: VertexOptions, labels: Mapping[str, str]) -> Any:
    """Makes a component a custom job on the machines of `options.training`.

    Args:
        component: run by each worker.
        role: name of the job.
        image: of workers.
        options: of Vertex AI.
        labels: of the job.

    Raises:
        UsageError: google-cloud-pipeline-components is not installed.
    """
    training = options.training
    scheduling = training.scheduling()
    # Left out, it is the persistent resource of the run, which the launcher is given by a placeholder.
    persistent = {"persistent_resource_id": training.persistent_resource} if training.persistent_resource else {}
    component = copy.copy(component)
    component.component_spec = copy.deepcopy(component.component_spec)
    component.component_spec.implementation.container.image = image
    job = _gcpc("custom_job").create_custom_training_job_from_component(
        component,
        display_name=f"headrace-{role}",
        replica_count=training.replicas,
        machine_type=training.machine_type,
        accelerator_type=training.accelerator,
        accelerator_count=training.accelerator_count or 1,
        timeout=scheduling.timeout,
        max_wait_duration=scheduling.max_wait,
        restart_job_on_worker_restart=training.restart,
        service_account=options.service_account,
        network=options.network,
        encryption_spec_key_name=options.encryption_key,
        labels=dict(labels),
        strategy=scheduling.strategy,
        **persistent,
        # Without values these would leave placeholders in the request.
        reserved_ip_ranges=[],
        psc_interface_config={},
        env=[{"name": name, "value": value} for name, value in sorted(training.environment.items())],
    )
    # The pools are an input's default. In an argument, the placeholder of the task's inputs and outputs would be
    # filled in before those are known.
    for pool in job.component_spec.inputs["worker_pool_specs"].default:
        # google-cloud-pipeline-components has no disk without a type, and its default is one that some machines refuse.
        pool["disk_spec"] = training.boot_disk()
        if training.tpu_topology:
            pool["machine_spec"]["tpu_topology"] = training.tpu_topology
    return job


def tuning_job(component: Any, image: str, options: VertexOptions, labels: Mapping[str, str]) -> Callable[..., Any]:
    """A hyperparameter tuning job, each of whose trials is a custom job on the machines of `options.training`.

    Its arguments are those of HyperparameterTuningJobRunOp of google-cloud-pipeline-components that are not set here,
    and the trials' own inputs.

    Args:
        component: whose inputs the trials receive; `search` is one of them.
        image: of trials.
        options: of Vertex AI.
        labels: of the job.

    Raises:
        UsageError: google-cloud-pipeline-components is not installed.
    """
    from google.protobuf import json_format
    from kfp import components

    pools = custom_job(component, "tune", image, options, labels).component_spec.inputs["worker_pool_specs"].default
    for pool in pools:
        pool["container_spec"] |= {"command": _TRIAL, "args": _TOLD}
    spec = json_format.MessageToDict(_gcpc("hyperparameter_tuning_job").HyperparameterTuningJobRunOp.pipeline_spec)
    (executor,) = spec["deploymentSpec"]["executors"].values()
    arguments = executor["container"]["args"]
    place = arguments.index("--payload") + 1
    arguments[place] = _request(arguments[place], options, labels)
    (merged,) = spec["components"].values()
    (own,) = json_format.MessageToDict(component.pipeline_spec)["components"].values()
    # The trials' inputs and the job's own are inputs of one task, as of a custom job.
    merged["inputDefinitions"]["parameters"] |= own["inputDefinitions"]["parameters"]
    merged["inputDefinitions"]["artifacts"] = own["inputDefinitions"]["artifacts"]
    spec["root"]["inputDefinitions"] = copy.deepcopy(merged["inputDefinitions"])
    job = components.load_component_from_text(yaml.safe_dump(spec))
    job.component_spec.name = "tune"
    # A default, for the same reason as in a custom job.
    inputs = job.component_spec.inputs
    inputs["worker_pool_specs"].default, inputs["worker_pool_specs"].optional = pools, True
    return calling(
        job,
        display_name="headrace-tune",
        location=options.location,
        service_account=options.service_account,
        network=options.network,
        encryption_spec_key_name=options.encryption_key,
        study_spec_metrics=space.metric_specs(),
        study_spec_algorithm=options.tuning.service_algorithm,
        max_failed_trial_count=options.tuning.max_failed_trials,
    )


def calling(component: Any, **fixed: Any) -> Callable[..., Any]:
    """A component with some of its inputs fixed."""

    def call(**inputs: Any) -> Any:
        return component(**inputs, **fixed)

    return call


def _request(payload: str, options: VertexOptions, labels: Mapping[str, str]) -> str:
    """The request of a tuning job, with fields for which HyperparameterTuningJobRunOp has no input."""
    training, stopping = options.training, options.tuning.service_stopping
    of_trials: dict[str, object] = {"scheduling": training.scheduling().request()}
    if training.persistent_resource:
        of_trials["persistent_resource_id"] = training.persistent_resource
    text = "".join(json.loads(payload)["Concat"])
    for mark, added in (
        ('{"display_name": ', f'"labels": {json.dumps({**labels, LABEL: _SEARCH})}'),
        ('"study_spec": {', f'"{stopping}": {{"use_elapsed_duration": true}}' if stopping else ""),
        ('"trial_job_spec": {', json.dumps(of_trials)[1:-1]),
    ):
        if text.count(mark) != 1:
            raise ValueError(f"the request of a tuning job has no {mark}: {_GCPC} has changed")
        brace = mark.index("{") + 1
        text = text.replace(mark, f"{mark[:brace]}{added}, {mark[brace:]}" if added else mark)
    return text


def _gcpc(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"google_cloud_pipeline_components.v1.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("google_cloud_pipeline_components"):
            raise
        raise UsageError(
            f"{_GCPC} is not installed", where="--platform vertex", fix="Install it: pip install 'headrace[vertex]'"
        ) from error
