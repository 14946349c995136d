"""The kinds of resources that the test server keeps: how each is called, parsed, checked and brought to its end."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.cloud import aiplatform_v1 as vertex
from google.cloud import aiplatform_v1beta1 as beta
from google.protobuf import json_format
from peers.vertex.studies import refusal_of

JOB_STATES = ("JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED")
PIPELINE_STATES = (
    "PIPELINE_STATE_QUEUED",
    "PIPELINE_STATE_PENDING",
    "PIPELINE_STATE_RUNNING",
    "PIPELINE_STATE_SUCCEEDED",
)
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}\Z")
_MACHINE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+\Z")
_RESOURCE_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_IMAGE = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[\w.-]{1,128})?(@sha256:[0-9a-f]{64})?\Z")


class Refusal(Exception):
    """What the service answers in place of a resource: an HTTP status, its gRPC name, and a sentence."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message

    def to_json(self) -> dict[str, Any]:
        """As google.rpc.Status in Google's JSON."""
        return {"error": {"code": self.code, "message": self.message, "status": self.status}}


def invalid(message: str) -> Refusal:
    """An argument that the service refuses."""
    return Refusal(400, "INVALID_ARGUMENT", message)


@dataclass(frozen=True)
class Kind:
    """A kind of resource.

    Attributes:
        message: the service's own message.
        states: what a job goes through, one a poll; empty for a resource that just is.
        check: refuses what the real service refuses.
    """

    message: Any
    states: tuple[str, ...] = ()
    check: Callable[[Any], None] = lambda _: None

    @property
    def cancelled(self) -> str:
        """The state of one that was cancelled."""
        return self.states[0].rpartition("_")[0] + "_CANCELLED"

    @property
    def failed(self) -> str:
        """The state of one that failed."""
        return self.states[0].rpartition("_")[0] + "_FAILED"


def parse(message: Any, body: bytes) -> Any:
    """A message from JSON; a field that the service does not have is refused, as the service does."""
    try:
        return message.from_json(body.decode() or "{}", ignore_unknown_fields=False)
    except (json_format.ParseError, UnicodeDecodeError, ValueError) as error:
        raise invalid(f"Invalid JSON payload received. {error}") from error


def from_json(message: Any, plain: dict[str, Any]) -> Any:
    """A message of what `to_json` made of one."""
    return message.from_json(json.dumps(plain))


def now() -> datetime.datetime:
    """What resources say of when they were made."""
    return datetime.datetime.now(datetime.UTC)


def to_json(message: Any) -> dict[str, Any]:
    """A message as the service sends it."""
    plain: dict[str, Any] = json.loads(
        type(message).to_json(message, use_integers_for_enums=False, always_print_fields_with_no_presence=False)
    )
    return plain


def _display_name(resource: Any) -> None:
    if not resource.display_name or len(resource.display_name) > 128:
        raise invalid("display_name must be 1 to 128 characters")


def _labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if not _LABEL_KEY.match(key) or not _LABEL_VALUE.match(value):
            raise invalid(f"Invalid label: {key}={value}")


def _machine(spec: Any, where: str) -> None:
    if not _MACHINE.match(spec.machine_type):
        raise invalid(f"{where}.machine_type is not a machine type: {spec.machine_type!r}")
    if bool(spec.accelerator_type) != bool(spec.accelerator_count):
        raise invalid(f"{where}: accelerator_type and accelerator_count must be given together")


def _gcs(uri: str, where: str) -> None:
    if not re.match(r"gs://[a-z0-9][-_.a-z0-9]*/?.*\Z", uri):
        raise invalid(f"{where} is not a Cloud Storage URI: {uri!r}")


