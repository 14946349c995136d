"""In-process engine of dynamic training: the steps of the pipeline as calls, with a cache, a clock and kills.

It stands for a pipeline engine, which runs the same steps as tasks: what it does with their outputs is what
`pipelines/dynamic_training.py` says. A kill is an error that no step handles.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.components.announce import step as announce
from headrace.components.claim import step as claim
from headrace.components.evaluate import step as evaluate
from headrace.components.ingest import step as ingest
from headrace.components.lineage import step as lineage
from headrace.components.registry.folder import step as register
from headrace.components.rollout import step as rollout
from headrace.components.summarize.dynamic import step as conclude
from headrace.components.train import step as train
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.pump import Status
from headrace.core.ledger.state import LedgerRun
from headrace.pipelines.dynamic.arguments import arguments_of
from headrace.pipelines.dynamic.settings import DynamicSettings

STEPS = ("claim", "ingest", "lineage", "train", "evaluate", "register", "deploy", "announce", "conclude")


class Killed(BaseException):
    """The engine's process was killed: nothing of it runs any more."""


@dataclass
class Artifact:
    """An output or an input artifact, as an engine passes it."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)
    framework: str = ""

    @property
    def uri(self) -> str:
        return self.path

    def log_metric(self, name: str, value: float) -> None:
        self.metadata[name] = value

    def log_confusion_matrix(self, *_: object) -> None: ...

    def log_roc_curve(self, *_: object) -> None: ...


class InProcessRuns:
    """Runs of steps in this process.

    Args:
        settings: of the dynamic training.
        folder: of the artifacts.
        at: called before and after each step with its name and "before" or "after"; it may raise `Killed`.
    """

    def __init__(
        self, settings: DynamicSettings, folder: Path, at: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._at = at
        self._known: set[str] = set()
        self._cache: dict[str, Any] = {}
        self._count = 0
        self.calls: list[str] = []

    def status(self, run_id: str) -> Status:
        """A run in this process has ended, killed or not, when it is asked about."""
        return "ended" if run_id in self._known else "absent"

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        """Runs all steps."""
        del arrivals
        self._known.add(run.id)
        self.execute(run.id, f"execution of {run.id}", arguments_of(self._settings, run, 0.0))

    def execute(self, run_id: str, holder: str, a: dict[str, Any]) -> None:
        """Runs the steps of an execution of a run, and its exit task."""
        succeeded = True
        try:
            self._steps(run_id, holder, a)
        except SystemExit:
            succeeded = False
        facts = conclude.DynamicFacts(
            pipeline="dynamic-training",
            job="",
            holder=holder,
            **{name: a[name] for name in conclude.DynamicFacts.__dataclass_fields__ if name in a},
        )
        self._at("conclude", "before")
        conclude.run(facts, engine_succeeded=succeeded)
        self._at("conclude", "after")

    def _steps(self, run_id: str, holder: str, a: dict[str, Any]) -> None:
        def do(name: str, call: Callable[[], Any]) -> Any:
            self._at(name, "before")
            self.calls.append(name)
            result = call()
            self._at(name, "after")
            return result

        go, held, arrivals, champion, base, withdrawn, attempt = do(
            "claim",
            lambda: claim.run(
                a["ledger"], run_id, holder, a["registry"], a["root"], a["deadline_hours"], a["training_share"],
                a["canary"], a["name"], a["withdrawn"],
            ),
        )  # fmt: skip
        if not go:
            return
        examples = self._cached(
            do,
            "ingest",
            [arrivals, champion, withdrawn, attempt],
            lambda out: self._ingest({**a, "withdrawn": withdrawn}, arrivals, champion, out),
        )
        if not examples["trainable"]:
            return
        window = Artifact(examples["path"])
        training, champion, comparison = do(
            "lineage",
            lambda: lineage.run(
                a["problem"],
                a["schema_digest"],
                window,
                a["registry"],
                a["root"],
                held,
                champion,
                base,
                a["training"],
                withdrawn,
                a["from_scratch_every"],
                a["challenge"],
            ),
        )
        model = self._cached(
            do,
            "train",
            [window.path, training, attempt],
            lambda out: train.run(a["problem"], a["training_digest"], a["root"], window, Artifact(out), training),
        )
        evaluated = self._cached(
            do,
            "evaluate",
            [window.path, model["path"], champion, comparison, attempt],
            lambda out: evaluate.run(
                a["problem"],
                a["evaluation_digest"],
                a["root"],
                champion,
                window,
                Artifact(model["path"]),
                Artifact(out),
                Artifact(f"{out}-metrics"),
                Artifact(f"{out}-classes"),
                comparison,
            ),
        )
        if not evaluated["result"]:
            return
        registered = do(
            "register",
            lambda: register.run(
                a["registry"], a["root"], Artifact(model["path"]), Artifact(evaluated["path"]), held, False
            ),
        )
        do(
            "deploy",
            lambda: rollout.run(
                registered, a["endpoint"], a["registry"], a["root"], "enforce", held, a["canary"], a["log_share"],
                False, Artifact(self._output("deployment")),
            ),
        )  # fmt: skip
        do(
            "announce",
            lambda: announce.run(a["registry"], a["name"], a["destinations"], a["announced"], a["root"], held),
        )

    def _ingest(self, a: dict[str, Any], arrivals: list[Any], champion: str, output: str) -> bool:
        limits = {name: a[name] for name in ("last_spans", "last_days", "withdrawn", "half_life", "csv")}
        others, resources = self._output("others"), self._output("resources")
        outputs = (Artifact(output), others, resources)
        return ingest.run(a["problem"], a["schema_digest"], arrivals, a["root"], *outputs, baseline=champion, **limits)

    def _cached(self, do: Any, name: str, inputs: list[Any], call: Callable[[str], Any]) -> dict[str, Any]:
        """Runs a step, unless it finished with the same inputs before, as an engine does."""
        key = json.dumps([name, inputs], sort_keys=True)
        if key not in self._cache:
            output = self._output(name)
            shutil.rmtree(output, ignore_errors=True)
            result = do(name, lambda: call(output))
            self._cache[key] = {"path": output, "result": result, "trainable": result}
        return self._cache[key]

    def _output(self, name: str) -> str:
        self._count += 1
        return str(self._folder / f"{name}-{self._count}")
