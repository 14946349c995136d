"""Hyperparameter tuning jobs of the test server: trials that start, take time, report and end, a step a poll."""

from __future__ import annotations

import datetime
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.cloud import aiplatform_v1 as vertex
from peers.vertex.resources import Refusal, now

# Polls that a trial takes.
_POLLS = 2


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        measured: step and metric, of each report.
        ended: done, stopped (by the service, early) or failed.
        reason: why it failed.
    """

    measured: tuple[tuple[int, float], ...] = ()
    ended: str = "done"
    reason: str = ""


# Does the work of a trial, of the job, its number and the parameters that were chosen.
Work = Callable[[Any, int, Mapping[str, Any]], Outcome]


@dataclass
class TuningJobs:
    """What a running job does at each poll: it is `Vertex.running["hyperparameterTuningJobs"]`.

    Attributes:
        work: of each trial.
        hold: whether trials that were started go on for ever.
    """

    work: Work = lambda *_: Outcome(((1, 1.0),))
    hold: bool = False

    def __call__(self, job: Any) -> bool:
        """Starts and ends trials; whether all are done.

        Raises:
            Refusal: too many of them failed.
        """
        states = vertex.Trial.State
        for trial in job.trials:
            if trial.state == states.ACTIVE and not self.hold:
                # A trial's client id is of nobody's interest here: it counts the polls.
                trial.client_id = str(int(trial.client_id or 0) + 1)
                if int(trial.client_id) >= _POLLS:
                    self._end(job, trial)
        failed = sum(1 for trial in job.trials if trial.state == states.INFEASIBLE)
        if failed and failed >= (job.max_failed_trial_count or job.max_trial_count):
            raise Refusal(400, "FAILED_PRECONDITION", f"{failed} trials have failed.")
        active = sum(1 for trial in job.trials if trial.state == states.ACTIVE)
        while active < job.parallel_trial_count and len(job.trials) < job.max_trial_count:
            number = len(job.trials) + 1
            parameters = [
                {"parameter_id": spec.parameter_id, "value": chosen(spec, number)} for spec in job.study_spec.parameters
            ]
            job.trials.append(
                vertex.Trial(id=str(number), state=states.ACTIVE, parameters=parameters, start_time=now())
            )
            active += 1
        return not active

    def _end(self, job: Any, trial: Any) -> None:
        states = vertex.Trial.State
        outcome = self.work(job, int(trial.id), {one.parameter_id: one.value for one in trial.parameters})
        (metric,) = job.study_spec.metrics
        measurements = [
            vertex.Measurement(
                step_count=step,
                elapsed_duration=datetime.timedelta(seconds=step),
                metrics=[{"metric_id": metric.metric_id, "value": value}],
            )
            for step, value in outcome.measured
        ]
        if measurements:
            best = max if metric.goal.name == "MAXIMIZE" else min
            trial.measurements = measurements
            trial.final_measurement = best(measurements, key=lambda one: one.metrics[0].value)
        # As the service has it: one without a measurement is not feasible, whatever its process came to.
        trial.state = states.INFEASIBLE if outcome.ended == "failed" or not measurements else states.SUCCEEDED
        trial.infeasible_reason = outcome.reason
        trial.end_time = now()


def chosen(spec: Any, number: int) -> Any:
    """The value that a trial tries; it comes from the number alone, so that a restart of the server changes none."""
    share = (number * 0.6180339887498949) % 1.0
    if spec.categorical_value_spec.values:
        values = spec.categorical_value_spec.values
        return values[number % len(values)]
    if spec.discrete_value_spec.values:
        values = spec.discrete_value_spec.values
        return values[number % len(values)]
    whole = vertex.StudySpec.ParameterSpec.pb(spec).WhichOneof("parameter_value_spec") == "integer_value_spec"
    bounds = spec.integer_value_spec if whole else spec.double_value_spec
    low, high = bounds.min_value, bounds.max_value
    if spec.scale_type.name == "UNIT_LOG_SCALE":
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return float(round(value)) if whole else value


def run_container(job: Any, number: int, parameters: Mapping[str, Any], scratch: Path) -> Outcome:
    """Work that runs the container's own command for real, with what the service adds to it, in this interpreter.

    Args:
        job: of the trial.
        number: of the trial.
        parameters: that were chosen.
        scratch: a folder for the file of metrics.
    """
    container = job.trial_job_spec.worker_pool_specs[0].container_spec
    metrics = scratch / f"trial-{number}.metrics"
    done = subprocess.run(
        [sys.executable, *container.command[1:], *container.args, *flags(parameters)],
        env={**os.environ, **environment(job, number, metrics)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    metric = job.study_spec.metrics[0].metric_id
    measured = tuple((int(one["global_step"]), float(one[metric])) for one in told)
    if done.returncode:
        return Outcome(measured, "failed", f"exited with a non-zero status of {done.returncode}: {done.stderr[-500:]}")
    return Outcome(measured)


def flags(parameters: Mapping[str, Any]) -> list[str]:
    """The parameters as the service adds them to a trial's command; whole numbers have no point."""
    return [
        f"--{name}={int(value) if isinstance(value, float) and value.is_integer() else value}"
        for name, value in parameters.items()
    ]


def environment(job: Any, number: int, metrics: Path) -> dict[str, str]:
    """What the service sets for a trial's process."""
    folder = f"{job.trial_job_spec.base_output_directory.output_uri_prefix.rstrip('/')}/{number}"
    return {
        "CLOUD_ML_TRIAL_ID": str(number),
        "CLOUD_ML_HP_METRIC_FILE": str(metrics),
        "AIP_MODEL_DIR": f"{folder}/model/",
        "AIP_CHECKPOINT_DIR": f"{folder}/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": f"{folder}/logs/",
    }
