"""Trial of a hyperparameter tuning job: `python -m headrace.components.tune.vertex.trial`, in the trainer's image.

Vertex AI appends its parameters as --NAME=VALUE to the command, reads the eval loss from a file after each epoch, and
stops a trial that is worse than others. KFP's own entry point is not used: all trials would write the same output file.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.components.train.config import TrainResult
from headrace.components.train.devices.cluster import read_cluster
from headrace.components.train.request import TrainingRequest
from headrace.components.tune import trial
from headrace.components.tune.trial import TrialConfig
from headrace.components.tune.tried import TrialResult
from headrace.components.tune.vertex import space
from headrace.components.tune.vertex.hypertune import MetricFile
from headrace.core import storage
from headrace.core.errors import HeadraceError, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.problem.tuning import Tuning
from headrace.core.steps.engine_job import EXECUTOR_INPUT, names_of
from headrace.core.steps.repeated import error_of
from headrace.core.steps.step import Step, running
from headrace.core.tensorflow_import import import_tensorflow

# A trial's record, below the folder of the job's outputs.
_RECORD = re.compile(r"\d+/trial\.json\Z")
# Where Vertex AI mounts buckets.
_BUCKETS = "/gcs/"


def record_uri(folder: str, number: int) -> str:
    """URI of a trial's record.

    Args:
        folder: of the job's outputs.
        number: the service's number of the trial.
    """
    return storage.join(folder, str(number), "trial.json")


def model_uri(folder: str, number: int) -> str:
    """URI of a trial's Model: the service's AIP_MODEL_DIR."""
    return storage.join(folder, str(number), "model")


@dataclass(frozen=True)
class TrialFolders:
    """Folders of a trial, from the service's variables.

    Attributes:
        number: of the trial.
        folder: of the job's outputs.
        checkpoints: of this trial alone; a preempted trial resumes from there.
    """

    number: int
    folder: str
    checkpoints: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> TrialFolders:
        """Reads the process's environment variables.

        Raises:
            UsageError: the process is not a trial.
        """
        names = ("CLOUD_ML_TRIAL_ID", "AIP_MODEL_DIR", "AIP_CHECKPOINT_DIR")
        missing = [name for name in names if not environment.get(name)]
        number, model, checkpoints = (environment.get(name, "").rstrip("/") for name in names)
        end = f"/{number}/model"
        if missing or not number.isdigit() or not model.endswith(end):
            raise UsageError(
                "the process is not a trial of a hyperparameter tuning job",
                where="environment",
                expected="CLOUD_ML_TRIAL_ID, AIP_MODEL_DIR and AIP_CHECKPOINT_DIR as Vertex AI sets them for a job with"
                " a base_output_directory",
                received=f"{', '.join(missing)} not set" if missing else f"trial {number!r}, {model}",
            )
        return cls(int(number), model.removesuffix(end), checkpoints)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Runs a trial to its end, and writes its Model and its record.

    Raises:
        SystemExit: with the error's exit status, after it was reported.
    """
    inputs = _job_inputs(arguments)
    values = inputs["inputs"]["parameterValues"]
    with running("trial", root=values["root"]) as step:
        # Each trial has its own record, next to its Model.
        step.writes = False
        place = TrialFolders.of(environment)
        file = load_problem(values["problem"], digest=values["tuning_digest"], part="tuning")
        request = TrainingRequest.from_json(values.get("training") or {}).of_trials()
        tuning = trial.tuning_of(file, request)
        config = TrialConfig(
            parameters=space.parameters_of(tuning, flags(arguments)),
            examples=_examples(inputs),
            output=model_uri(place.folder, place.number),
            checkpoints=place.checkpoints,
            request=request,
        )
        cluster, job = read_cluster(environment), names_of(environment, arguments).get("job", "")
        metrics = MetricFile(environment) if cluster is None or cluster.chief else None
        reporter = _Reporter(metrics, tuning, place, job)
        try:
            _end_as_before(place, job)
            with step.importing():
                import_tensorflow()
            result = trial.run(file, config, step.progress, reporter.judge)
        except HeadraceError as error:
            reporter.end(config, "failed", step, error)
            raise
        reporter.end(config, "complete", step, result=result)
        step.finish(outputs={"model": config.output}, result={"eval_loss": result.eval_loss, "trial": place.number})


