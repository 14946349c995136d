"""Hyperparameter tuning job that has ended: its trials, and the best one's Model."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions as api

from headrace.components.train.config import TrainResult
from headrace.components.tune import trial
from headrace.components.tune.identity import LABEL
from headrace.components.tune.tried import TrialResult, best_of, common_error, counted_states, publish
from headrace.components.tune.vertex import space
from headrace.components.tune.vertex.trial import model_uri, record_uri
from headrace.core import storage
from headrace.core.cloud import errors
from headrace.core.errors import HeadraceError, PlatformError, ProblemError, UsageError, UserError
from headrace.core.problem.file import ProblemFile
from headrace.core.problem.tuning import Tuning
from headrace.core.progress import Progress, silent
from headrace.core.steps import identity

_ROLE = "roles/aiplatform.user"
_UNDER_WAY = ("QUEUED", "PENDING", "RUNNING", "PAUSED", "UPDATING", "CANCELLING")
_ENDED_ITSELF = "its process exited without an error message: it was killed, or ran out of memory"


@dataclass(frozen=True)
class BestResult:
    """Result of a search; fields as of `search.TuneResult`."""

    best: TrialResult
    trials: tuple[TrialResult, ...]
    training: TrainResult


@dataclass(frozen=True)
class Job:
    """Description of a job by the service.

    Attributes:
        name: projects/PROJECT/locations/REGION/hyperparameterTuningJobs/ID.
        state: such as SUCCEEDED.
        begun: start time, in the service's format.
        message: cause of a failure, or "".
        folder: of the trials' outputs.
        trials: in the service's format.
    """

    name: str
    state: str
    begun: str
    message: str
    folder: str
    trials: tuple[Mapping[str, Any], ...]


def find(gcp_resources: str, search: str, trials: int, project: str, location: str) -> Job:
    """Finds the job of a search.

    Without `gcp_resources` it is the newest job of the same search with the same number of trials, of any run: its
    result equals that of this run's job.

    Args:
        gcp_resources: output of the task that started the job; "" where that failed.
        search: identity of the search.
        trials: number of trials.
        project, location: of the job, used without `gcp_resources`.

    Raises:
        UsageError: access is denied.
        PlatformError: the job does not exist, or the service did not respond.
    """
    from google.cloud import aiplatform

    jobs = aiplatform.HyperparameterTuningJob
    there: dict[str, Any] = {"project": project, "location": location}
    name = _name_in(gcp_resources) if gcp_resources else ""
    where = name or f"projects/{project}/locations/{location}, label {LABEL}={search}"
    with errors.translate_errors("Vertex AI", where, _ROLE):
        if not name:
            listed = jobs.list(filter=f'labels.{LABEL}="{search}"', **there)
            as_many = [one for one in listed if one.to_dict().get("maxTrialCount") == trials]
            newest = max(as_many, key=lambda one: one.create_time, default=None)
            name = newest.resource_name if newest is not None else ""
        try:
            description = jobs.get(name, **there).to_dict() if name else None
        except api.NotFound:
            description = None
    if description is None:
        raise PlatformError(
            "the job of this search does not exist",
            where=where,
            received="the task tune failed before Vertex AI accepted the job, or the job was deleted",
            fix="Read the log of the task tune",
        )
    return Job(
        name=str(description["name"]),
        state=str(description.get("state", "")).removeprefix("JOB_STATE_"),
        begun=str(description.get("createTime", ""))[:16].replace("T", " "),
        message=str(description.get("error", {}).get("message", "")),
        folder=str(description["trialJobSpec"]["baseOutputDirectory"]["outputUriPrefix"]).rstrip("/"),
        trials=tuple(description.get("trials", ())),
    )


def publish_best(job: Job, file: ProblemFile, output: str, search: str, report: Progress = silent) -> BestResult:
    """Publishes the Model of the job's best trial at `output`, and removes the Models of other trials.

    Raises:
        ProblemError: every trial failed because of the problem.
        UsageError: no trial could report its metric, so that the service ended the search.
        PlatformError: the job failed or was cancelled, or no trial wrote a Model.
    """
    tried = tried_of(job, trial.tuning_of(file))
    for each in tried:
        loss = "" if each.eval_loss is None else f", eval loss {each.eval_loss:.4g}"
        report(f"trial {each.number}: {each.state}{loss}", lasting=True)
    best = best_of(tried)
    if job.state != "SUCCEEDED" or best is None:
        raise _error(job, file, tried)
    training = publish(model_uri(job.folder, best.number), output, search, best, tried)
    for each in tried:
        if each.number != best.number:
            storage.remove(storage.join(job.folder, str(each.number)))
    return BestResult(best, tuple(tried), training)


def tried_of(job: Job, tuning: Tuning) -> list[TrialResult]:
    """The job's trials, by number."""
    return sorted((_tried(job, each, tuning) for each in job.trials), key=lambda each: each.number)


