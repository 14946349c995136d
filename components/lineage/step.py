"""Lineage as a step of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headrace.components.deploy.canary.settings import settings_of
from headrace.components.evaluate.contest.challenge import Challenge, ChallengerComparison
from headrace.components.ingest.catalog import Catalog
from headrace.components.lineage.lineage import Lineage, SeenSpans, Start
from headrace.components.registry.open import open_registry
from headrace.components.train.request import TrainingRequest
from headrace.core.artifacts.examples import Manifest
from headrace.core.ledger.claim import Claim, may_begin
from headrace.core.problem.file import load_problem
from headrace.core.steps.identity import lineage_identity
from headrace.core.steps.step import running
from headrace.core.steps.workspace import spans_uri


def run(
    problem: str,
    schema_digest: str,
    examples: Any,
    registry: str,
    root: str,
    claim: Mapping[str, Any],
    champion: str,
    base: Mapping[str, Any],
    training: Mapping[str, Any],
    withdrawn: Sequence[str],
    from_scratch_every: int,
    challenge: Mapping[str, Any],
    training_digest: str = "",
    canary: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Runs the step; arguments as of `component.lineage`.

    Raises:
        Overtaken: another run took the place of this one.
        PlatformError: the run's deadline leaves too little time for the training and a canary, or the disk failed.
        DataError: the Examples, the registry or a lineage is damaged.
    """
    with running("lineage", root=root) as step:
        manifest = Manifest.read(examples.path)
        step.identity = lineage_identity(claim["run_id"], claim["holder"], manifest.identity)
        # A training that began is not ended by the deadline, but by its own share of it.
        hours = TrainingRequest.from_json(training).options.budget.max_hours or 0.0
        watch = settings_of(canary).shortest_s if canary else 0.0
        may_begin(Claim.from_json(claim), "train", hours * 3600 + watch)
        file = load_problem(problem, digest=schema_digest, part="schema")
        lineage = Lineage(claim["ledger"], open_registry(registry, new=True))
        window = SeenSpans.of(manifest, training_digest)
        catalog = Catalog(spans_uri(root, file.problem.name)).read()
        if base["from_scratch"]:
            start = Start("", "", "from scratch, as requested")
        else:
            start = lineage.start(
                schema=window.schema,
                catalog=catalog,
                withdrawn=frozenset(withdrawn),
                until=int(base["changes"]),
                from_scratch_every=from_scratch_every,
                training=training_digest,
            )
        lineage.add(manifest.identity, window, start.version)
        step.progress(start.why, lasting=True)
        known = str(base["champion"])
        seen = lineage.seen(known) if known else None
        if seen is not None and seen.schema != window.schema:
            champion = ""
        newer = lineage.newer(known, list(window.spans)) if known else 0
        # One whose spans are not known may be as good as any.
        fault = None if seen is None else lineage.fault(known, window.schema, catalog, frozenset(withdrawn))
        comparison = (
            ChallengerComparison.of(Challenge.from_json(challenge), newer, fault or "").to_json() if champion else {}
        )
        options = dict(training)
        if start.version:
            options |= {"warm_start": start.model, "warm_start_version": start.version}
        result = {
            "training": options,
            "champion": champion,
            "comparison": comparison,
            "start": asdict(start),
            "spans": list(window.spans),
            "newer_spans": newer,
        }
        step.finish(outputs={}, result=result)
    return options, champion, comparison