def _custom_job_spec(spec: Any) -> None:
    if not spec.worker_pool_specs:
        raise invalid("job_spec.worker_pool_specs must not be empty")
    if "max_wait_duration" in spec.scheduling and spec.scheduling.strategy.name != "FLEX_START":
        raise invalid("scheduling.max_wait_duration is acceptable only when the strategy is FLEX_START")
    if spec.persistent_resource_id and not _RESOURCE_ID.match(spec.persistent_resource_id):
        raise invalid(f"persistent_resource_id is not valid: {spec.persistent_resource_id!r}")
    for number, pool in enumerate(spec.worker_pool_specs):
        where = f"worker_pool_specs[{number}]"
        if not pool.replica_count:
            if number == 0:
                raise invalid(f"{where}.replica_count must be 1 for the primary pool")
            continue
        if number == 0 and pool.replica_count != 1:
            raise invalid(f"{where}.replica_count must be 1 for the primary pool")
        _machine(pool.machine_spec, f"{where}.machine_spec")
        for variable in pool.container_spec.env:
            # A message cannot tell an empty text from none.
            if not variable.name or not variable.value:
                raise invalid(f"{where}.container_spec.env needs a name and a value: {variable.name!r}")
        if not pool.container_spec.image_uri and not pool.python_package_spec.executor_image_uri:
            raise invalid(f"{where} needs container_spec or python_package_spec")
        if pool.container_spec.image_uri and not _IMAGE.match(pool.container_spec.image_uri):
            raise invalid(f"{where}.container_spec.image_uri is not an image: {pool.container_spec.image_uri!r}")


def _custom_job(job: Any) -> None:
    _display_name(job)
    _labels(job.labels)
    _custom_job_spec(job.job_spec)


def _tuning_job(job: Any) -> None:
    _display_name(job)
    _labels(job.labels)
    if said := refusal_of(job):
        raise invalid(said)
    _custom_job_spec(job.trial_job_spec)


def _batch_prediction_job(job: Any) -> None:
    _display_name(job)
    _labels(job.labels)
    if bool(job.model) == bool(job.unmanaged_container_model.artifact_uri):
        raise invalid("exactly one of model and unmanaged_container_model must be given")
    source = job.input_config
    formats = {
        "jsonl": "gcs_source",
        "csv": "gcs_source",
        "tf-record": "gcs_source",
        "tf-record-gzip": "gcs_source",
        "file-list": "gcs_source",
        "bigquery": "bigquery_source",
    }
    if formats.get(source.instances_format) is None:
        raise invalid(f"input_config.instances_format is not supported: {source.instances_format!r}")
    if formats[source.instances_format] == "gcs_source":
        if not source.gcs_source.uris:
            raise invalid("input_config.gcs_source.uris must not be empty")
        for uri in source.gcs_source.uris:
            _gcs(uri, "input_config.gcs_source.uris")
    elif not source.bigquery_source.input_uri.startswith("bq://"):
        raise invalid("input_config.bigquery_source.input_uri must start with bq://")
    sink = job.output_config
    if sink.predictions_format not in ("jsonl", "csv", "bigquery"):
        raise invalid(f"output_config.predictions_format is not supported: {sink.predictions_format!r}")
    if sink.predictions_format == "bigquery":
        if not sink.bigquery_destination.output_uri.startswith("bq://"):
            raise invalid("output_config.bigquery_destination.output_uri must start with bq://")
    else:
        _gcs(sink.gcs_destination.output_uri_prefix, "output_config.gcs_destination.output_uri_prefix")
    config = job.instance_config
    if config.included_fields and config.excluded_fields:
        raise invalid("included_fields and excluded_fields exclude each other")
    if config.key_field and sink.predictions_format == "bigquery":
        raise invalid('"bigquery" output format does not support key_field.')
    if job.dedicated_resources.machine_spec.machine_type:
        _machine(job.dedicated_resources.machine_spec, "dedicated_resources.machine_spec")


def _model(model: Any) -> None:
    _display_name(model)
    _labels(model.labels)
    if not _IMAGE.match(model.container_spec.image_uri):
        raise invalid(f"container_spec.image_uri is not an image: {model.container_spec.image_uri!r}")
    for alias in model.version_aliases:
        if not re.match(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]\Z", alias):
            raise invalid(f"Invalid version alias: {alias!r}")


