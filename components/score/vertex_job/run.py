"""Scores rows by a Vertex AI batch prediction job: instances before it, and after it predictions like any others."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.components.score.batch import run
from headrace.components.score.batch.part_result import ScorerSource, Scores
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.options import JOB_LABEL, JobOptions
from headrace.components.score.vertex_job.input_form import Form, form_of
from headrace.components.score.vertex_job.instances import Instances, prepare
from headrace.components.score.vertex_job.results import CollectedRows, Results
from headrace.components.score.vertex_job.retry_refused import Refused, find_refused
from headrace.core import storage
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.model import version_of
from headrace.core.errors import DataError, HeadraceError, UsageError
from headrace.core.progress import Progress, silent
from headrace.core.rows.prepare import Prepare
from headrace.core.signals import Terminated, raise_on_sigterm
from headrace.core.sources.open import data_version as measure_version
from headrace.core.sources.open import list_paths
from headrace.core.steps.gcp_resources import write_batch_prediction_job

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.types import BatchPredictionJob, Model

    from headrace.components.score.vertex_job.client import Jobs

_FORMAT = 1
_DIGEST = 32


def score(
    config: ScoreConfig, options: JobOptions, report: Progress = silent, *, source: ScorerSource | None = None
) -> ScoreResult:
    """Turns rows into a Predictions artifact, as `direct.score` does, by a job that the predictions come from.

    Rows of batches that the model's container refused are given to it again one by one, by a second job. A run that
    died and is given again finds its instances and its jobs. One that is asked to end cancels its job.

    Args:
        config: what is scored. Its model must be the one in Vertex AI's registry, and is loaded to say what it takes.
        options: how the job runs.
        report: told what is done.
        source: where the model comes from that says what it takes; by default it is the configuration's.

    Raises:
        DataError: the rows are wrong, or changed meanwhile, or too many of them have no prediction.
        UsageError: an option is wrong, something is not there, or is not allowed.
        PlatformError: the job failed, was cancelled, or the run was asked to end.
    """
    from headrace.components.score.vertex_job.client import Jobs

    with Jobs(options) as jobs, raise_on_sigterm():
        work, scorer, instances = prepared(jobs, config, options, report, source=source)
        works, results, notes = [work], Results(), []
        if not instances.empty:
            results = _answers(jobs, work, scorer, instances, report)
            lines = instances
            if instances.table and results.complained:
                # Of a table, a job cannot be given some rows alone.
                lines = prepare(work.config, scorer, work.lines, work.paths, Form("some were refused"), report)
            refused = find_refused(lines, results, options.batch_size)
            if refused is not None:
                notes.append(refused.note)
                report(refused.note)
            if refused is not None and refused.lines:
                works.append(_again(work, refused))
                again = refused.write(works[-1].instances, lines)
                results = results.with_those_of(_answers(jobs, works[-1], scorer, again, report), scorer.takes)
    result = collect(work, scorer, instances, results, report, notes)
    # The predictions are there: what is left in the staging folders is not worth a failure.
    for done in works:
        with contextlib.suppress(HeadraceError):
            storage.remove(done.folder)
    return result


def prepared(
    jobs: Jobs, config: ScoreConfig, options: JobOptions, report: Progress, *, source: ScorerSource | None = None
) -> tuple[BatchPredictionWork, Scores, Instances]:
    """The job that a configuration asks for, the model at hand, and the instances, which are there then.

    Raises:
        DataError: the rows lack a column.
        UsageError: the model in the registry is none, or another one than the one at hand.
        PlatformError: the service failed.
    """
    if Prepare.of_model(config.model) is not None:
        raise UsageError(
            "a batch prediction job cannot prepare rows",
            where=config.model,
            expected="a Model whose columns are in the table",
            received="one that expects columns which prepare of its Problem file makes",
            fix="Score with --approach direct",
        )
    model = jobs.model()
    scorer = (source or run.model_of(config)).load()
    _check_same(model, scorer)
    work = plan(config, options, scorer, f"{model.name.partition('@')[0]}@{model.version_id}")
    form = form_of(config.data, work.paths, scorer.takes, options, config.partition_by)
    formats = list(model.supported_input_storage_formats)
    if form.table and formats and "bigquery" not in formats:
        form = Form("the model takes no table in a batch prediction job")
    return work, scorer, prepare(work.config, scorer, work.instances, work.paths, form, report)


@dataclass(frozen=True)
class BatchPredictionWork:
    """A job to be done.

    Attributes:
        config: what is scored, with the version of its data.
        options: how the job runs.
        paths: the files, or the table.
        model: in the registry, with its version.
        digest: of all that the job depends on.
        measured: fingerprint of the data as it was found.
    """

    config: ScoreConfig
    options: JobOptions
    paths: tuple[str, ...]
    model: str
    digest: str
    measured: str

    @property
    def folder(self) -> str:
        """Where instances and results are staged."""
        return storage.join(self.options.staging, f"headrace-{self.digest}")

    @property
    def instances(self) -> str:
        """Where instances are staged."""
        return storage.join(self.folder, "instances")

    @property
    def lines(self) -> str:
        """Where the rows of a table are staged as instances, once some have been refused."""
        return storage.join(self.folder, "lines")

    @property
    def predictions(self) -> str:
        """Where the job makes the folder of its results."""
        return storage.join(self.folder, "predictions")


def plan(config: ScoreConfig, options: JobOptions, scorer: Scores, model: str) -> BatchPredictionWork:
    """The job that a configuration asks for.

    Args:
        config: what is scored.
        options: how the job runs.
        scorer: the model at hand.
        model: in the registry, with its version.
    """
    paths = tuple(list_paths(config.data))
    # A query's result has been named: it is not to be asked for twice.
    data = paths[0] if len(paths) == 1 else config.data
    measured = measure_version(paths, config.csv)
    version = config.data_version or measured
    takes = scorer.takes
    depends = {
        "format": _FORMAT,
        "identity": config.identity,
        "data": [version, sorted(paths)],
        "csv": dataclasses.asdict(config.csv),
        "model": [model, scorer.model_version],
        "takes": [takes.signature, takes.key, [dataclasses.asdict(taken) for taken in takes.inputs]],
        "options": {
            name: getattr(options, name)
            for name in ("project", "region", "staging", "machine_type", "replicas", "batch_size", "service_account")
        },
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:_DIGEST]
    scored = dataclasses.replace(config, data=data, data_version=version)
    return BatchPredictionWork(scored, options, paths, model, digest, measured)


def request(work: BatchPredictionWork, instances: Instances) -> BatchPredictionJob:
    """What Vertex AI is asked for."""
    from google.cloud.aiplatform_v1.types import BatchPredictionJob

    options = work.options
    return BatchPredictionJob(
        display_name=f"headrace-score-{work.config.identity}",
        model=work.model,
        input_config=instances.input_config,
        instance_config={
            "instance_type": "object",
            "key_field": instances.key_field,
            "excluded_fields": list(instances.excluded),
        },
        output_config={
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": work.predictions},
        },
        dedicated_resources={
            "machine_spec": {"machine_type": options.machine_type},
            "starting_replica_count": 1,
            "max_replica_count": options.replicas,
        },
        manual_batch_tuning_parameters={"batch_size": options.batch_size},
        service_account=options.service_account,
        labels={JOB_LABEL: work.digest},
    )


def collect(
    work: BatchPredictionWork,
    scorer: Scores,
    instances: Instances,
    results: Results,
    report: Progress = silent,
    notes: Sequence[str] = (),
) -> ScoreResult:
    """Makes the Predictions artifact of what a job answered.

    Raises:
        DataError: the rows changed since they were prepared, or too many of them have no prediction.
    """
    version = measure_version(work.paths, work.config.csv)
    if version != work.measured:
        raise DataError(
            "the rows changed while the job ran",
            where=work.config.data,
            expected=f"version {work.measured}",
            received=version,
            fix="Run it again",
        )
    rows = CollectedRows(scorer.takes, scorer.model_version, instances.naming, results)
    return run.score(work.config, report, source=_Held(rows), approach="job", notes=notes, rows=instances.rows)


def _answers(jobs: Jobs, work: BatchPredictionWork, scorer: Scores, instances: Instances, report: Progress) -> Results:
    """What a job answered."""
    directory = _run(jobs, work, instances, report)
    return Results.read(directory, scorer.takes, instances.key_field, instances.naming, report)


def _run(jobs: Jobs, work: BatchPredictionWork, instances: Instances, report: Progress) -> str:
    """Has a job done, and returns where its results are."""
    try:
        job, found = jobs.start(request(work, instances), _has_results)
        report(f"{'found' if found else 'started'} the job {job.name}")
        if work.config.gcp_resources:
            write_batch_prediction_job(work.config.gcp_resources, work.options.region, job.name)
        directory: str = jobs.wait(job.name, report).output_info.gcs_output_directory
    except (Terminated, KeyboardInterrupt):
        # Any other end leaves it: the run that is given again finds it.
        jobs.cancel(work.digest)
        raise
    return directory


def _again(work: BatchPredictionWork, refused: Refused) -> BatchPredictionWork:
    """A job that gives rows to the model one by one; it is known by them and by the job that they were refused in."""
    digest = hashlib.sha256(f"{work.digest} {refused.digest}".encode()).hexdigest()[:_DIGEST]
    return dataclasses.replace(work, digest=digest, options=dataclasses.replace(work.options, batch_size=1))


def _check_same(model: Model, scorer: Scores) -> None:
    """Refuses another model than the one at hand, where the registry's files say which one it is."""
    if not model.artifact_uri or not is_there("Model", model.artifact_uri):
        return
    version = version_of(model.artifact_uri)
    if version != scorer.model_version:
        raise UsageError(
            "the model in the registry is another one than the one at hand",
            where=model.name,
            expected=f"version {scorer.model_version}",
            received=f"version {version}",
            fix="Name the model's version in the registry by @VERSION, or give the Model that is there",
        )


def _has_results(folder: str) -> bool:
    return bool(folder) and storage.exists(folder)


@dataclass(frozen=True)
class _Held:
    """A scorer that is here already."""

    scorer: Scores

    def load(self) -> Scores:
        """It."""
        return self.scorer
