"""What a platform says of a run, in the words that are the same for all platforms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

# Of a run: waiting, running, paused, cancelling, and the ends succeeded, failed, cancelled.
ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Task:
    """A task of a run.

    Attributes:
        name: as in the compiled spec.
        state: waiting, running, succeeded, cached, skipped (its condition was not met), failed or cancelled.
        started, finished: in seconds since 1970, where the platform knows them.
        message: what the platform says of a failure.
        exit_status: of its process, where the platform tells it.
        outputs: parameters that it gave, where the platform tells them.
        jobs: what its log is found by.
        refusal: of a task that failed, what the platform says is the caller's fault, as `HeadraceError.to_json`.
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

    @property
    def seconds(self) -> float:
        """How long it took; 0 where the platform does not know."""
        if self.started is None or self.finished is None:
            return 0.0
        return max(0.0, self.finished - self.started)


@dataclass(frozen=True)
class Run:
    """A run on a platform.

    Attributes:
        run_id: its name.
        state: waiting, running, paused, cancelling, succeeded, failed or cancelled.
        reference: the platform's own name of it.
        page: where a browser shows it.
        created, finished: in seconds since 1970.
        message: what the platform says of a failure.
        parameters: that it was submitted with.
        spec: the compiled pipeline; empty in a list of runs.
        tasks: by name, those that the platform has got to.
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
    tasks: Mapping[str, Task] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED


@dataclass(frozen=True)
class Schedule:
    """A schedule on a platform.

    Attributes:
        name: of the schedule.
        state: active or paused, or what else the platform calls it.
        cron: minute, hour, day of the month, month, day of the week.
        timezone: that the cron expression is in.
        reference: the platform's own name of it.
        next_run: when it runs next, in RFC 3339, where the platform tells it.
    """

    name: str
    state: str
    cron: str
    timezone: str
    reference: str
    next_run: str = ""


@dataclass(frozen=True)
class Submission:
    """What is submitted.

    Attributes:
        documents: the compiled spec: the pipeline, and what there is of platforms.
        name: the pipeline's name.
        parameters: of the pipeline.
        pipeline_root: where the platform keeps the tasks' outputs; "" for its own place.
        labels: of the run, for the bill.
        service_account: what tasks run as; "" for the platform's own.
    """

    documents: Sequence[Mapping[str, Any]]
    name: str
    parameters: Mapping[str, Any]
    pipeline_root: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""


@dataclass(frozen=True)
class LogLine:
    """A line of a log: when, in RFC 3339; of which task; how severe; what."""

    when: str
    task: str
    severity: str
    text: str


class Service(Protocol):
    """A platform's pipeline engine. Each method asks it once: `patience` says when it is asked again.

    Errors of the platform come as ours; `Transient` marks those after which asking again may help.
    """

    name: str

    def run_id(self, text: str) -> str:
        """A run's name in the letters that the platform takes."""

    def find(self, run_id: str) -> Run | None:
        """A run by its name or the platform's reference, with its tasks; None where there is none."""

    def create(self, run_id: str, submission: Submission) -> Run:
        """Starts a run. Where another one of that name appeared in the meantime, that one is returned."""

    def runs(self, limit: int) -> list[Run]:
        """The newest runs, without their tasks."""

    def cancel(self, run: Run) -> None:
        """Asks for a run to be ended."""

    def logs(self, run: Run, task: str, after: str) -> Iterator[LogLine]:
        """The lines of a run's log, oldest first: of one task or of all (""), those after a time or all ("")."""

    def schedules(self) -> list[Schedule]:
        """All schedules."""

    def schedule(self, name: str, cron: str, timezone: str, submission: Submission) -> Schedule:
        """Makes a schedule."""

    def change(self, schedule: Schedule, cron: str, timezone: str, submission: Submission) -> Schedule:
        """Puts another pipeline, other parameters or other times into a schedule."""

    def set_paused(self, schedule: Schedule, paused: bool) -> None:
        """Pauses or resumes a schedule."""

    def delete_schedule(self, schedule: Schedule) -> None:
        """Removes a schedule; its runs stay."""
