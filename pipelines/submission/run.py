"""Run model: runs, tasks, schedules and logs in one form for all platforms, and the interface of their services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

# States of a run: waiting, running, paused, cancelling, and the final ones succeeded, failed, cancelled.
ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class RunTask:
    """A task of a run.

    Attributes:
        name: as in the compiled spec.
        state: waiting, running, succeeded, cached, skipped (its condition was not met), failed or cancelled.
        started, finished: in seconds since 1970, if known.
        message: of a failure, from the platform.
        exit_status: of its process, if known.
        outputs: output parameters, if known.
        jobs: ids of its jobs, by which its log is found.
        refusal: the platform's rejection of a failed task, as `HeadraceError.to_json`.
        result: of its step, if known.
    """

    name: str
    state: str
    started: float | None = None
    finished: float | None = None
    message: str = ""
    exit_status: int | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    jobs: tuple[str, ...] = ()
    refusal: dict[str, Any] | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Duration in seconds; 0 if not known."""
        if self.started is None or self.finished is None:
            return 0.0
        return max(0.0, self.finished - self.started)


@dataclass(frozen=True)
class PlatformRun:
    """A run on a platform.

    Attributes:
        run_id: its name.
        state: waiting, running, paused, cancelling, succeeded, failed or cancelled.
        reference: the platform's own name of the run.
        page: URL for a browser.
        created, finished: in seconds since 1970.
        message: of a failure, from the platform.
        parameters: of its submission.
        spec: the compiled pipeline; empty in a list of runs.
        tasks: by name, those that the platform has reached.
    """

    run_id: str
    state: str
    reference: str
    page: str = ""
    created: float | None = None
    finished: float | None = None
    message: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, RunTask] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state in ENDED

    def to_json(self) -> dict[str, Any]:
        """The run as JSON, with its tasks as a list, without the compiled pipeline."""
        content = {name: value for name, value in vars(self).items() if name != "spec"}
        return {**content, "tasks": [dict(vars(task)) for task in self.tasks.values()]}


@dataclass(frozen=True)
class Schedule:
    """A schedule on a platform.

    Attributes:
        name: of the schedule.
        state: active, paused, or another state of the platform.
        cron: minute, hour, day of the month, month, day of the week.
        timezone: of the cron expression.
        reference: the platform's own name of the schedule.
        next_run: time of the next run, in RFC 3339, if known.
    """

    name: str
    state: str
    cron: str
    timezone: str
    reference: str
    next_run: str = ""


@dataclass(frozen=True)
class Submission:
    """A submission of a compiled pipeline.

    Attributes:
        documents: of the compiled spec: the pipeline, and settings of platforms.
        name: the pipeline's name.
        parameters: of the pipeline.
        pipeline_root: where the platform stores the tasks' outputs; "" for its default.
        labels: of the run, for billing.
        service_account: of the tasks; "" for the platform's default.
    """

    documents: Sequence[Mapping[str, Any]]
    name: str
    parameters: Mapping[str, Any]
    pipeline_root: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""


@dataclass(frozen=True)
class LogLine:
    """A line of a log: time in RFC 3339, task, severity and text."""

    when: str
    task: str
    severity: str
    text: str


class Service(Protocol):
    """A platform's pipeline engine. Each method sends one request, which callers retry by a `RetryPolicy`.

    Errors of the platform are raised as headrace's errors; `Transient` marks those that a retry may fix.
    """

    name: str

    def run_id(self, text: str) -> str:
        """Converts text to a run's name with characters that the platform accepts."""

    def find(self, run_id: str) -> PlatformRun | None:
        """Finds a run by its name or the platform's reference, with its tasks; None if it does not exist."""

    def create(self, run_id: str, submission: Submission) -> PlatformRun:
        """Starts a run. If another one of that name was created in the meantime, that one is returned."""

    def runs(self, limit: int) -> list[PlatformRun]:
        """The newest runs, without their tasks."""

    def cancel(self, run: PlatformRun) -> None:
        """Requests the cancellation of a run."""

    def logs(self, run: PlatformRun, task: str, after: str) -> Iterator[LogLine]:
        """Reads a run's log, oldest lines first: of one task or of all (""), after a time or from the start ("")."""

    def schedules(self) -> list[Schedule]:
        """Lists all schedules."""

    def schedule(self, name: str, cron: str, timezone: str, submission: Submission) -> Schedule:
        """Creates a schedule."""

    def change(self, schedule: Schedule, cron: str, timezone: str, submission: Submission) -> Schedule:
        """Updates the pipeline, the parameters or the times of a schedule."""

    def set_paused(self, schedule: Schedule, paused: bool) -> None:
        """Pauses or resumes a schedule."""

    def delete_schedule(self, schedule: Schedule) -> None:
        """Removes a schedule; its runs stay."""
