"""Claim as a step of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headrace.components.claim.claim import claim_run
from headrace.components.claim.deadline import check_deadline
from headrace.components.ingest.catalog import Catalog
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.state import Overtaken
from headrace.core.steps.identity import claim_identity
from headrace.core.steps.step import running
from headrace.core.steps.workspace import spans_uri

Result = tuple[bool, dict[str, Any], list[dict[str, Any]], str, dict[str, Any], list[str], str]


def run(
    ledger: str,
    run_id: str,
    holder: str,
    registry: str,
    root: str,
    deadline_hours: float,
    training_share: float,
    canary: Mapping[str, Any],
    name: str = "",
    withdrawn: Sequence[str] = (),
) -> Result:
    """Runs the step; arguments as of `component.claim`."""
    with running("claim", root=root) as step:
        step.identity = claim_identity(ledger, run_id, holder)
        try:
            claimed = claim_run(ledger, run_id, holder, registry)
        except Overtaken as overtaken:
            step.progress(f"overtaken: {overtaken.what}", lasting=True)
            step.finish(outputs={}, result={"overtaken": overtaken.paragraph})
            return False, {}, [], "", {}, [], ""
        claim = claimed.claim.bounded(deadline_hours * 3600) if deadline_hours else claimed.claim
        expected = check_deadline(ledger, root, hours=deadline_hours, training_share=training_share, canary=canary)
        result: dict[str, Any] = {
            "claim": claim.to_json(),
            "arrivals": [asdict(arrival) for arrival in claimed.arrivals],
            "champion": claimed.model,
            "base": asdict(claimed.base),
            "withdrawn": _known(root, name, claimed.arrivals, withdrawn) if withdrawn else [],
        }
        step.finish(outputs={}, result={**result, "expected_seconds": expected})
    # The same in every attempt at the epoch, so that finished tasks are not repeated.
    attempt = f"epoch {claimed.claim.epoch}"
    return True, result["claim"], result["arrivals"], claimed.model, result["base"], result["withdrawn"], attempt


def _known(root: str, name: str, arrivals: Sequence[Arrival], withdrawn: Sequence[str]) -> list[str]:
    """The withdrawn spans that have arrived so far. A span may be withdrawn before the run that would use it."""
    known = {text for arrival in arrivals for text in (arrival.span, arrival.version)}
    for version in Catalog(spans_uri(root, name)).read().values():
        known |= {version.span, version.version}
    return [text for text in withdrawn if text in known]
