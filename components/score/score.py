"""Scoring entry point: chooses the approach, reports the reason, and runs it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.components.score.approach import ApproachChoice, Situation, choose
from headrace.components.score.config import FILE_SINKS, ScoreConfig, ScoreResult
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.progress import Progress, silent
from headrace.core.rows.prepare import Prepare
from headrace.core.sources.open import expected_rows, list_parts, list_paths
from headrace.core.sources.source import BIGQUERY

if TYPE_CHECKING:
    from headrace.components.score.options import JobOptions
    from headrace.components.score.vertex_job.input_form import Form


def score(config: ScoreConfig, report: Progress = silent, *, choice: ApproachChoice | None = None) -> ScoreResult:
    """Scores rows to a Predictions artifact, which is written atomically to `config.output`.

    The three approaches give the same predictions, except for the last bit of numbers in JSON.

    Args:
        config: model, input, output and options.
        report: called with the approach and its reason, and then with the progress.
        choice: result of `approach_of`, if already known.

    Raises:
        DataError: a registered model is damaged, the rows cannot be read, or more of them have no prediction than the
            budget allows.
        UsageError: the model, endpoint or a path does not exist, or options contradict each other.
        PlatformError: the disk, a service or the model failed.
    """
    config.check_output()
    if config.model:
        from headrace.core.saved_model.find import verify_source

        verify_source(config.model)
    choice = choice or approach_of(config)
    report(f"{choice.approach}: {choice.reason}")
    config = dataclasses.replace(config, approach=choice.approach)
    if choice.approach == "job" and config.job is not None:
        from headrace.components.score.vertex_job import run as job

        result = job.score(config, config.job, report)
    elif choice.approach == "endpoint" and (endpoint := config.endpoint) is not None:
        from headrace.components.score.batch import run as direct
        from headrace.components.score.endpoint.endpoint import EndpointModel

        config = dataclasses.replace(config, batch_rows=config.batch_rows or endpoint.rows_at_once)
        result = direct.score(config, report, source=EndpointModel.of(config, endpoint), approach="endpoint")
    else:
        from headrace.components.score.batch import run as direct

        result = direct.score(config, report)
    return dataclasses.replace(result, approach=choice.approach)


def approach_of(config: ScoreConfig) -> ApproachChoice:
    """The requested approach, or for "auto" the choice of `approach.choose`.

    Raises:
        DataError: there are no rows.
        UsageError: there is no model.
    """
    _check_model(config)
    if config.batch == "whole":
        if not config.model:
            raise UsageError(
                "--batch whole needs the model in this process", where="--model", expected="a Model or a SavedModel"
            )
        return ApproachChoice("direct", "all rows are one call of the model")
    if config.constants and config.approach == "auto":
        return ApproachChoice("direct", "the model has inputs of shape [], which neither a job nor an endpoint is sent")
    if config.approach == "endpoint":
        return ApproachChoice(
            "endpoint", "asked for; it is the slow way for a batch, as each request takes some hundred rows"
        )
    if config.approach != "auto":
        return ApproachChoice(config.approach, "asked for")
    return choose(situation_of(config))


def situation_of(config: ScoreConfig) -> Situation:
    """Collects the facts for the choice of an approach; the model and the rows are read only if they decide."""
    here = bool(config.model)
    in_cloud = config.data.startswith(("gs://", BIGQUERY))
    files_wanted = config.sink in FILE_SINKS
    may_be_job = here and in_cloud and files_wanted and config.runner is None and config.job is not None
    may_be_job = may_be_job and Prepare.of_model(config.model) is None
    form = form_of(config, config.job) if may_be_job and config.job is not None else None
    rows = None if form is None else form.rows
    if form is not None and not form.why and rows is None:
        rows = expected_rows(list_parts(config.data, csv=config.csv))
    return Situation(
        model_here=here,
        endpoint=config.endpoint is not None,
        job=config.job is not None and not (here and Prepare.of_model(config.model) is not None),
        data_in_cloud=in_cloud,
        copied="" if form is None else form.why,
        files_wanted=files_wanted,
        runner=config.runner is not None,
        rows=rows,
        accelerators=len(list(Path("/dev").glob("nvidia[0-9]*"))),
        job_machine=config.job.machine_type if config.job else "",
    )


def _check_model(config: ScoreConfig) -> None:
    if config.model and not storage.exists(config.model):
        raise UsageError(
            "the model does not exist",
            where=config.model,
            expected="a Model or a SavedModel",
            # A wrong name must not be mistaken for a model that is only available at the endpoint.
            fix="Leave --model out for a model that is only reachable at the endpoint" if config.endpoint else None,
        )


def form_of(config: ScoreConfig, options: JobOptions) -> Form:
    """The form in which the rows lie for a job; the model is loaded, which every approach does that can be chosen then.

    Raises:
        DataError: there are no rows.
        UsageError: access is not allowed.
        PlatformError: a service failed.
    """
    from headrace.components.score.batch import run as direct
    from headrace.components.score.vertex_job import input_form

    takes = direct.model_of(config).load().takes
    # A query is not run for this check.
    paths = [] if config.data.startswith(BIGQUERY) else list_paths(config.data)
    return input_form.form_of(config.data, paths, takes, options, config.partition_by)
