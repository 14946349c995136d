"""Scoring by a Vertex AI batch prediction job: writes its instances, runs it, and collects its predictions."""

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
from headrace.components.score.endpoint.refused_rows import enforced
from headrace.components.score.options import JOB_LABEL, JobOptions
from headrace.components.score.vertex_job.input_form import Form, form_of
from headrace.components.score.vertex_job.instances import Instances, prepare
from headrace.components.score.vertex_job.results import CollectedRows, Results
from headrace.components.score.vertex_job.retry_refused import RefusedBatchRows, find_refused
from headrace.core import storage
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.model import open_model, version_of
from headrace.core.errors import DataError, HeadraceError, UsageError
from headrace.core.progress import Progress, silent
from headrace.core.rows.prepare import Prepare
from headrace.core.saved_model.find import declared_serving
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
    """Writes a Predictions artifact, as `direct.score` does, with the predictions of a job.

    Rows of batches that the model's container refused are sent again one by one, in a second job. A run that is started
    again after a failure reuses its instances and its jobs. A run that receives SIGTERM cancels its job.

    Args:
        config: of the scoring. Its model must be the one in Vertex AI's registry; it is loaded to read its signature.
        options: of the job.
        report: called with the progress.
        source: the model for the signature; by default the configuration's.

    Raises:
        DataError: the rows are wrong, changed during the job, or too many of them have no prediction.
        UsageError: an option is wrong, a resource does not exist, or access is denied.
        PlatformError: the job failed, was cancelled, or the run received SIGTERM.
    """
    from headrace.components.score.vertex_job.client import Jobs

    with Jobs(options) as jobs, raise_on_sigterm():
        work, scorer, instances = prepared(jobs, config, options, report, source=source)
        works, results, notes = [work], Results(), []
        if not instances.empty:
            results = _answers(jobs, work, scorer, instances, report)
            lines = instances
            if instances.table and results.complained:
                # A job cannot read some rows of a table only.
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
    # The predictions are published: a failure to remove the staging folders is ignored.
    for done in works:
        with contextlib.suppress(HeadraceError):
            storage.remove(done.folder)
    return result


def prepared(
    jobs: Jobs, config: ScoreConfig, options: JobOptions, report: Progress, *, source: ScorerSource | None = None
) -> tuple[BatchPredictionWork, Scores, Instances]:
    """Prepares the job of a configuration: its work, the local model and the written instances.

    Raises:
        DataError: a column is missing from the rows.
        UsageError: the model in the registry does not exist, differs from the local model, or enforces rules that are
            only to warn.
        PlatformError: the service failed.
    """
    if Prepare.of_model(config.model) is not None:
        raise UsageError(
            "a batch prediction job cannot prepare rows",
            where=config.model,
            expected="a Model whose columns are in the table",
            received="one that expects columns which prepare of its Problem file returns",
            fix="Score with --approach direct",
        )
    model = jobs.model()
    scorer = (source or run.model_of(config)).load()
    _check_same(model, scorer)
    _check_rules(model, config, scorer)
    _check_mode(model, config)
    work = plan(config, options, scorer, f"{model.name.partition('@')[0]}@{model.version_id}")
    form = form_of(config.data, work.paths, scorer.takes, options, config.partition_by)
    formats = list(model.supported_input_storage_formats)
    if form.table and formats and "bigquery" not in formats:
        form = Form("the model does not accept a table in a batch prediction job")
    return work, scorer, prepare(work.config, scorer, work.instances, work.paths, form, report)


@dataclass(frozen=True)
class BatchPredictionWork:
    """The work of a job.

    Attributes:
        config: of the scoring, with the version of its data.
        options: of the job.
        paths: the files, or the table.
        model: in the registry, with its version.
        digest: of all inputs of the job.
        measured: measured fingerprint of the data.
    """

    config: ScoreConfig
    options: JobOptions
    paths: tuple[str, ...]
    model: str
    digest: str
    measured: str

    @property
    def folder(self) -> str:
        """The folder of staged instances and results."""
        return storage.join(self.options.staging, f"headrace-{self.digest}")

    @property
    def instances(self) -> str:
        """The folder of staged instances."""
        return storage.join(self.folder, "instances")

    @property
    def lines(self) -> str:
        """The folder of the instances of a table's rows, after some rows were refused."""
        return storage.join(self.folder, "lines")

    @property
    def predictions(self) -> str:
        """The folder in which the job creates the folder of its results."""
        return storage.join(self.folder, "predictions")


