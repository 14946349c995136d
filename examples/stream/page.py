"""Page of the streaming example: predictions by version, the metric over time, alarms and events, on one time axis."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from shared import LEFT, RIGHT, WIDTH, Event, frame

from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.svg import line_path, picture, tag

_COLORS = ("#4c78a8", "#f58518", "#e45756", "#72b7b2")
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}svg{width:100%;height:auto}text{font-size:12px;fill:#444}
table{border-collapse:collapse}td,th{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid #ddd}
.grid{stroke:#ddd}.event{stroke:#999;stroke-dasharray:3 3}.bound{stroke:#e45756}.big{font-size:1.1rem}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}text{fill:#bbb}.grid{stroke:#333}}
"""


@dataclass(frozen=True)
class Played:
    """What a run of the example did.

    Attributes:
        events: what happened.
        versions: names of versions to readers.
        predictions: time and version of each.
        metrics: metric events.
        alarms: alarm events.
    """

    events: Sequence[Event]
    versions: Mapping[str, str]
    predictions: Sequence[tuple[float, str]]
    metrics: Sequence[Mapping[str, Any]]
    alarms: Sequence[Mapping[str, Any]]

    @property
    def measured(self) -> list[tuple[float, str, float]]:
        """Middle of the window, version and value of each measured window, in the order of time."""
        found = []
        for one in self.metrics:
            value = one["metrics"].get(one["judged"], {}).get("value")
            if value is not None:
                begin, end = (datetime.fromisoformat(one[name]).timestamp() for name in ("begin", "end"))
                found.append(((begin + end) / 2, str(one["version"]), float(value)))
        return sorted(found)

    @property
    def bound(self) -> float | None:
        """The bound of the gate, which the first alarm names."""
        return next((float(alarm["threshold"]) for alarm in self.alarms if alarm["alarm"] == "metric"), None)

    @property
    def recovered(self) -> bool:
        """Whether the metric was above the gate's bound, and is below it in the end."""
        values = [value for _, _, value in self.measured]
        return self.bound is not None and max(values) > self.bound > values[-1] and len(self.versions) > 1


def write_page(path: Path, played: Played) -> Path:
    """Writes the page."""
    begin = min(at for at, _ in played.predictions)
    end = max(at for at, _ in played.predictions)
    x = Scale(0.0, max(1.0, end - begin), LEFT, RIGHT)
    events = sorted(played.events, key=lambda event: event.at)
    values = [value for _, _, value in played.measured]
    summary = (
        "{:,} predictions by {} versions. The error was {:.1f} minutes, {:.1f} at its worst, and {:.1f} in the end."
    )
    rows = (
        Markup("<tr><td>{}</td><td>{:.1f}</td><td>{}</td></tr>").format(number, max(0.0, event.at - begin), event.text)
        for number, event in enumerate(events, 1)
    )
    parts = [
        tag("h1", "Stream scoring: a drift, an alarm, and a version that arrives as an event"),
        Markup('<p class="big">{}</p>').format(
            summary.format(len(played.predictions), len(played.versions), values[0], max(values), values[-1])
        ),
        tag("h2", "Predictions per second by version"),
        _predictions(played, begin, x, events),
        tag("h2", "Root mean squared error of each window, in minutes, from labels that came later"),
        _metric(played, begin, x, events),
        tag("h2", "Events"),
        Markup("<table><tr><th></th><th>s</th><th>event</th></tr>{}</table>").format(Markup("").join(rows)),
        Markup("<p>{}</p>").format(time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))),
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Stream</title><style>{_STYLE}</style>'
    path.write_text(head + "\n".join(map(str, parts)) + "</html>\n")
    return path


def _predictions(played: Played, begin: float, x: Scale, events: Sequence[Event]) -> Markup:
    """Areas of the predictions per second, one version on the other."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for at, version in played.predictions:
        counts[int(at - begin)][version] += 1
    seconds = range(max(counts) + 1)
    y = Scale(0.0, 1.1 * max(sum(each.values()) for each in counts.values()), 250.0, 50.0)
    parts = frame(x, y, begin, events)
    below = [0.0] * len(seconds)
    for at, (version, name) in enumerate(played.versions.items()):
        above = [base + counts[s][version] for base, s in zip(below, seconds, strict=True)]
        middle = [x(s + 0.5) for s in seconds]
        outline = [*zip(middle, map(y, above), strict=True), *reversed([*zip(middle, map(y, below), strict=True)])]
        parts.append(tag("path", d=f"{line_path(outline)}Z", fill=_COLORS[at % 4], fill_opacity=0.75))
        parts += _legend(at, f"{name}: {version[:12]}")
        below = above
    return picture(WIDTH, 275, parts, title="Predictions per second by version")


def _metric(played: Played, begin: float, x: Scale, events: Sequence[Event]) -> Markup:
    """A line per version, and the gate's bound."""
    measured = played.measured
    y = Scale(0.0, 1.1 * max(value for _, _, value in measured), 250.0, 50.0)
    parts = frame(x, y, begin, events)
    if played.bound is not None:
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=y(played.bound), y2=y(played.bound), class_="bound"))
        parts.append(tag("text", "the gate's bound", x=RIGHT, y=y(played.bound) - 4, text_anchor="end"))
    for at, (version, name) in enumerate(played.versions.items()):
        points = [(x(max(0.0, when - begin)), y(value)) for when, of, value in measured if of == version]
        if points:
            parts.append(tag("path", d=line_path(points), fill="none", stroke=_COLORS[at % 4], stroke_width=2))
            parts += [tag("circle", cx=across, cy=down, r=3, fill=_COLORS[at % 4]) for across, down in points]
        parts += _legend(at, name)
    return picture(WIDTH, 275, parts, title="Error of each window")


def _legend(at: int, text: str) -> list[Markup]:
    box = tag("rect", x=LEFT + 220 * at, y=2, width=12, height=12, fill=_COLORS[at % 4])
    return [box, tag("text", text, x=LEFT + 220 * at + 17, y=12)]
