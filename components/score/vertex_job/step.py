"""Preparation step of a batch prediction job, in a pipeline in which another task runs the job."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from headrace.components.score.options import JOB_LABEL
from headrace.components.score.parameters import Parameters
from headrace.core.errors import UsageError
from headrace.core.steps import identity
from headrace.core.steps.step import running

_SERVICE = "https://{}-aiplatform.googleapis.com/v1/{}"


@dataclasses.dataclass(frozen=True)
class JobInputs:
    """The inputs of the task that runs the job.

    Attributes:
        model: in the registry, with its version number.
        address: of the model, as an artifact's URI.
        instances_format: jsonl or bigquery.
        instances: URIs of JSON lines; empty if a table is read.
        table: the table, as bq://PROJECT.DATASET.TABLE, or "".
        excluded_fields: columns of the table that are excluded from the model's input.
        key_field: the field of each instance that is returned with its prediction.
        predictions: the folder in which the job creates the folder of its results.
        labels: of the job; scoring finds it by one of them.
        job: JSON of `JobOptions`, for scoring.
        has_rows: whether there is a row for the job to read.
    """

    model: str
    address: str
    instances_format: str
    instances: list[str]
    table: str
    excluded_fields: list[str]
    key_field: str
    predictions: str
    labels: dict[str, str]
    job: str
    has_rows: bool


def prepare(parameters: Parameters, registered: str, options: str, labels: Mapping[str, str]) -> JobInputs:
    """Runs the step of `component.prepare`, with its arguments."""
    with running("prepare", root=parameters.root) as step:
        config = _as_job(parameters, registered, options).config(output=parameters.root)
        # The step's identity is derived from the Predictions, so that an exit task finds its record by the same facts.
        step.identity = identity.prepare_identity(config.identity)
        _check_asked(parameters)
        how = config.job
        if how is None:
            raise ValueError("the configuration of a job has its options")
        with step.importing():
            from headrace.components.score.vertex_job import run as job
            from headrace.components.score.vertex_job.client import Jobs
        with Jobs(how) as jobs:
            work, _, instances = job.prepared(jobs, config, how, step.progress)
        prepared = JobInputs(
            model=work.model,
            address=_SERVICE.format(how.region, work.model),
            instances_format=instances.format,
            instances=list(instances.uris),
            table=instances.table,
            excluded_fields=list(instances.excluded),
            key_field=instances.key_field,
            predictions=work.predictions,
            labels={**labels, JOB_LABEL: work.digest},
            job=json.dumps(dataclasses.asdict(how), sort_keys=True),
            has_rows=not instances.empty,
        )
        step.finish(
            outputs={"instances": prepared.table or ", ".join(prepared.instances)},
            result={"model": work.model, "job": work.digest},
        )
    return prepared


def _as_job(parameters: Parameters, registered: str, options: str) -> Parameters:
    """The parameters with the approach "job", and the registered model's name in the job's options."""
    job = json.dumps({**json.loads(options), "model": registered}, sort_keys=True)
    return dataclasses.replace(parameters, approach="job", job=job, endpoint="", runner="")


def _check_asked(parameters: Parameters) -> None:
    """Refuses parameters that would be ignored.

    Raises:
        UsageError: a parameter has a value that a job does not support.
    """
    for name, kept in (("approach", ("auto", "job")), ("endpoint", ("",)), ("job", ("",)), ("runner", ("",))):
        given = getattr(parameters, name)
        if given not in kept:
            raise UsageError(
                "this pipeline was compiled to score by batch prediction jobs",
                where=name,
                expected=" or ".join(repr(one) for one in kept),
                received=repr(given),
                fix="Compile it with other options in [vertex.batch_prediction], or without that section",
            )
