"""Run resolver: finds a run by id or path, and the artifact of it that a command needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.text import counted
from headrace.pipelines.runs.records import SUMMARY, RunRecord, is_run, list_runs, read_run
from headrace.pipelines.runs.start_record import NAME

DEFAULT_ROOT = "headrace-runs"
Kind = Literal["examples", "model", "evaluation", "predictions", "quarantined"]

# Files in a run's folder that name the run as well as the folder does.
_FILES = (SUMMARY, NAME, "report.html", "pipeline.yaml")
# Files that mark an artifact's folder: such a path is the artifact, not a run.
_ARTIFACT_FILES = (
    "manifest.json",
    "training.json",
    "evaluation.json",
    "endpoint.json",
    "saved_model.pb",
    "quarantine.jsonl",
)
_OUTPUTS = {
    "examples": ("examples",),
    "model": ("model",),
    "evaluation": ("evaluation",),
    # Published ones stay, others may be cleared with the run's working folder.
    "predictions": ("published", "predictions"),
    "quarantined": ("quarantined", "examples", "predictions"),
}
_NAMES = {
    "examples": "Examples",
    "model": "a Model",
    "evaluation": "an Evaluation",
    "predictions": "Predictions",
    "quarantined": "Examples or Predictions",
}
_LISTED = 10


def resolve_run(text: str, root: str = DEFAULT_ROOT) -> RunRecord:
    """Finds the run that `text` names.

    Args:
        text: a run's id or an unambiguous prefix of one, within `root`; ROOT/ID; its folder; a file of that folder,
            such as summary.json or report.html; or a root, for its newest finished run.
        root: where ids are looked up.

    Raises:
        UsageError: no run or several runs match; the message lists the runs.
    """
    found = _find(text, root)
    if found is None:
        raise _unknown(text, root)
    return found


def resolve_artifact(text: str, kind: Kind, root: str = DEFAULT_ROOT) -> str:
    """The URI of an artifact: the output of the run that `text` names, or `text` itself if it does not name a run.

    Raises:
        UsageError: the run has no artifact of this kind; or `text` is like an id, nothing of that name exists,
            and no run of `root` has it.
    """
    # Each check is a request to an object store.
    if not text or (storage.is_remote(text) and "/runs/" not in text):
        return text
    if any(storage.exists(storage.join(text, name)) for name in _ARTIFACT_FILES):
        return text
    found = _find(text, root)
    if found is None:
        if _is_id(text) and _runs_of(root):
            raise _unknown(text, root)
        return text
    return artifact_of(found, kind)


def artifact_of(run: RunRecord, kind: Kind) -> str:
    """The URI of an artifact of a run.

    Raises:
        UsageError: the run has no artifact of this kind.
    """
    for output in _OUTPUTS[kind]:
        if output in run.outputs:
            return run.outputs[output]
    why = f"{run.step} failed" if run.status == "failed" and run.step else f"it {_said(run)}"
    raise UsageError(
        f"the run has no {_NAMES[kind].removeprefix('an ').removeprefix('a ')}",
        where=run.folder,
        expected=f"a run with {_NAMES[kind]}, or the folder of the artifact",
        received=f"{run.pipeline or 'a run'}: {why}",
    )


def _find(text: str, root: str) -> RunRecord | None:
    """The run that a path or an id names; None if it does not exist."""
    folder, _, last = text.rstrip("/").rpartition("/")
    if last in _FILES:
        path = folder or "."
        return read_run(_absolute(path)) if is_run(path) else None
    if is_run(text):
        return read_run(_absolute(text))
    if not storage.is_remote(text) and storage.local_path(text).is_dir():
        return next((run for run in _runs_of(text) if run.finished is not None), None)
    within, name = (root, text) if _is_id(text) else (folder, last)
    if not name or storage.is_remote(within):
        return None
    runs = _runs_of(within)
    chosen = [run for run in runs if run.run_id == name] or [run for run in runs if run.run_id.startswith(name)]
    if len(chosen) > 1:
        raise UsageError("the run is ambiguous", where=within, expected=f"one of {_list(chosen)}", received=text)
    return chosen[0] if chosen else None


def _is_id(text: str) -> bool:
    return "/" not in text and not storage.exists(text)


def _absolute(folder: str) -> str:
    return folder if storage.is_remote(folder) else str(storage.local_path(folder).absolute())


def _runs_of(root: str) -> list[RunRecord]:
    try:
        return list_runs(root)
    except (UsageError, DataError):
        return []


def _unknown(text: str, root: str) -> UsageError:
    """The error for a run that does not exist, with a list of those that do."""
    folder = text.rstrip("/").rpartition("/")[0]
    place = next((each for each in (folder, folder.removesuffix("/runs"), root) if each and _runs_of(each)), root)
    if runs := _runs_of(place):
        return UsageError("the run does not exist", where=place, expected=f"one of {_list(runs)}", received=text)
    return UsageError(
        "the run does not exist",
        where=place,
        expected="a run's id, its folder or its summary; or a root with runs/",
        received=f"{text}, and no run is there",
        fix="Give --root, or the run's folder ROOT/runs/ID",
    )


def _list(runs: Sequence[RunRecord]) -> str:
    listed = ", ".join(f"{run.run_id} ({run.status})" for run in runs[:_LISTED])
    left = len(runs) - _LISTED
    return f"{listed} and {counted(left, 'older run')}" if left > 0 else listed


def _said(run: RunRecord) -> str:
    return {"running": "is still running", "interrupted": "was interrupted", "unreadable": "cannot be read"}.get(
        run.status, run.status
    )