def _end_as_before(place: TrialFolders, job: str) -> None:
    """Ends a trial at once where the search before it, of the same pipeline job, failed by a mistake in all its trials.

    A retry of the task that runs the tuning job is a new tuning job, whose parameters may be others.

    Args:
        place: of the trial; the trial of that number of the search before has the same record.
        job: folder of the pipeline job; "" if it is not known.

    Raises:
        HeadraceError: that of the trial before.
    """
    uri = record_uri(place.folder, place.number)
    if not job or not storage.exists(uri):
        return
    before: Mapping[str, Any] = storage.read_json(uri)
    error = error_of({**before, "status": before["state"]}, job)
    if error is None:
        return
    files = storage.files_below(place.folder).items()
    others: list[Mapping[str, Any]] = [storage.read_json(other) for name, other in files if _RECORD.match(name)]
    if all(other["state"] == "failed" for other in others if other.get("job") == job):
        raise error


def flags(arguments: Sequence[str]) -> dict[str, str]:
    """Parses the service's parameters, --NAME=VALUE, by name."""
    pairs = (argument.removeprefix("--").partition("=") for argument in arguments if argument.startswith("--"))
    return {name: value for name, sign, value in pairs if sign}


class _Reporter:
    """Reports a trial's eval loss to the service, and its result to `best`; without a file it reports nothing."""

    def __init__(self, file: MetricFile | None, tuning: Tuning, place: TrialFolders, job: str) -> None:
        self._file, self._tuning, self._place, self._job = file, tuning, place, job
        self._loss: float | None = None
        self._epoch = 0

    def judge(self, epoch: int, eval_loss: float) -> bool:
        """Reports the eval loss of an epoch; the service judges, and ends the process to prune the trial."""
        self._loss = eval_loss if self._loss is None else min(eval_loss, self._loss)
        self._epoch = epoch
        # An unreported value is never judged.
        if self._file is not None and epoch > self._tuning.warmup_epochs:
            self._file.report(space.METRIC, eval_loss, epoch)
        return True

    def end(
        self,
        config: TrialConfig,
        state: str,
        step: Step,
        error: HeadraceError | None = None,
        result: TrainResult | None = None,
    ) -> None:
        """Writes the trial's record, after its Model exists."""
        if self._file is None:
            return
        if result is not None:
            # A resumed process has no data about the epochs before its checkpoint.
            self._loss, self._epoch = result.eval_loss, result.epochs
            # A separate step, so that it is distinct from the last epoch's.
            self._file.report(space.METRIC, self._loss, self._epoch + 1)
        tried = TrialResult(
            number=self._place.number,
            state=state,
            parameters=config.parameters,
            eval_loss=self._loss,
            epochs=self._epoch,
            seconds=step.seconds,
            error=None if error is None else error.to_json(),
        )
        version = None if result is None else result.model_version
        record = {**tried.to_json(), "model_version": version, **({"job": self._job} if self._job else {})}
        storage.write_json(record_uri(self._place.folder, self._place.number), record)


def _job_inputs(arguments: Sequence[str]) -> dict[str, Any]:
    """Parses the pipeline's inputs of the job."""
    try:
        inputs: dict[str, Any] = json.loads(arguments[list(arguments).index(EXECUTOR_INPUT) + 1])
    except (ValueError, IndexError) as error:
        sys.stderr.write(f"usage: {EXECUTOR_INPUT} JSON --NAME=VALUE ...: {error}\n")
        raise SystemExit(UsageError.exit_status) from error
    return inputs


def _examples(inputs: Mapping[str, Any]) -> str:
    uri = str(inputs["inputs"]["artifacts"]["examples"]["artifacts"][0]["uri"])
    return uri.replace("gs://", _BUCKETS, 1) if uri.startswith("gs://") else uri


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
