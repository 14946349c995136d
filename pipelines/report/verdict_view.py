"""What the page says first: what came of the run, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.report import formats
from headrace.pipelines.report.artifacts import Artifacts
from headrace.pipelines.report.values import items, mapping, number, objects, text

_WHAT_NOW = {
    2: "The input needs a change: the same input will fail again.",
    3: "Nothing failed: the gate said no.",
    75: "The platform failed. The same command may succeed; steps that are done are not done twice.",
}


@dataclass(frozen=True)
class Verdict:
    """The banner.

    Args:
        tone: good, warning or bad.
        icon: the name of its icon.
        title: the outcome in a few words.
        sentence: what follows from it.
        reasons: why, one a line.
        details: (name, value) of what an error says.
        table: where an error saw many things, the columns' names and then what was seen and expected.
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
    """What came of the run."""
    status = summary.get("status")
    if status == "refused":
        return _refused(artifacts)
    if status == "succeeded":
        return _published(artifacts) if artifacts.counted == "score" else _succeeded(artifacts)
    return _failed(summary, artifacts)


def _succeeded(artifacts: Artifacts) -> Verdict:
    deployed = mapping(mapping(artifacts.steps.get("deploy")).get("result"))
    version, url = text(deployed.get("version")), text(deployed.get("url"))
    if version is None:
        return Verdict("good", "check", "The run succeeded", "Every step of the pipeline that had to run ended well.")
    sentence = f"Version {version} answers" + (f" at {url}." if url else ".")
    previous = text(deployed.get("previous"))
    if previous is not None and previous != version:
        sentence += f" Version {previous} is kept for going back."
    blessed = artifacts.evaluation.get("blessed") is True
    judged = artifacts.evaluation.get("gate") is not None
    title = "Blessed and deployed" if blessed and judged else "Deployed"
    return Verdict("good", "check", title, sentence)


def _published(artifacts: Artifacts) -> Verdict:
    result = mapping(mapping(artifacts.steps.get("publish")).get("result"))
    where, previous = text(result.get("published")), text(result.get("previous"))
    sentence = f"{formats.count(number(artifacts.manifest.get('rows_out')))} predictions of version "
    sentence += f"{text(artifacts.manifest.get('model_version')) or formats.ABSENT} are at {where or formats.ABSENT}."
    if previous is not None:
        sentence += f" Those of {previous} are kept for going back."
    return Verdict("good", "check", "Scored and published", sentence)


def _refused(artifacts: Artifacts) -> Verdict:
    evaluation = artifacts.evaluation or mapping(mapping(artifacts.steps.get("evaluate")).get("result"))
    reasons = [str(reason) for reason in items(evaluation.get("reasons"))]
    checks = objects(evaluation.get("checks"))
    if len(checks) == len(reasons):
        reasons = [r for r, check in zip(reasons, checks, strict=True) if check.get("passed") is False]
    sentence = "The gate said no, so nothing was deployed: what answered before answers still."
    return Verdict("warning", "cross", "Refused by the gate", sentence, tuple(reasons))


def _failed(summary: Mapping[str, Any], artifacts: Artifacts) -> Verdict:
    failed = next((s for s in artifacts.steps.values() if s.get("status") == "failed"), {})
    error = mapping(summary.get("error")) or mapping(failed.get("error"))
    where = text(failed.get("step"))
    title = f"Failed in {where}" if where else "The run failed"
    sentence = text(error.get("what")) or "No step left word of what went wrong; the logs of the run may say more"
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
    """The rows that are as wide as the first."""
    told = [tuple(str(cell) for cell in items(row)) for row in items(rows)]
    return tuple(row for row in told if row and len(row) == len(told[0]))


def _sentence(words: str) -> str:
    words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "!", "?")) else words + "."
