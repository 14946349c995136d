"""A hyperparameter tuning job that has ended: its trials, and the best one's Model."""

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
from headrace.components.tune.tried import Tried, best_of, common_error, counted_states, publish
from headrace.components.tune.vertex import space
from headrace.components.tune.vertex.trial import model_uri, record_uri
from headrace.core import storage
from headrace.core.cloud import errors
from headrace.core.errors import HeadraceError, PlatformError, ProblemError, UserError
from headrace.core.problem.file import ProblemFile
from headrace.core.problem.tuning import Tuning
from headrace.core.progress import Progress, silent
from headrace.core.steps import identity

_ROLE = "the role roles/aiplatform.user"
_UNDER_WAY = ("QUEUED", "PENDING", "RUNNING", "PAUSED", "UPDATING", "CANCELLING")
_ENDED_ITSELF = "its process ended without a word: it was killed, or ran out of memory"


@dataclass(frozen=True)
class BestResult:
    """What a search came to; as `search.TuneResult`."""

    best: Tried
    trials: tuple[Tried, ...]
    training: TrainResult


@dataclass(frozen=True)
class Job:
    """What the service says of a job.

    Attributes:
        name: projects/PROJECT/locations/REGION/hyperparameterTuningJobs/ID.
        state: such as SUCCEEDED.
        begun: when, as the service writes it.
        message: why it failed, or "".
        folder: of the trials' outputs.
        trials: as the service describes them.
    """

    name: str
    state: str
    begun: str
    message: str
    folder: str
    trials: tuple[Mapping[str, Any], ...]


def find(gcp_resources: str, search: str, trials: int, project: str, location: str) -> Job:
    """The job of a search.

    Without `gcp_resources` it is the newest of the same search with as many trials, whichever run began it: what it
    came to is what this run's would have come to.

    Args:
        gcp_resources: as the task that started the job gave it; "" where that failed.
        search: the search's identity.
        trials: how many it has.
        project, location: where to look without `gcp_resources`.

    Raises:
        UsageError: it may not be looked at.
        PlatformError: there is no such job, or the service did not answer.
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
            told = jobs.get(name, **there).to_dict() if name else None
        except api.NotFound:
            told = None
    if told is None:
        raise PlatformError(
            "there is no job of this search",
            where=where,
            received="the task tune ended before Vertex AI took the job, or somebody deleted it",
            fix="The log of the task tune says why",
        )
    return Job(
        name=str(told["name"]),
        state=str(told.get("state", "")).removeprefix("JOB_STATE_"),
        begun=str(told.get("createTime", ""))[:16].replace("T", " "),
        message=str(told.get("error", {}).get("message", "")),
        folder=str(told["trialJobSpec"]["baseOutputDirectory"]["outputUriPrefix"]).rstrip("/"),
        trials=tuple(told.get("trials", ())),
    )


def publish_best(job: Job, file: ProblemFile, output: str, search: str, report: Progress = silent) -> BestResult:
    """Publishes the Model of the job's best trial at `output`; of the trials' own, only that one is kept.

    Raises:
        ProblemError: every trial failed by the problem's fault.
        PlatformError: the job failed or was cancelled, or no trial left a Model.
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


def tried_of(job: Job, tuning: Tuning) -> list[Tried]:
    """The job's trials, by number."""
    return sorted((_tried(job, each, tuning) for each in job.trials), key=lambda each: each.number)


def _tried(job: Job, told: Mapping[str, Any], tuning: Tuning) -> Tried:
    number = int(told["id"])
    given = {str(one["parameterId"]): one.get("value") for one in told.get("parameters", ())}
    parameters = space.parameters_of(tuning, given)
    kept = _kept(job.folder, number, parameters)
    state = _state(str(told.get("state", "")), kept)
    measured = told.get("finalMeasurement", {})
    values = {str(one.get("metricId")): float(one.get("value", 0.0)) for one in measured.get("metrics", ())}
    error: Mapping[str, Any] | None = None
    if state == "failed":
        said = told.get("infeasibleReason") or _ENDED_ITSELF
        error = kept.get("error") or PlatformError("the trial failed", where=job.name, received=str(said)).to_json()
    return Tried(
        number=number,
        state=state,
        # As they were trained with, to the last digit.
        parameters=kept.get("parameters", parameters),
        eval_loss=values.get(space.METRIC, kept.get("eval_loss")),
        epochs=int(kept.get("epochs") or measured.get("stepCount", 0)),
        seconds=kept.get("seconds") or _seconds(told),
        error=error,
    )


def _kept(folder: str, number: int, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a trial said of itself; nothing where it said nothing.

    Another job of the same search writes to the same places: what is of its trial, or its Model, is not of this one.
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


def _state(said: str, kept: Mapping[str, Any]) -> str:
    if kept.get("state") == "complete" and said in ("SUCCEEDED", "STOPPING"):
        return "complete"
    # The service ended it early: it has measurements, and no Model.
    if said in ("SUCCEEDED", "STOPPING"):
        return "pruned"
    return "failed" if said == "INFEASIBLE" or kept.get("state") == "failed" else "unfinished"


def _seconds(told: Mapping[str, Any]) -> float | None:
    if not told.get("startTime") or not told.get("endTime"):
        return None
    began, ended = (datetime.datetime.fromisoformat(str(told[name])) for name in ("startTime", "endTime"))
    return round((ended - began).total_seconds(), 3)


def _error(job: Job, file: ProblemFile, tried: list[Tried]) -> HeadraceError:
    """Why there is no best trial."""
    common = common_error(tried)
    if common is not None and not isinstance(common, PlatformError):
        return ProblemError(
            "every trial failed", where=file.path, received=common.paragraph, fix="Narrow Tuning(space=...)"
        )
    counts = counted_states(tried) or "no trial was begun"
    if job.state in _UNDER_WAY:
        location, number = job.name.split("/")[3::2]
        return PlatformError(
            "the search goes on, but the task that waited for it has ended",
            where=job.name,
            received=f"{counts}; begun at {job.begun} UTC",
            fix=f"End it before another one is begun: gcloud ai hp-tuning-jobs cancel {number} --region={location}",
        )
    reason = f"; {common.paragraph}" if common is not None else ""
    what = {"CANCELLED": "the search was cancelled", "SUCCEEDED": "no trial left a Model"}
    return PlatformError(
        what.get(job.state, f"the search failed ({job.state.lower()})"),
        where=job.name,
        received=f"{job.message.rstrip('.') + '; ' if job.message else ''}{counts}; begun at {job.begun} UTC{reason}",
        fix="Submit the run again: finished steps are not done twice, and the search begins anew",
    )


def _name_in(gcp_resources: str) -> str:
    """The job in what a launcher of google-cloud-pipeline-components wrote.

    Raises:
        PlatformError: it wrote something else.
    """
    try:
        (resource,) = json.loads(gcp_resources)["resources"]
        return "projects/" + str(resource["resourceUri"]).partition("/projects/")[2]
    except (ValueError, KeyError, TypeError) as error:
        raise PlatformError(
            "the task that started the search does not say which job it is",
            where="gcp_resources",
            expected="a JSON object with one resource",
            received=gcp_resources[:200],
        ) from error
