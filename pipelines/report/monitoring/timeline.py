"""Timeline chart: values of windows over time, with thresholds and confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from headrace.pipelines.report.charts import Plot
from headrace.pipelines.report.formats import significant
from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.svg import line_path, tag

_DAY = 86_400.0
_TICKS = 6


@dataclass(frozen=True)
class TimedValue:
    """A value of a window.

    Attributes:
        at: begin of the window, in seconds since 1970; its number where there are no times.
        value: None where it is not defined.
        low, high: ends of its confidence interval; None without.
        alarm: whether it is one.
    """

    at: float
    value: float | None
    low: float | None = None
    high: float | None = None
    alarm: bool = False


@dataclass(frozen=True)
class Series:
    """A line of values, drawn in the style `css`: eval or train."""

    name: str
    css: str
    values: Sequence[TimedValue]


def timeline(
    series: Sequence[Series], thresholds: Sequence[tuple[str, float]], *, y_name: str, title: str, timed: bool = True
) -> Markup | None:
    """Lines over time; None without a value.

    Args:
        series: lines, the most important one first.
        thresholds: name and value of horizontal lines.
        y_name: of the vertical axis.
        title: the text alternative.
        timed: whether windows have times; otherwise they are numbered.
    """
    drawn = [each for line in series for each in line.values if each.value is not None]
    if not drawn:
        return None
    width, height, left, right, top, bottom = 560.0, 220.0, 52.0, 470.0, 28.0, 172.0
    shown = [v for each in drawn for v in (each.value, each.low, each.high)] + [value for _, value in thresholds]
    y = Scale.over([0.0, *shown] if min(v for v in shown if v is not None) >= 0 else shown, bottom, top)
    times = [each.at for line in series for each in line.values]
    first, last = min(times), max(times)
    spread = last - first or (_DAY if timed else 1.0)
    x = Scale(first - 0.02 * spread, last + 0.02 * spread, left, right)
    plot = Plot(x, y, width, height, "Begin of the window, UTC" if timed else "Window", y_name)
    parts = plot.frame(x_ticks=_dates(sorted(set(times)), spread) if timed else [(first, str(int(first)))])
    labels: list[tuple[float, str, str]] = []
    for name, value in thresholds:
        parts.append(tag("line", x1=left, x2=right, y1=y(value), y2=y(value), class_="marker"))
        labels.append((y(value), name, "note"))
    for line in reversed(series):
        parts += _line(line, x, y)
        ends = [each.value for each in line.values if each.value is not None]
        if ends:
            labels.append((y(ends[-1]), line.name, f"series {line.css}"))
    parts += [tag("text", name, x=right + 8, y=place + 4, class_=css) for place, name, css in _apart(labels)]
    return plot.draw(parts, title=title)


def _line(line: Series, x: Scale, y: Scale) -> list[Markup]:
    parts = []
    run: list[tuple[float, float]] = []
    runs = [run]
    for each in line.values:
        if each.value is None:
            run = []
            runs.append(run)
        else:
            run.append((x(each.at), y(each.value)))
    parts += [tag("path", d=line_path(places), class_=f"line {line.css}") for places in runs if len(places) > 1]
    for each in line.values:
        if each.value is None:
            continue
        place = x(each.at)
        if each.low is not None and each.high is not None:
            parts.append(tag("line", x1=place, x2=place, y1=y(each.low), y2=y(each.high), class_="interval first"))
        hover = tag("title", f"{line.name}: {significant(each.value)}{', alarm' if each.alarm else ''}")
        css = "point eval ringed" if each.alarm else f"point {line.css}"
        parts.append(tag("circle", hover, cx=place, cy=y(each.value), r=5 if each.alarm else 2.6, class_=css))
    return parts


def _dates(times: Sequence[float], spread: float) -> list[tuple[float, str]]:
    chosen = times[:: max(1, -(-len(times) // _TICKS))]
    form = "%b %-d" if spread >= 2 * _DAY else "%b %-d %H:%M"
    return [(at, datetime.fromtimestamp(at, UTC).strftime(form)) for at in chosen]


def _apart(labels: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Separates labels that are close together."""
    placed: list[tuple[float, str, str]] = []
    for place, name, css in sorted(labels):
        below = placed[-1][0] + 15.0 if placed else place
        placed.append((max(place, below), name, css))
    return placed
