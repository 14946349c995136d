"""Outcome of a run of dynamic training, from the records of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.components.summarize.records import is_done, unfinished
from headrace.core.ledger.state import Outcome

_HOLDS = ("promoted", "live")


@dataclass(frozen=True)
class Conclusion:
    """How a run ended.

    Attributes:
        status: succeeded; failed, which the next tick counts; or overtaken, which changes nothing.
        outcome: of its data versions, where it succeeded.
        model: the version that it made; "" for none.
        why: in words.
        others: data versions with another outcome.
        bad: whether the version is never used again.
        error: as `HeadraceError.to_json`, of a failed run.
        watched: whether its canary is under way, which ticks end the run with.
    """

    status: Literal["succeeded", "failed", "overtaken"]
    outcome: Outcome | None = None
    model: str = ""
    why: str = ""
    others: Mapping[str, Outcome] = field(default_factory=dict)
    bad: bool = False
    error: Mapping[str, Any] | None = None
    watched: bool = False


def conclusion_of(steps: Sequence[Mapping[str, Any]], *, engine_succeeded: bool) -> Conclusion:
    """Concludes from the steps' records.

    Args:
        steps: in the pipeline's order; a step that was not reached is `skipped`.
        engine_succeeded: status of the run from the pipeline engine.
    """
    by_name = {step["step"]: step for step in steps}
    results = {name: step["result"] for name, step in by_name.items()}
    overtaken = results["claim"].get("overtaken")
    if overtaken:
        return Conclusion("overtaken", why=str(overtaken))
    failed = next((step for step in steps if step["status"] == "failed"), None)
    if failed is not None:
        error = failed["error"]
        if error["kind"] == "Overtaken":
            return Conclusion("overtaken", why=str(error["what"]))
        return Conclusion("failed", why=f"{failed['step']}: {error['what']}", error=error)
    reached = [step["step"] for step in steps if is_done(step)]
    ingested = results["ingest"]
    others = ingested.get("others", {})
    if "ingest" in reached and not ingested["trainable"]:
        return _without_training(ingested, others, engine_succeeded)
    model = str(results["train"].get("model_version", ""))
    if "evaluate" in reached and results["evaluate"]["blessed"] is False:
        if not engine_succeeded:
            return _unfinished("the pipeline")
        return Conclusion("succeeded", "kept", model, _refusal(results["evaluate"]), others)
    last = next((step["step"] for step in steps if step["status"] == "skipped"), None)
    if last is not None or not engine_succeeded:
        return _unfinished(last or "the pipeline")
    deployed = results["deploy"]
    # Services deploy without a canary of headrace, and have no outcome.
    outcome = deployed.get("outcome", "live")
    why = " ".join(deployed.get("reasons", []))
    if outcome == "under way":
        return Conclusion("succeeded", None, model, why, others, watched=True)
    if outcome in _HOLDS:
        return Conclusion("succeeded", "promoted", model, why, others)
    return Conclusion("succeeded", "kept", model, f"{outcome}: {why}", others, bad=outcome == "rolled back")


def _without_training(ingested: Mapping[str, Any], others: Mapping[str, Outcome], engine_succeeded: bool) -> Conclusion:
    if not engine_succeeded:
        return _unfinished("the pipeline")
    reasons = [f"span {bad['span']}: {bad['why']}" for bad in ingested.get("quarantined", [])]
    outcomes = set(others.values())
    outcome: Outcome = "quarantined" if "quarantined" in outcomes else "withdrawn" if outcomes else "kept"
    why = " ".join(reasons) or "No arrived span is in the window."
    return Conclusion("succeeded", outcome, "", why[:2000], others)


def _refusal(evaluated: Mapping[str, Any]) -> str:
    checks, reasons = evaluated.get("checks", []), evaluated.get("reasons", [])
    chosen = [reason for check, reason in zip(checks, reasons, strict=False) if check["passed"] is False]
    return " ".join(chosen or reasons)[:2000]


def _unfinished(step: str) -> Conclusion:
    error = unfinished(step, fix="The next tick tries its data again; finished steps are not repeated")
    return Conclusion("failed", why=error.what, error=error.to_json())
