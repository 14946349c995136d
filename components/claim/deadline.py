"""Deadline of a run: refused before the first step if the durations of the last run show that it cannot be met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.components.deploy.canary.settings import settings_of
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.steps.workspace import summary_uri
from headrace.core.storage.compare_and_set import json_of, read_with_token

# File with the id of the last successful run, whose step durations predict those of the next run.
LAST = "last_run.json"
_TRAINING = "train"


def check_deadline(
    ledger: str, root: str, *, hours: float, training_share: float, canary: Mapping[str, Any]
) -> float | None:
    """Checks that the steps of a run fit into its deadline, by the durations of the last run.

    Args:
        ledger: URI of the ledger.
        root: pipeline root, which holds the summary of the last run.
        hours: the deadline in hours; 0 for no deadline.
        training_share: fraction of the deadline, in (0, 1], after which training is stopped.
        canary: settings of the canary, or {}.

    Returns:
        Expected duration of all steps, in seconds; None without an earlier run.

    Raises:
        UsageError: the deadline cannot be met.
    """
    seconds = _last_seconds(ledger, root) if hours else None
    if seconds is None:
        return None
    limit = hours * 3600
    training = min(seconds.get(_TRAINING, 0.0), training_share * limit)
    others = sum(value for name, value in seconds.items() if name not in (_TRAINING, "deploy"))
    watch = settings_of(canary).shortest_s if canary else 0.0
    needed = training + others + (watch if canary else seconds.get("deploy", 0.0))
    if needed > limit:
        raise UsageError(
            "the run cannot meet its deadline",
            where="deadline_hours",
            expected=f"at most {limit:,.0f} s",
            received=f"{needed:,.0f} s: training {training:,.0f} s, canary {watch:,.0f} s, and the other steps",
            fix="Give a longer deadline, a smaller window, or a canary with shorter steps: `headrace dynamic init`",
        )
    return needed


def _last_seconds(ledger: str, root: str) -> dict[str, float] | None:
    found = read_with_token(storage.join(ledger, LAST))
    if found is None:
        return None
    run_id = str(json_of(found.content, LAST).get("run_id", ""))
    summary = read_with_token(summary_uri(root, run_id)) if run_id else None
    if summary is None:
        return None
    steps = json_of(summary.content, run_id).get("steps", [])
    # A cached step has the duration of the run that did its work.
    return {step["step"]: float(step["seconds"]) for step in steps if "seconds" in step}
