"""Pipeline step: the frame of every component's work, with events on stdout, a step record and an exit status.

An event is one JSON object per line, in the format of Google Cloud's structured logs (`severity`, `message`), with the
details under `headrace`. A record is a small JSON file whose path is derived from the step's identity - a digest of
all that it depends on - so that an exit task, which cannot read other tasks' outputs, finds it; a step that was a cache
hit has its record from the run that did the work.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.core import storage
from headrace.core.errors import HeadraceError, PlatformError, exhausted
from headrace.core.signals import raise_on_sigterm
from headrace.core.steps.engine_job import is_of_job, names_of
from headrace.core.steps.repeated import attempt_of, error_of, job_of
from headrace.core.steps.workspace import record_uri

# Environment variable with the local engine's process id, set for the steps that it starts.
ENGINE_PID = "HEADRACE_ENGINE_PID"
# Environment variable with the local engine's mark of a run, unique to it, set for its steps and its exit task.
ENGINE_RUN = "HEADRACE_ENGINE_RUN"
# Environment variable with the digest of the code when the local engine started a run.
ENGINE_SOURCE = "HEADRACE_ENGINE_SOURCE"
# Environment variable with the memory of a fork server that its child shares, and the system does not count as the
# child's: a process that imports by itself has it too.
PRELOADED_BYTES = "HEADRACE_PRELOADED_BYTES"

# Progress events closer together than this are dropped.
_SECONDS_BETWEEN_EVENTS = 0.2


def identity(step: str, **facts: Any) -> str:
    """Digest of a step and of all that its result depends on, in 16 hexadecimal digits.

    Args:
        step: the step's name.
        facts: JSON values: identities of its inputs, its options, the version of the code.
    """
    return hashlib.sha256(json.dumps([step, facts], sort_keys=True).encode()).hexdigest()[:16]


def read_record(root: str, step: str, step_identity: str) -> dict[str, Any] | None:
    """Reads the record of a step; None if it never ran."""
    uri = record_uri(root, step, step_identity)
    if not storage.exists(uri):
        return None
    record: dict[str, Any] = storage.read_json(uri)
    return record


def is_of_run(record: Mapping[str, Any], started: float, job: str = "") -> bool:
    """Whether this process's run wrote a record, and not an earlier run.

    A local engine marks its run, because a clock may be set back while it runs. No mark reaches the tasks of other
    engines, which reuse a task only if all its parameters are equal: there the engine's name of the run decides, since
    clocks of machines differ. The time decides only about records without such a name, which neither Kubeflow nor
    Vertex AI makes.

    Args:
        record: of a step.
        started: start of the run, in seconds since 1970.
        job: the engine's own name of the run; "" if it is not known.
    """
    mark = os.environ.get(ENGINE_RUN)
    if mark:
        return bool(record.get("run") == mark)
    known = is_of_job(record, job)
    return record["started"] >= started if known is None else known


class Step:
    """A running step, to which its body reports progress and results."""

    def __init__(self, name: str, root: str) -> None:
        self.name = name
        self.root = root
        self.identity = ""
        # False in a secondary process, which would overwrite the record of the primary one.
        self.writes = True
        self.started = time.time()
        self._began = time.monotonic()
        self.import_seconds = 0.0
        self._job = ""
        self._outputs: dict[str, str] = {}
        self._result: dict[str, Any] = {}
        self._last_event = 0.0

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Counts the block as time spent importing."""
        begin = time.perf_counter()
        yield
        self.import_seconds += time.perf_counter() - begin

    def end_as_before(self, output: str = "") -> None:
        """Ends a retry at once where an attempt of the same pipeline job failed by a mistake, or at the gate.

        Call it when `identity` is known, before expensive work. The first attempt removes a record of that job: the
        run was started again by hand, and this attempt may be killed before it writes its own.

        Args:
            output: URI of an output artifact of the task; "" for none. Kubeflow's job is known by an artifact alone.

        Raises:
            HeadraceError: that of the attempt.
        """
        attempt = attempt_of(os.environ)
        self._job = job_of(output, attempt) or names_of(os.environ, sys.argv).get("job", "")
        if self._job and self.root:
            error = error_of(read_record(self.root, self.name, self.identity), self._job)
            if error is None:
                return
            if attempt != 0:
                raise error
            if self.writes:
                storage.remove(record_uri(self.root, self.name, self.identity))

    def progress(
        self, message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False
    ) -> None:
        """Emits a progress event, unless one was emitted a moment ago. Arguments as of `progress.Progress`."""
        now = time.monotonic()
        recent = now - self._last_event < _SECONDS_BETWEEN_EVENTS
        if recent and not lasting and (total is None or done != total):
            return
        self._last_event = now
        details: dict[str, Any] = {"done": done, "total": total, **({"lasting": True} if lasting else {})}
        emit("progress", self.name, message, **details)

    def finish(self, *, outputs: Mapping[str, str], result: Mapping[str, Any]) -> None:
        """Sets the URIs of the step's outputs, and a small result for the run's summary."""
        self._outputs = dict(outputs)
        self._result = dict(result)

    @property
    def seconds(self) -> float:
        """Time since the start, by a clock that is never set back."""
        return round(time.monotonic() - self._began, 3)

    def record(self, status: str, error: HeadraceError | None) -> dict[str, Any]:
        """The step's record, as stored below `records/`."""
        seconds, mark = self.seconds, os.environ.get(ENGINE_RUN)
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        # Linux counts ru_maxrss in KiB.
        own, children = (usage.ru_maxrss * 1024 for usage in usages)
        return {
            "step": self.name,
            "identity": self.identity,
            "status": status,
            "started": self.started,
            "finished": self.started + seconds,
            "seconds": seconds,
            "import_seconds": round(self.import_seconds, 3),
            "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 3),
            "peak_memory_bytes": max(own + int(os.environ.get(PRELOADED_BYTES, "0")), children),
            "outputs": self._outputs,
            "result": self._result,
            "error": None if error is None else error.to_json(),
            **({"run": mark} if mark else {}),
            **names_of(os.environ, sys.argv),
            **({"job": self._job} if self._job else {}),
        }