def plan(config: ScoreConfig, options: JobOptions, scorer: Scores, model: str) -> BatchPredictionWork:
    """Plans the job of a configuration.

    Args:
        config: of the scoring.
        options: of the job.
        scorer: the local model.
        model: in the registry, with its version.
    """
    paths = tuple(list_paths(config.data))
    # The query has been resolved to its result, and must not run twice.
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
    """The request to Vertex AI for a job."""
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
    """Writes the Predictions artifact from the results of a job.

    Raises:
        DataError: the rows changed since they were prepared, or too many of them have no prediction.
    """
    version = measure_version(work.paths, work.config.csv)
    if version != work.measured:
        raise DataError(
            "the rows changed during the job",
            where=work.config.data,
            expected=f"version {work.measured}",
            received=version,
            fix="Run it again",
        )
    rows = CollectedRows(scorer.takes, scorer.model_version, instances.naming, results)
    return run.score(work.config, report, source=_Held(rows), approach="job", notes=notes, rows=instances.rows)


def _answers(jobs: Jobs, work: BatchPredictionWork, scorer: Scores, instances: Instances, report: Progress) -> Results:
    """Runs a job and reads its results."""
    directory = _run(jobs, work, instances, report)
    return Results.read(directory, scorer.takes, instances.key_field, instances.naming, report)


def _run(jobs: Jobs, work: BatchPredictionWork, instances: Instances, report: Progress) -> str:
    """Runs a job; returns the folder of its results."""
    try:
        job, found = jobs.start(request(work, instances), _has_results)
        report(f"{'found' if found else 'started'} the job {job.name}")
        if work.config.gcp_resources:
            write_batch_prediction_job(work.config.gcp_resources, work.options.region, job.name)
        directory: str = jobs.wait(job.name, report).output_info.gcs_output_directory
    except (Terminated, KeyboardInterrupt):
        # On any other exception the job continues: the next run finds it by its label.
        jobs.cancel(work.digest)
        raise
    return directory


def _again(work: BatchPredictionWork, refused: RefusedBatchRows) -> BatchPredictionWork:
    """The work of a job with one row per request; its digest covers the rows and the job that refused them."""
    digest = hashlib.sha256(f"{work.digest} {refused.digest}".encode()).hexdigest()[:_DIGEST]
    return dataclasses.replace(work, digest=digest, options=dataclasses.replace(work.options, batch_size=1))


def _check_same(model: Model, scorer: Scores) -> None:
    """Refuses a registered model that differs from the local one, if the registered files hold a version."""
    if not model.artifact_uri or not is_there("Model", model.artifact_uri):
        return
    version = version_of(model.artifact_uri)
    if version != scorer.model_version:
        raise UsageError(
            "the model in the registry differs from the local Model",
            where=model.name,
            expected=f"version {scorer.model_version}",
            received=f"version {version}",
            fix="Select the model's version in the registry by @VERSION, or pass the registered Model",
        )


def _check_rules(model: Model, config: ScoreConfig, scorer: Scores) -> None:
    """Refuses rules that are only to warn, where the registered container enforces them."""
    if config.rules != "warn" or scorer.takes.rules is None:
        return
    environment = {each.name: each.value for each in model.container_spec.env}
    if environment.get("HEADRACE_RULES", "enforce") != "warn":
        raise enforced(model.name)


def _check_mode(model: Model, config: ScoreConfig) -> None:
    """Refuses a registered container that answers from a table, which earlier features were scored for."""
    environment = {each.name: each.value for each in model.container_spec.env}
    known = is_there("Model", config.model)
    declared = declared_serving(open_model(config.model).problem, config.model) if known else None
    mode = environment.get("HEADRACE_MODE") or ("dynamic" if declared is None else declared.mode)
    if mode != "dynamic":
        raise UsageError(
            "a batch prediction job would be answered from a table of predictions",
            where=model.name,
            expected="a registered version that is served in dynamic mode",
            received=mode,
            fix="Score with --approach direct",
        )


def _has_results(folder: str) -> bool:
    return bool(folder) and storage.exists(folder)


@dataclass(frozen=True)
class _Held:
    """A scorer that is already loaded."""

    scorer: Scores

    def load(self) -> Scores:
        """The scorer."""
        return self.scorer
