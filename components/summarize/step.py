"""Summary of a training run, collected from step records."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.components.summarize.records import is_done, step_of, unfinished
from headrace.components.train.request import TrainingRequest
from headrace.components.tune.identity import search_identity, step_identity
from headrace.core import storage
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.sources.csv_dialect import options_of
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import read_record
from headrace.core.steps.workspace import summary_uri

# Steps with external effects are never cached, nor is the lookup of a name.
_UNCACHED = frozenset({"resolve", "register", "deploy"})


@dataclass(frozen=True)
class RunFacts:
    """Inputs of `component.summarize`, which documents each one."""

    pipeline: str
    run_id: str
    job: str
    started: float
    problem: str
    problem_digest: str
    data: str
    data_version: str
    champion: str
    root: str
    registry: str
    endpoint: str
    training: Mapping[str, Any] = field(default_factory=dict)
    searched: bool = False
    trials: int = 0
    baseline: str = ""
    baseline_version: str = ""
    csv: str = ""
    resolved: bool = False
    execution: str = ""


def run(facts: RunFacts, *, engine_succeeded: bool) -> None:
    """Writes the summary of a run, whether it succeeded, was refused or failed."""
    file = load_problem(facts.problem, digest=facts.problem_digest)
    since = begun(facts.root, facts.run_id, facts.job, facts.started)
    steps = collect(dataclasses.replace(facts, started=since), file)
    measured = (step["result"].get("data_version", "") for step in steps)
    summary = {
        "format": 1,
        "pipeline": facts.pipeline,
        "run_id": facts.run_id,
        "job": facts.job,
        "execution": facts.execution,
        "since": since,
        **verdict(steps, engine_succeeded=engine_succeeded),
        "started": facts.started,
        "finished": ended(facts.started, steps),
        "release": lineage.release(),
        "problem": file.problem.name,
        "problem_file": file.path,
        "problem_digest": facts.problem_digest,
        "data": facts.data,
        "data_version": facts.data_version or next(filter(None, measured), ""),
        **({"baseline": facts.baseline} if facts.baseline else {}),
        **({"csv": options_of(facts.csv)} if facts.csv else {}),
        "root": facts.root,
        "steps": steps,
    }
    storage.write_json(summary_uri(facts.root, facts.run_id), summary)


def begun(root: str, run_id: str, job: str, started: float) -> float:
    """Start of a run, in seconds since 1970: earlier records belong to earlier runs.

    The runs of a schedule share all their parameters, including `started`, the time when the schedule was set. They do
    not overlap: none starts before the run that wrote the last summary has ended.

    Args:
        root: pipeline root, where the run's records are stored.
        run_id: the run's name.
        job: the engine's own name of the run. An exit task that runs again finds its own summary.
        started: parameter of the run.
    """
    uri = summary_uri(root, run_id)
    last = storage.read_json(uri) if storage.exists(uri) else {}
    again = bool(job) and last.get("job") == job
    earliest: float = last.get("since" if again else "finished", 0.0)
    return max(started, earliest)


def ended(started: float, steps: Sequence[Mapping[str, Any]]) -> float:
    """End of a run, in seconds since 1970: now, but not before its start and its steps, if the clock was set back.

    Args:
        started: parameter of the run.
        steps: records, those of earlier runs as `cached`.
    """
    own = (float(step.get("finished", started)) for step in steps if step["status"] in ("succeeded", "failed"))
    return max(time.time(), started, *own)


def verdict(steps: list[dict[str, Any]], *, engine_succeeded: bool) -> dict[str, Any]:
    """The run's status and error, from its steps and the engine's status.

    Returns:
        `status`: succeeded, refused (rejected by the gate, nothing was deployed) or failed; `error`: as
        `HeadraceError.to_json`, or None; `nothing_to_do`: why a run has ended early, only where it has.
    """
    failed = next((step for step in steps if step["status"] == "failed"), None)
    if failed is not None:
        return {"status": "failed", "error": failed["error"]}
    # Steps that ran before and after a change of the code do not belong together.
    engine_succeeded = engine_succeeded and not lineage.code_changed()
    idle = next((step["result"]["nothing_to_do"] for step in steps if step["result"].get("nothing_to_do")), None)
    if engine_succeeded and idle is not None:
        return {"status": "succeeded", "error": None, "nothing_to_do": idle}
    if engine_succeeded and any(step["result"].get("blessed") is False for step in steps):
        return {"status": "refused", "error": None}
    # The engine's status is not enough: a run succeeds only if each step was done.
    if engine_succeeded and all(map(is_done, steps)):
        return {"status": "succeeded", "error": None}
    last = next((step["step"] for step in steps if step["status"] == "skipped"), "the pipeline")
    error = unfinished(last, fix="Run the same command again; finished steps are not repeated")
    return {"status": "failed", "error": error.to_json()}


def collect(facts: RunFacts, file: ProblemFile) -> list[dict[str, Any]]:
    """Each step's record in the pipeline's order, followed from one identity to the next.

    A step that did not run has the status `skipped`; one that was a cache hit has `cached`.
    """
    before, facts = _resolved(facts)
    of_data = functools.partial(
        lineage.preprocess_identity, file, baseline_version=facts.baseline_version, csv=options_of(facts.csv)
    )
    asked = of_data(facts.data_version)
    reached = all(is_done(step) for step in before)
    made = _step(facts, "preprocess", asked, reached=reached)
    # Without a given version, the step has measured the data.
    examples = asked if facts.data_version else of_data(made["result"].get("data_version", ""))
    identities = {}
    maker = "tune" if facts.searched else "train"
    if reached:
        identities[maker], model = _model_of(facts, file, examples)
        identities |= {
            "evaluate": lineage.evaluate_identity(file, examples, model, facts.champion),
            "register": lineage.publish_identity("register", model, facts.registry),
            "deploy": lineage.publish_identity("deploy", model, facts.endpoint),
        }
    steps = [made]
    for name in (maker, "evaluate", "register", "deploy"):
        last = steps[-1]["result"]
        reached = is_done(steps[-1]) and last.get("blessed") is not False and not last.get("nothing_to_do")
        steps.append(_step(facts, name, identities.get(name, ""), reached=reached))
    return [*before, *steps]


def _model_of(facts: RunFacts, file: ProblemFile, examples: str) -> tuple[str, str]:
    """The identity of the step that made the model, and the model's version.

    The version of a search's model is known only when the search has succeeded.
    """
    request = TrainingRequest.from_json(facts.training)
    if not facts.searched:
        version = request.identity(file, examples)
        return version, version
    identity = step_identity(search_identity(file, examples, request), facts.trials, request)
    record = read_record(facts.root, "tune", identity) or {}
    return identity, str(record.get("result", {}).get("model_version", ""))


def _resolved(facts: RunFacts) -> tuple[list[dict[str, Any]], RunFacts]:
    """The step that resolves the inputs, if the pipeline has one; and the facts with its results."""
    if not facts.resolved:
        return [], facts
    start = str(facts.training.get("warm_start", ""))
    identity = lineage.resolve_identity(facts.registry, facts.champion, start, facts.data)
    step = _step(facts, "resolve", identity)
    if not is_done(step):
        return [step], facts
    found = {"champion": facts.champion, "training": facts.training, **step["result"]}
    known = {name: found[name] for name in ("champion", "training", "data_version")}
    return [step], dataclasses.replace(facts, **known)


def _step(facts: RunFacts, name: str, identity: str, *, reached: bool = True) -> dict[str, Any]:
    # Where the run itself measures the data, nothing is reused.
    reusable = name not in _UNCACHED and bool(facts.data_version)
    return step_of(facts.root, name, identity, facts.started, reusable=reusable, reached=reached, job=facts.job)
