"""Drift of spans from a reference, with the thresholds of the Problem."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.components.messages.columns import columns_of
from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.decode import Row
from headrace.components.messages.drift import SpanDrift
from headrace.components.messages.spans import write_span
from headrace.core.problem.file import load_problem

PROBLEM = """
from headrace import Categorical, Monitor, Numeric, Problem

problem = Problem(
    name="natality",
    key="record_id",
    label=Numeric("weight_pounds"),
    features=[Numeric("mother_age"), Categorical("plurality")],
    monitor=Monitor(drift=0.1, minimum_rows=50),
)
"""


def test_a_span_whose_ages_moved_has_drifted(tmp_path: Path, make_config: Callable[..., MessagesConfig]) -> None:
    path = tmp_path / "natality.py"
    path.write_text(PROBLEM)
    config = make_config(columns=columns_of(load_problem(str(path)).problem))
    letter: dict[str, Any] = {"id": "a"}

    def span(minute: int, ages: range) -> str:
        name = f"2026-11-29T12{minute:02d}00Z-60s"
        rows = [Row(name, f"m{n}", [f"r{n}", 7.0, float(age), "1"], letter) for n, age in enumerate(ages)]
        write_span(config, name, rows)
        return config.span_uri(name)

    drift = SpanDrift(str(path), span(0, range(20, 120)))
    assert drift.of(span(1, range(20, 120))) == ""
    assert drift.of(span(2, range(80, 180))).startswith("skew of mother_age: ")
    # Fewer rows than the Problem's minimum raise no alarm.
    assert drift.of(span(3, range(150, 190))) == ""