@contextmanager
def running(name: str, *, root: str) -> Iterator[Step]:
    """Runs the block as a step of a pipeline; the block sets `identity` as soon as it is known.

    Emits start and end events, writes the record, and turns an error into an event and its exit status.

    Args:
        name: the step's.
        root: where its record is written; "" writes none.

    Raises:
        SystemExit: with the error's exit status, after it was reported.
    """
    step = Step(name, root)
    _end_with_engine()
    with raise_on_sigterm():
        try:
            emit("started", name, f"{name} started", pid=os.getpid())
            yield step
            record = step.record("succeeded", None)
            if step.writes and root:
                storage.write_json(record_uri(root, name, step.identity), record)
            emit("finished", name, f"{name} finished in {record['seconds']:.1f} s", record=record)
        except HeadraceError as error:
            _fail(step, error, error)
        except Exception as error:
            unexpected = exhausted(error) or PlatformError(
                f"{name} failed unexpectedly",
                received=f"{type(error).__name__}: {error}",
                fix="The step's log has the traceback",
            )
            _fail(step, unexpected, error)


def _fail(step: Step, error: HeadraceError, cause: Exception) -> None:
    traceback.print_exception(cause, file=sys.stderr)
    record = step.record("failed", error)
    if step.identity and step.writes and step.root:
        try:
            storage.write_json(record_uri(step.root, step.name, step.identity), record)
        except HeadraceError as unwritten:
            traceback.print_exception(unwritten, file=sys.stderr)
    emit("failed", step.name, error.text, severity="ERROR", record=record)
    raise SystemExit(error.exit_status) from cause


def _end_with_engine() -> None:
    """Ends a step that a local engine started when that engine dies.

    A killed run is usually started again at once; an orphaned step would compete for the machine, and write records of
    a run that nobody waits for.
    """
    engine = int(os.environ.get(ENGINE_PID, "0"))
    if not engine:
        return

    def watch() -> None:
        while Path(f"/proc/{engine}").exists() or not Path("/proc").exists():
            time.sleep(0.25)
        os._exit(PlatformError.exit_status)

    threading.Thread(target=watch, name="engine-watch", daemon=True).start()


def emit(event: str, step: str, message: str, *, severity: str = "INFO", **details: Any) -> None:
    """Writes one event to stdout on a line of its own: stderr shares the pipe, and may have left a line unfinished."""
    line = json.dumps({"severity": severity, "message": message, "headrace": {"event": event, "step": step, **details}})
    sys.stdout.flush()
    os.write(1, f"\n{line}\n".encode())


def parse_event(line: str) -> dict[str, Any] | None:
    """Parses an event from a line of a step's output, with its `message`; None for any other line."""
    line = line.strip()
    if not line.startswith('{"severity"'):
        return None
    try:
        parsed = json.loads(line)
        return {"message": parsed["message"], **parsed["headrace"]}
    except (ValueError, KeyError, TypeError):
        return None
