"""Verdict of the report: the outcome of the run, its reason, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.report import formats
from headrace.pipelines.report.artifacts import Artifacts
from headrace.pipelines.report.values import items, mapping, number, objects, text

_WHAT_NOW = {
    2: "The input needs a change: the same input will fail again.",
    3: "The model was refused: the same one will be refused again.",
    75: "The platform failed. The same command may succeed; finished steps are not repeated.",
}


@dataclass(frozen=True)
class Verdict:
    """The banner.

    Args:
        tone: good, warning or bad.
        icon: the name of its icon.
        title: the outcome in a few words.
        sentence: what follows from it.
        reasons: of the outcome, one per line.
        details: (name, value) of an error.
        table: of an error: a row of column names, then rows.
        what_now: what to do about an error.
    """

    tone: str
    icon: str
    title: str
    sentence: str
    reasons: tuple[str, ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    what_now: str | None = None


def verdict(summary: Mapping[str, Any], artifacts: Artifacts) -> Verdict:
    """The verdict on the run."""
    status = summary.get("status")
    if status == "refused":
        return _refused(artifacts)
    if idle := text(summary.get("nothing_to_do")):
        return Verdict("warning", "skipped", "Nothing to do", _sentence(idle))
    if status == "succeeded":
        return _published(artifacts) if artifacts.counted == "score" else _succeeded(artifacts)
    return _failed(summary, artifacts)


def _succeeded(artifacts: Artifacts) -> Verdict:
    deployed = mapping(mapping(artifacts.steps.get("deploy")).get("result"))
    version, url = text(deployed.get("version")), text(deployed.get("url"))
    if version is None:
        return Verdict("good", "check", "The run succeeded", "Every step of the pipeline that had to run succeeded.")
    sentence = f"Version {version} answers" + (f" at {url}." if url else ".")
    previous = text(deployed.get("previous"))
    if previous is not None and previous != version:
        sentence += f" Version {previous} stays available for a rollback."
    blessed = artifacts.evaluation.get("blessed") is True
    judged = artifacts.evaluation.get("gate") is not None
    title = "Blessed and deployed" if blessed and judged else "Deployed, ungated" if blessed else "Deployed"
    return Verdict("good", "check", title, sentence)


def _published(artifacts: Artifacts) -> Verdict:
    result = mapping(mapping(artifacts.steps.get("publish")).get("result"))
    where, previous = text(result.get("published")), text(result.get("previous"))
    sentence = f"{formats.count(number(artifacts.manifest.get('rows_out')))} predictions of version "
    sentence += f"{text(artifacts.manifest.get('model_version')) or formats.ABSENT} are at {where or formats.ABSENT}."
    if previous is not None:
        sentence += f" Those of {previous} stay available for a rollback."
    return Verdict("good", "check", "Scored and published", sentence)


def _refused(artifacts: Artifacts) -> Verdict:
    evaluation = artifacts.evaluation or mapping(mapping(artifacts.steps.get("evaluate")).get("result"))
    reasons = [str(reason) for reason in items(evaluation.get("reasons"))]
    checks = objects(evaluation.get("checks"))
    if len(checks) == len(reasons):
        reasons = [r for r, check in zip(reasons, checks, strict=True) if check.get("passed") is False]
    sentence = "The gate rejected the model, so nothing was deployed: the endpoint did not change."
    return Verdict("warning", "cross", "Rejected by the gate", sentence, tuple(reasons))


def _failed(summary: Mapping[str, Any], artifacts: Artifacts) -> Verdict:
    failed = next((s for s in artifacts.steps.values() if s.get("status") == "failed"), {})
    error = mapping(summary.get("error")) or mapping(failed.get("error"))
    where = text(failed.get("step"))
    title = f"Failed in {where}" if where else "The run failed"
    sentence = text(error.get("what")) or "No step reported an error; the logs of the run may have details"
    fix = text(error.get("fix"))
    details = [(n.capitalize(), text(error.get(n))) for n in ("where", "expected", "received")]
    now = _WHAT_NOW.get(int(number(error.get("exit_status")) or 0))
    return Verdict(
        "bad",
        "bang",
        title,
        _sentence(sentence),
        details=tuple((n, v) for n, v in details if v is not None),
        table=_table(error.get("table")),
        what_now=_sentence(fix) if fix else now,
    )


def _table(rows: object) -> tuple[tuple[str, ...], ...]:
    """The rows that have as many cells as the first."""
    cells = [tuple(str(cell) for cell in items(row)) for row in items(rows)]
    return tuple(row for row in cells if row and len(row) == len(cells[0]))


def _sentence(words: str) -> str:
    words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "!", "?")) else words + "."
