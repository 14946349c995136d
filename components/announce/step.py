"""Announcement as a step of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.components.announce.announce import announce
from headrace.components.registry.open import open_registry
from headrace.core.ledger.claim import Claim, check
from headrace.core.steps.identity import publish_identity
from headrace.core.steps.step import running


def run(
    registry: str,
    app: str,
    destinations: Sequence[str],
    record: str,
    root: str,
    claim: Mapping[str, Any],
) -> None:
    """Implements `component.announce`, whose docstring describes the arguments."""
    with running("announce", root=root) as step:
        step.identity = publish_identity("announce", str(claim.get("run_id", "")), registry)
        check(Claim.from_json(claim))
        done = announce(open_registry(registry, new=True), app, destinations, record)
        for name, error in done.failed:
            step.progress(f"not announced to {name}, the next tick retries: {error}", lasting=True)
        step.finish(
            outputs={},
            result={
                "epoch": 0 if done.event is None else done.event.epoch,
                "version": "" if done.event is None else done.event.version,
                "sent": list(done.sent),
                "failed": [list(one) for one in done.failed],
            },
        )
