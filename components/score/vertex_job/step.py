"""The preparation of a batch prediction job as a step of a pipeline whose own task runs the job."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from headrace.components.score.options import JOB_LABEL
from headrace.components.score.parameters import Parameters
from headrace.core.errors import DataError, UsageError
from headrace.core.steps import identity
from headrace.core.steps.step import running

_SERVICE = "https://{}-aiplatform.googleapis.com/v1/{}"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What the task that runs the job is given.

    Attributes:
        model: in the registry, with the number of its version.
        address: of the model, as an artifact's URI.
        instances_format: jsonl or bigquery.
        instances: URIs of JSON lines; none where a table is read as it lies.
        table: the table, as bq://PROJECT.DATASET.TABLE, or "".
        excluded_fields: of the table, which the model is not given.
        key_field: of each instance, which comes back with its prediction.
        predictions: the folder in which the job makes that of its results.
        labels: of the job, by one of which scoring finds it.
        job: JSON of `JobOptions`, for scoring.
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


def prepare(parameters: Parameters, registered: str, options: str, labels: Mapping[str, str]) -> Prepared:
    """Does the work of `job_component.prepare`, whose docstring says what the arguments are."""
    with running("prepare", root=parameters.root) as step:
        config = _as_job(parameters, registered, options).config(output=parameters.root)
        # The step is known by what scoring makes, so that an exit task finds its record by the same facts.
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
        if instances.empty:
            raise DataError(
                "no row can be sent to a job",
                where=parameters.data,
                expected="rows that the model takes",
                fix="`headrace score --approach direct` says of each row what is wrong with it",
            )
        made = Prepared(
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
        )
        step.finish(
            outputs={"instances": made.table or ", ".join(made.instances)},
            result={"model": work.model, "job": work.digest},
        )
    return made


def _as_job(parameters: Parameters, registered: str, options: str) -> Parameters:
    """The parameters with the approach of a job, and the model's name in the registry among the job's options."""
    job = json.dumps({**json.loads(options), "model": registered}, sort_keys=True)
    return dataclasses.replace(parameters, approach="job", job=job, endpoint="", runner="")


def _check_asked(parameters: Parameters) -> None:
    """Refuses what would be ignored.

    Raises:
        UsageError: something is asked for that a job does not do.
    """
    for name, kept in (("approach", ("auto", "job")), ("endpoint", ("",)), ("job", ("",)), ("runner", ("",))):
        given = getattr(parameters, name)
        if given not in kept:
            raise UsageError(
                "this pipeline was compiled to score by batch prediction jobs",
                where=name,
                expected=" or ".join(repr(one) for one in kept),
                received=repr(given),
                fix="Compile it with other options in [vertex.batch_prediction], or without that table",
            )
