"""Run records: state and results of each run of a root, from its start record, its summary and its lock."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.storage.lock import is_locked
from headrace.core.storage.remote import folders
from headrace.pipelines.runs import start_record
from headrace.pipelines.runs.local_root import work_folder

Status = Literal["succeeded", "refused", "failed", "running", "interrupted", "unreadable"]
SUMMARY = "summary.json"
# The steps whose output is a Model.
MAKERS = ("train", "tune")


@dataclass(frozen=True)
class RunRecord:
    """A run in the list of `headrace runs`.

    Attributes:
        run_id: the name of its folder.
        folder: where its summary, report and logs are.
        status: running while a process holds its lock; interrupted where the process is gone and wrote no summary;
            unreadable where its files are damaged.
        pipeline: static, tuned or batch-scoring, if known.
        problem: the problem's name.
        started, finished: seconds since 1970, or None.
        data: the URI of the rows.
        data_version: fingerprint of the rows, or None.
        metrics: on the test split by name: "value", "low" and "high", each a number or None.
        gate_metric: the metric of the gate, or None.
        model_version: of the Model that it trained or scored with, or None.
        step: the step that is running, or that failed; None otherwise.
        outputs: URI by kind of artifact: examples, model, evaluation, predictions, ...
        message: why it failed, cannot be read or had nothing to do, as one paragraph; "" otherwise.
        number: of the run in its root, larger for a newer one, whatever the clock was; 0 for runs in a bucket, of which
            the time by the store's clock decides, and of earlier releases, of which their own time decides.
    """

    run_id: str
    folder: str
    status: Status
    pipeline: str = ""
    problem: str = ""
    started: float | None = None
    finished: float | None = None
    data: str = ""
    data_version: str | None = None
    metrics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    gate_metric: str | None = None
    model_version: str | None = None
    step: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return dataclasses.asdict(self)

    @property
    def headline(self) -> tuple[str, float] | None:
        """The metric for a list of runs, and its value: the gate's, or the first that is defined."""
        names = [self.gate_metric, *self.metrics] if self.gate_metric else list(self.metrics)
        values = ((name, self.metrics[name].get("value")) for name in names if name in self.metrics)
        return next(((name, value) for name, value in values if value is not None), None)


def is_run(folder: str) -> bool:
    """Whether a folder is a run's folder."""
    return any(storage.exists(storage.join(folder, name)) for name in (SUMMARY, start_record.NAME))


def list_runs(root: str) -> list[RunRecord]:
    """The runs of a root, newest first, including those that cannot be read.

    Raises:
        UsageError: the root is not a folder.
        PlatformError: the object store failed.
    """
    if storage.is_remote(root):
        written = _remote_folders(root)
    else:
        path = storage.local_path(root)
        if not path.is_dir():
            raise UsageError(
                "the root does not exist", where=root, expected="a folder with runs/, as created by --root"
            )
        runs = path / "runs"
        written = {str(entry): 0.0 for entry in sorted(runs.iterdir())} if runs.is_dir() else {}
    records = [read_run(folder) for folder in written if is_run(folder)]
    # The machines of the runs in a bucket have clocks of their own; the store has one.
    return sorted(
        records, key=lambda run: (run.number, written[run.folder], run.started or 0.0, run.run_id), reverse=True
    )


def read_run(folder: str) -> RunRecord:
    """Reads the record of a run from its folder; one that cannot be read has the status unreadable."""
    run_id = storage.join(folder.rstrip("/")).rsplit("/", 1)[-1]
    try:
        return _read(folder, run_id)
    except DataError as error:
        return RunRecord(run_id, folder, "unreadable", message=error.paragraph)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        received = f"{type(error).__name__}: {error}"
        damaged = DataError("the run's record is damaged", where=folder, received=received)
        return RunRecord(run_id, folder, "unreadable", message=damaged.paragraph)


def read_summary(folder: str) -> dict[str, Any] | None:
    """The summary of a run; None where it wrote none, or began again since.

    Raises:
        DataError: it is damaged.
    """
    uri, start = storage.join(folder, SUMMARY), read_start(folder)
    if not storage.exists(uri):
        return None
    summary = storage.read_json(uri)
    if not isinstance(summary, dict) or not isinstance(summary.get("steps"), list):
        raise DataError("the file is not a run's summary", where=uri, expected="an object with steps")
    return summary if not start or start["started"] == summary.get("started") else None


def read_start(folder: str) -> dict[str, Any]:
    """The start record of a run; {} where it has none, as on other platforms.

    Raises:
        DataError: it is damaged.
    """
    uri = storage.join(folder, start_record.NAME)
    if not storage.exists(uri):
        return {}
    found = storage.read_json(uri)
    if not isinstance(found, dict) or found.get("format") != start_record.FORMAT:
        raise DataError("the file is not a start record", where=uri, expected=f"format {start_record.FORMAT}")
    return found


def _read(folder: str, run_id: str) -> RunRecord:
    start, summary = read_start(folder), read_summary(folder)
    number = int(start.get("number", 0))
    if summary is not None:
        return dataclasses.replace(_finished(folder, run_id, summary), number=number)
    running = is_locked(work_folder(folder))
    return RunRecord(
        run_id=run_id,
        folder=folder,
        status="running" if running else "interrupted",
        pipeline=start["pipeline"],
        problem=start["problem"],
        started=float(start["started"]),
        data=str(start["arguments"].get("data", "")),
        data_version=start["arguments"].get("data_version") or None,
        step=start["step"],
        number=number,
    )


def _finished(folder: str, run_id: str, summary: Mapping[str, Any]) -> RunRecord:
    steps = {step["step"]: step for step in summary["steps"]}
    results = {name: step.get("result") or {} for name, step in steps.items()}
    evaluated = results.get("evaluate") or {}
    maker = next((results[name] for name in (*MAKERS, "score") if results.get(name)), {})
    error = summary.get("error") or {}
    failed = next((name for name, step in steps.items() if step["status"] == "failed"), None)
    outputs: dict[str, str] = {}
    for step in steps.values():
        outputs |= {str(kind): str(uri) for kind, uri in (step.get("outputs") or {}).items()}
    return RunRecord(
        run_id=run_id,
        folder=folder,
        status=summary["status"],
        pipeline=str(summary.get("pipeline", "")).removesuffix("-training"),
        problem=str(summary.get("problem", "")),
        started=summary.get("started"),
        finished=summary.get("finished"),
        data=str(summary.get("data", "")),
        data_version=summary.get("data_version") or None,
        metrics={name: dict(measured) for name, measured in (evaluated.get("metrics") or {}).items()},
        gate_metric=(evaluated.get("gate") or {}).get("metric"),
        model_version=maker.get("model_version"),
        step=failed,
        outputs=outputs,
        message=str(summary.get("nothing_to_do") or "")
        or " ".join(str(error[name]) for name in ("where", "what", "received", "fix") if error.get(name)),
    )


def _remote_folders(root: str) -> dict[str, float]:
    """The folders of the runs in a bucket that ended, and the time of their summary by the store's clock."""
    found, _ = folders.find(storage.join(root, "runs", "*", SUMMARY))
    return {summary.uri.removesuffix(f"/{SUMMARY}"): summary.created for summary in found}
