"""Comparison page: two runs side by side, as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from headrace.core import storage
from headrace.pipelines.report import formats
from headrace.pipelines.report.comparison import MetricPair, MetricValue, RunComparison
from headrace.pipelines.report.page import template
from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.svg import picture, tag

_LEFT, _RIGHT, _ROW, _TOP = 250.0, 1090.0, 58.0, 14.0
_APART = {"apart": "intervals apart", "overlap": "intervals overlap", "unknown": formats.ABSENT}


@dataclass(frozen=True)
class _Line:
    name: str
    left: str
    right: str


def write_comparison(comparison: RunComparison, output: str) -> None:
    """Writes the page; equal comparisons give equal bytes.

    Raises:
        UsageError: the file cannot be written.
        PlatformError: the disk is full or failed.
    """
    storage.write_bytes(output, render_comparison(comparison).encode())


def render_comparison(comparison: RunComparison) -> str:
    """The page as HTML."""
    left, right = comparison.left, comparison.right
    facts = [
        _Line("Status", left.status, right.status),
        _Line("Started", formats.moment(left.started), formats.moment(right.started)),
        _Line("Pipeline", left.pipeline, right.pipeline),
        _Line("Data", left.data, right.data),
        _Line("Model version", left.model_version or formats.ABSENT, right.model_version or formats.ABSENT),
    ]
    kinds = (("Options", comparison.options), ("Data", comparison.data), ("Code", comparison.code))
    sections = [
        (
            heading,
            [_Line(d.name, _or_dash(d.left), _or_dash(d.right)) for d in differences],
        )
        for heading, differences in kinds
    ]
    page = template("comparison.html").render(
        problem=" and ".join(dict.fromkeys(name for name in (left.problem, right.problem) if name)) or "Two runs",
        left=left,
        right=right,
        facts=facts,
        metrics=[
            (
                formats.name(pair.name),
                interval(pair.left),
                interval(pair.right),
                difference(pair),
                _APART[pair.intervals],
            )
            for pair in comparison.metrics
        ],
        plot=metrics_plot(comparison.metrics),
        same_rows=comparison.same_rows,
        sections=sections,
        diff=comparison.problem_diff,
        notes=comparison.notes,
    )
    return str(page).rstrip() + "\n"


def interval(measured: MetricValue) -> str:
    """A value and its interval, such as "1.05 (0.98 to 1.13)"."""
    value = formats.significant(measured.value)
    if measured.low is None or measured.high is None:
        return value
    return f"{value} ({formats.significant(measured.low)} to {formats.significant(measured.high)})"


def difference(pair: MetricPair) -> str:
    """Right minus left, with its sign."""
    if pair.difference is None:
        return formats.ABSENT
    return ("+" if pair.difference > 0 else "") + formats.significant(pair.difference)


def metrics_plot(metrics: Sequence[MetricPair]) -> Markup | None:
    """Chart of each metric of both runs with its interval; every metric has its own scale."""
    drawn = [pair for pair in metrics if pair.left.value is not None or pair.right.value is not None]
    if not drawn:
        return None
    parts: list[Markup] = []
    for row, pair in enumerate(drawn):
        sides = (("first", pair.left, -9.0), ("second", pair.right, 9.0))
        middle = _TOP + row * _ROW + 20
        shown = [value for _, side, _ in sides for value in (side.value, side.low, side.high)]
        scale = Scale.over(shown, _LEFT, _RIGHT, padding=0.08)
        parts.append(tag("text", formats.name(pair.name), x=0, y=middle + 5, class_="axis-name"))
        parts.append(tag("line", x1=_LEFT, x2=_RIGHT, y1=middle + 20, y2=middle + 20, class_="gridline"))
        for value, label in scale.ticks(6):
            parts.append(tag("text", label, x=scale(value), y=middle + 34, class_="tick", text_anchor="middle"))
        for name, side, offset in sides:
            parts += _whisker(name, side, scale, middle + offset)
    words = ", ".join(f"{formats.name(p.name)} {interval(p.left)} and {interval(p.right)}" for p in drawn)
    return picture(1120, _TOP + len(drawn) * _ROW + 8, parts, title=f"Metrics of both runs: {words}.")


def _whisker(name: str, measured: MetricValue, scale: Scale, y: float) -> list[Markup]:
    if measured.value is None:
        return []
    parts = []
    if measured.low is not None and measured.high is not None:
        ends = (scale(measured.low), scale(measured.high))
        parts.append(tag("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_=f"interval {name}"))
    hover = tag("title", interval(measured))
    parts.append(tag("circle", hover, cx=scale(measured.value), cy=y, r=5, class_=f"dot {name}"))
    return parts


def _or_dash(value: str | None) -> str:
    return formats.ABSENT if value is None else value
