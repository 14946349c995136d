"""Conclusion of a run of dynamic training, collected from step records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.components.claim.deadline import LAST
from headrace.components.summarize.dynamic.outcome import Conclusion, conclusion_of
from headrace.components.summarize.records import is_done, step_of
from headrace.components.summarize.step import ended
from headrace.components.tick.command import headrace
from headrace.components.train.request import TrainingRequest
from headrace.core import storage
from headrace.core.errors import HeadraceError
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.state import Overtaken, Watch
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.sources.csv_dialect import options_of
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import emit
from headrace.core.steps.workspace import summary_uri

STEPS = ("claim", "ingest", "lineage", "train", "evaluate", "register", "deploy", "announce")
# The outcome in the summary as long as ticks take the steps of the canary.
UNDER_WAY = "canary under way"
# An engine repeats these only if an input changed. Of the others, each run has its own records.
_CACHED = frozenset({"ingest", "train", "evaluate"})


@dataclass(frozen=True)
class DynamicFacts:
    """Inputs of `component.conclude`, which documents each one."""

    pipeline: str
    ledger: str
    run_id: str
    holder: str
    job: str
    started: float
    problem: str
    problem_digest: str
    root: str
    registry: str
    endpoint: str
    last_spans: int = 0
    last_days: int = 0
    half_life: float = 0.0
    csv: str = ""
    tick: bool = False


def run(facts: DynamicFacts, *, engine_succeeded: bool) -> None:
    """Ends the run in the ledger if it ended well, and writes its summary, whatever its outcome."""
    file = load_problem(facts.problem, digest=facts.problem_digest)
    steps = collect(facts, file)
    # Steps that ran before and after a change of the code do not belong together.
    conclusion = conclusion_of(steps, engine_succeeded=engine_succeeded and not lineage.code_changed())
    conclusion = _end(facts, steps[0]["result"], conclusion)
    uri = summary_uri(facts.root, facts.run_id)
    if conclusion.status == "overtaken" and storage.exists(uri):
        # The execution that was first writes the summary of this run.
        emit("progress", "conclude", conclusion.why)
        return
    claimed = steps[0]["result"]
    summary = {
        "format": 1,
        "pipeline": facts.pipeline,
        "run_id": facts.run_id,
        "job": facts.job,
        "execution": facts.holder,
        "since": facts.started,
        "status": conclusion.status if conclusion.status == "failed" else "succeeded",
        "outcome": conclusion.outcome or (UNDER_WAY if conclusion.watched else conclusion.status),
        "why": conclusion.why,
        "error": conclusion.error,
        "model": conclusion.model,
        "epoch": claimed.get("claim", {}).get("epoch"),
        "started": facts.started,
        "finished": ended(facts.started, steps),
        "release": lineage.release(),
        "problem": file.problem.name,
        "problem_file": file.path,
        "problem_digest": facts.problem_digest,
        "data": ", ".join(arrival["data"] for arrival in claimed.get("arrivals", [])),
        "data_version": ", ".join(arrival["version"] for arrival in claimed.get("arrivals", [])),
        **({"csv": options_of(facts.csv)} if facts.csv else {}),
        "root": facts.root,
        "steps": steps,
    }
    storage.write_json(uri, summary)
    if conclusion.status == "succeeded":
        storage.write_json(storage.join(facts.ledger, LAST), {"kind": "LastRun", "format": 1, "run_id": facts.run_id})
        if facts.tick:
            _tick(facts.ledger)


def collect(facts: DynamicFacts, file: ProblemFile) -> list[dict[str, Any]]:
    """Each step's record in the pipeline's order, followed from one identity to the next.

    A step that did not run has the status `skipped`; one that was a cache hit has `cached`.
    """
    claimed = _step(facts, "claim", lineage.claim_identity(facts.ledger, facts.run_id, facts.holder))
    steps = [claimed]
    base = claimed["result"]
    if is_done(claimed) and "claim" in base:
        _follow(facts, file, base, steps)
    names = {step["step"] for step in steps}
    return [*steps, *(_step(facts, name, "") for name in STEPS if name not in names)]


def _follow(facts: DynamicFacts, file: ProblemFile, base: Mapping[str, Any], steps: list[dict[str, Any]]) -> None:
    versions = [arrival["version"] for arrival in base["arrivals"]]
    limits = {
        "last_spans": facts.last_spans,
        "last_days": facts.last_days,
        "withdrawn": list(base["withdrawn"]),
        "half_life": facts.half_life,
    }
    request = lineage.ingest_identity(file, versions, base["champion"], options_of(facts.csv), **limits)
    if not _add(facts, steps, "ingest", request):
        return
    examples = str(steps[-1]["result"].get("identity", ""))
    if not steps[-1]["result"].get("trainable"):
        return
    if not _add(facts, steps, "lineage", lineage.lineage_identity(facts.run_id, facts.holder, examples)):
        return
    chosen = steps[-1]["result"]
    model = TrainingRequest.from_json(chosen["training"]).identity(file, examples)
    if not _add(facts, steps, "train", model):
        return
    evaluation = lineage.evaluate_identity(file, examples, model, chosen["champion"], chosen["comparison"])
    if not _add(facts, steps, "evaluate", evaluation) or steps[-1]["result"].get("blessed") is False:
        return
    for name, target in (("register", facts.registry), ("deploy", facts.endpoint)):
        if not _add(facts, steps, name, lineage.publish_identity(name, model, target)):
            return
    _add(facts, steps, "announce", lineage.publish_identity("announce", facts.run_id, facts.registry))


def _add(facts: DynamicFacts, steps: list[dict[str, Any]], name: str, identity: str) -> bool:
    steps.append(_step(facts, name, identity))
    return is_done(steps[-1])


def _step(facts: DynamicFacts, name: str, identity: str) -> dict[str, Any]:
    return step_of(facts.root, name, identity, facts.started, reusable=name in _CACHED, job=facts.job)


def _end(facts: DynamicFacts, claimed: Mapping[str, Any], conclusion: Conclusion) -> Conclusion:
    """Writes an outcome, or a canary under way, into the ledger; a run that was overtaken meanwhile has neither."""
    if conclusion.outcome is None and not conclusion.watched:
        return conclusion
    ledger = Ledger(facts.ledger)
    try:
        if conclusion.outcome is None:
            ledger.watch(facts.run_id, facts.holder, Watch(conclusion.model, conclusion.others))
            return conclusion
        ledger.end(
            facts.run_id,
            int(claimed["claim"]["epoch"]),
            conclusion.outcome,
            model=conclusion.model,
            why=conclusion.why,
            others=conclusion.others,
            bad=conclusion.bad,
        )
    except Overtaken as overtaken:
        return Conclusion("overtaken", why=overtaken.paragraph)
    return conclusion


def _tick(ledger: str) -> None:
    """Starts the run that is due. Where that fails, a schedule repeats it."""
    try:
        headrace("tick", ledger)
    except HeadraceError as error:
        emit("progress", "conclude", f"the next run was not started: {error.paragraph[-500:]}", severity="WARNING")