def _tried(job: Job, description: Mapping[str, Any], tuning: Tuning) -> TrialResult:
    number = int(description["id"])
    chosen = {str(one["parameterId"]): one.get("value") for one in description.get("parameters", ())}
    parameters = space.parameters_of(tuning, chosen)
    kept = _kept(job.folder, number, parameters)
    state = _state(str(description.get("state", "")), kept)
    measured = description.get("finalMeasurement", {})
    values = {str(one.get("metricId")): float(one.get("value", 0.0)) for one in measured.get("metrics", ())}
    error: Mapping[str, Any] | None = None
    if state == "failed":
        reason = description.get("infeasibleReason") or _ENDED_ITSELF
        error = kept.get("error") or PlatformError("the trial failed", where=job.name, received=str(reason)).to_json()
    return TrialResult(
        number=number,
        state=state,
        # The exact parameters of the training, to the last digit.
        parameters=kept.get("parameters", parameters),
        eval_loss=values.get(space.METRIC, kept.get("eval_loss")),
        epochs=int(kept.get("epochs") or measured.get("stepCount", 0)),
        seconds=kept.get("seconds") or _seconds(description),
        error=error,
    )


def _kept(folder: str, number: int, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of a trial; empty where it wrote none.

    Another job of the same search writes to the same paths: records of its trials and Models are ignored.
    """
    uri, model = record_uri(folder, number), model_uri(folder, number)
    try:
        kept: Mapping[str, Any] = storage.read_json(uri) if storage.exists(uri) else {}
        if not space.same(kept.get("parameters", {}), parameters):
            return {}
        whole = kept["state"] != "complete" or identity.model_version_of(model) == kept["model_version"]
    except UserError:
        return {}
    return kept if whole else {}


def _state(state: str, kept: Mapping[str, Any]) -> str:
    # A trial without a measurement is infeasible for the service; the record has its eval loss.
    if kept.get("state") == "complete" and state in ("SUCCEEDED", "STOPPING", "INFEASIBLE"):
        return "complete"
    # The service stopped it early: it has measurements, and no Model.
    if state in ("SUCCEEDED", "STOPPING"):
        return "pruned"
    return "failed" if state == "INFEASIBLE" or kept.get("state") == "failed" else "unfinished"


def _measured(description: Mapping[str, Any]) -> bool:
    return bool(description.get("finalMeasurement", {}).get("metrics"))


def _seconds(description: Mapping[str, Any]) -> float | None:
    if not description.get("startTime") or not description.get("endTime"):
        return None
    began, ended = (datetime.datetime.fromisoformat(str(description[name])) for name in ("startTime", "endTime"))
    return round((ended - began).total_seconds(), 3)


def _error(job: Job, file: ProblemFile, tried: list[TrialResult]) -> HeadraceError:
    """The error for a search without a best trial."""
    common = common_error(tried)
    if common is not None and not isinstance(common, PlatformError):
        return ProblemError(
            "every trial failed", where=file.path, received=common.paragraph, fix="Narrow Tuning(space=...)"
        )
    counts = counted_states(tried) or "no trial was started"
    if job.state in _UNDER_WAY:
        location, number = job.name.split("/")[3::2]
        return PlatformError(
            "the search is still running, but the task that waited for it has ended",
            where=job.name,
            received=f"{counts}; started at {job.begun} UTC",
            fix=f"Cancel it before you start another one: gcloud ai hp-tuning-jobs cancel {number} --region={location}",
        )
    if (
        job.state == "FAILED"
        and any(each.state == "complete" for each in tried)
        and not any(map(_measured, job.trials))
    ):
        return UsageError(
            "trials were complete, but Vertex AI received no metric and ended the search",
            where=job.name,
            received=counts,
            expected="trials that can write the file of CLOUD_ML_HP_METRIC_FILE",
            fix="Read the warnings in the log of a trial; where only root can write the file, build the"
            " trainer's image with TRAINER_USER=0:0 (_TRAINER_USER of Cloud Build)",
        )
    reason = f"; {common.paragraph}" if common is not None else ""
    what = {"CANCELLED": "the search was cancelled", "SUCCEEDED": "no trial wrote a Model"}
    return PlatformError(
        what.get(job.state, f"the search failed ({job.state.lower()})"),
        where=job.name,
        received=f"{job.message.rstrip('.') + '; ' if job.message else ''}{counts}; started at {job.begun} UTC{reason}",
        fix="Submit the run again: finished steps are not repeated, and the search starts again",
    )


def _name_in(gcp_resources: str) -> str:
    """The name of the job in the output of a launcher of google-cloud-pipeline-components.

    Raises:
        PlatformError: the output has another form.
    """
    try:
        (resource,) = json.loads(gcp_resources)["resources"]
        return "projects/" + str(resource["resourceUri"]).partition("/projects/")[2]
    except (ValueError, KeyError, TypeError) as error:
        raise PlatformError(
            "the task that started the search did not output the job's name",
            where="gcp_resources",
            expected="a JSON object with one resource",
            received=gcp_resources[:200],
        ) from error
