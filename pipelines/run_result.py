"""Run result: status, metrics and artifacts of a run on this machine, for notebooks and scripts."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.pipelines.local_run import report_path


@dataclass(frozen=True)
class Run:
    """A run that has ended without a failure of a step or the engine.

    Attributes:
        summary: as the run's exit task wrote it: `runs/RUN_ID/summary.json` below the root.
    """

    summary: Mapping[str, Any] = field(repr=False)

    @property
    def run_id(self) -> str:
        """The run's name; the same pipeline, parameters and data have the same."""
        return str(self.summary["run_id"])

    @property
    def pipeline(self) -> str:
        """static-training, tuned-training or batch-scoring."""
        return str(self.summary["pipeline"])

    @property
    def status(self) -> str:
        """succeeded, or refused: the gate rejected the model, and nothing was registered or deployed."""
        return str(self.summary["status"])

    @property
    def steps(self) -> dict[str, Mapping[str, Any]]:
        """The record of each step by its name: status, seconds, outputs and result."""
        return {str(step["step"]): step for step in self.summary["steps"]}

    @property
    def rows(self) -> dict[str, int]:
        """rows_in = rows_out + rows_quarantined, of preprocessing or of scoring."""
        result = self._result("preprocess") or self._result("score")
        return {name: result[name] for name in ("rows_in", "rows_out", "rows_quarantined")}

    @property
    def metrics(self) -> dict[str, float]:
        """The model's metrics on the test split by name; empty for batch scoring. Intervals are in `steps`."""
        measured = self._result("evaluate").get("metrics", {})
        return {name: float(one["value"]) for name, one in measured.items() if one["value"] is not None}

    @property
    def gate(self) -> dict[str, Any] | None:
        """The gate's decision: `blessed`, `reasons` and `checks`; None for batch scoring."""
        result = self._result("evaluate")
        return {name: result[name] for name in ("blessed", "reasons", "checks")} if result else None

    @property
    def examples(self) -> str | None:
        """The folder of the Examples; None for batch scoring."""
        return self._output("preprocess", "examples")

    @property
    def model(self) -> str | None:
        """The Model's folder: in the registry, or the training's output if the gate rejected it."""
        found = (("register", "registered"), ("train", "model"), ("tune", "model"), ("champion", "model"))
        return next((uri for step, name in found if (uri := self._output(step, name))), None)

    @property
    def model_version(self) -> str | None:
        """The Model's version."""
        found = (
            ("register", "version"),
            ("champion", "version"),
            ("train", "model_version"),
            ("tune", "model_version"),
        )
        return next((str(value) for step, name in found if (value := self._result(step).get(name))), None)

    @property
    def endpoint(self) -> str | None:
        """The URL of the endpoint that serves the model; None if nothing was deployed."""
        url = self._result("deploy").get("url")
        return None if url is None else str(url)

    @property
    def predictions(self) -> str | None:
        """The folder of the published Predictions; None for training."""
        return self._output("publish", "published")

    @property
    def report(self) -> str:
        """The path of the report: one HTML page."""
        return report_path(self.summary)

    def __repr__(self) -> str:
        """One fact per line."""
        width = max(len(name) for name, _ in self._facts())
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self._facts())

    def _repr_html_(self) -> str:
        """A table, and a link to the report, for notebooks."""
        link = f'<a href="{html.escape(Path(self.report).absolute().as_uri())}">{html.escape(self.report)}</a>'
        cells = [(name, link if name == "report" else html.escape(value)) for name, value in self._facts()]
        rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in cells)
        return f"<table>{rows}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        rows = self.rows
        kept = f"{rows['rows_in']:,} in = {rows['rows_out']:,} out + {rows['rows_quarantined']:,} quarantined"
        facts = [("run", self.run_id), ("pipeline", self.pipeline), ("status", self.status), ("rows", kept)]
        facts += [(name, f"{value:.4g}") for name, value in self.metrics.items()]
        if self.gate is not None:
            facts.append(("gate", "blessed" if self.gate["blessed"] else "; ".join(self.gate["reasons"])))
        others = ("model", "model_version", "endpoint", "predictions", "report")
        return facts + [(name, value) for name in others if (value := getattr(self, name)) is not None]

    def _result(self, step: str) -> Mapping[str, Any]:
        result: Mapping[str, Any] = self.steps.get(step, {}).get("result", {})
        return result

    def _output(self, step: str, name: str) -> str | None:
        uri = self.steps.get(step, {}).get("outputs", {}).get(name)
        return None if uri is None else str(uri)