def _endpoint(endpoint: Any) -> None:
    _display_name(endpoint)
    _labels(endpoint.labels)
    timeout = endpoint.client_connection_config.inference_timeout
    if timeout and not 0 < timeout.total_seconds() <= 3600:
        raise invalid("client_connection_config.inference_timeout must be at most 3600 seconds")


def _pipeline_job(job: Any) -> None:
    _labels(job.labels)
    if not job.pipeline_spec and not job.template_uri:
        raise invalid("pipeline_spec or template_uri must be given")
    _gcs(job.runtime_config.gcs_output_directory, "runtime_config.gcs_output_directory")
    root = job.pipeline_spec.get("root", {}) if job.pipeline_spec else {}
    declared = dict(dict(root.get("inputDefinitions", {})).get("parameters", {}))
    for name in job.runtime_config.parameter_values:
        if job.pipeline_spec and name not in declared:
            raise invalid(f"The pipeline has no parameter {name!r}")
    for name, parameter in declared.items():
        missing = name not in job.runtime_config.parameter_values
        if missing and "defaultValue" not in parameter and not parameter.get("isOptional"):
            raise invalid(f"The parameter {name!r} is missing")


def _threshold(condition: Any, where: str) -> None:
    if not 0 <= condition.threshold <= 1:
        raise invalid(f"The threshold of {where} must be in [0, 1]")


def _model_monitor(monitor: Any) -> None:
    _display_name(monitor)
    target = monitor.model_monitoring_target.vertex_model
    if not target.model or not target.model_version_id:
        raise invalid("model_monitoring_target must be given")
    schema = monitor.model_monitoring_schema
    fields = [*schema.feature_fields, *schema.prediction_fields, *schema.ground_truth_fields]
    for field in fields:
        if field.data_type not in ("float", "integer", "boolean", "string", "categorical"):
            raise invalid(f"Unsupported data type {field.data_type!r} of {field.name}")
    features = {field.name for field in schema.feature_fields}
    drift = monitor.tabular_objective.feature_drift_spec
    if not features or not {*drift.features, *drift.feature_alert_conditions} <= features:
        raise invalid("The features of the objective must be in the schema")
    for name in ("default_categorical_alert_condition", "default_numeric_alert_condition"):
        _threshold(getattr(drift, name), name)
    for name, condition in drift.feature_alert_conditions.items():
        _threshold(condition, name)


def _schedule(schedule: Any) -> None:
    _display_name(schedule)
    if not schedule.cron:
        raise invalid("cron must be given")
    if schedule.max_concurrent_run_count < 1:
        raise invalid("max_concurrent_run_count must be positive")
    if isinstance(schedule, beta.Schedule) and "create_model_monitoring_job_request" in schedule:
        target = schedule.create_model_monitoring_job_request.model_monitoring_job.model_monitoring_spec
        if not target.objective_spec.target_dataset.vertex_endpoint_logs.endpoints:
            raise invalid("target_dataset must be given")
        return
    _pipeline_job(schedule.create_pipeline_job_request.pipeline_job)


KINDS: dict[str, Kind] = {
    "pipelineJobs": Kind(vertex.PipelineJob, PIPELINE_STATES, _pipeline_job),
    "schedules": Kind(vertex.Schedule, (), _schedule),
    # Of the service's version v1beta1 alone.
    "modelMonitors": Kind(beta.ModelMonitor, (), _model_monitor),
    "customJobs": Kind(vertex.CustomJob, JOB_STATES, _custom_job),
    "hyperparameterTuningJobs": Kind(vertex.HyperparameterTuningJob, JOB_STATES, _tuning_job),
    "batchPredictionJobs": Kind(vertex.BatchPredictionJob, JOB_STATES, _batch_prediction_job),
    "models": Kind(vertex.Model, (), _model),
    "endpoints": Kind(vertex.Endpoint, (), _endpoint),
}
