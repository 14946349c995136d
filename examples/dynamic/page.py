"""Page of the dynamic training example: error, versions that answered and latency by day, runs, alarms and costs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from shared import LEFT, RIGHT, WIDTH, percentile, table
from traffic import Outcome

from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.svg import line_path, picture, tag

_COLORS = ("#4c78a8", "#f58518", "#72b7b2", "#e45756", "#54a24b", "#b279a2", "#eeca3b", "#9d755d", "#bab0ac")
_OUTCOMES = {
    "promoted": "#54a24b",
    "kept": "#9d9d9d",
    "quarantined": "#e45756",
    "alarm": "#f58518",
    "withdrawn": "#b279a2",
}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}svg{width:100%;height:auto}text{font-size:12px;fill:#444}
table{border-collapse:collapse}td,th{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid #ddd;
vertical-align:top}td.n,th.n{text-align:right}.grid{stroke:#ddd}.big{font-size:1.1rem}
i{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.5em}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}text{fill:#bbb}.grid,td,th{stroke:#333;border-color:#333}}
"""


@dataclass(frozen=True)
class Happening:
    """Something that happened.

    Attributes:
        day: of January.
        at: in seconds since the epoch.
        text: what.
        outcome: of a run, "alarm", or "" for none of them.
    """

    day: int
    at: float
    text: str
    outcome: str = ""


@dataclass(frozen=True)
class Run:
    """A run of the pipeline.

    Attributes:
        day: of January.
        seconds: of its duration.
        cpu: in seconds, of its processes.
        status: of its summary.
        outcome: of its summary.
        model: version that it trained; "" for none.
    """

    day: int
    seconds: float
    cpu: float
    status: str
    outcome: str
    model: str


@dataclass(frozen=True)
class Played:
    """The days that were played.

    Attributes:
        days: of January.
        began: time of each day's begin, in seconds since the epoch.
        outcomes: of all requests.
        champions: version at the begin of each day.
        metrics: error by day, in minutes, of the first champion, "static", and of the champion of the day, "dynamic".
        runs: of the pipeline.
        statuses: of each version in the registry.
    """

    days: Sequence[int]
    began: Mapping[int, float]
    outcomes: Sequence[Outcome]
    champions: Mapping[int, str]
    metrics: Mapping[str, Mapping[int, float]]
    runs: Sequence[Run]
    statuses: Mapping[str, str]


def write_page(path: Path, played: Played, happenings: Sequence[Happening]) -> Path:
    """Writes the page.

    Args:
        path: of the page.
        played: what happened to requests, models and runs.
        happenings: in the order of time.
    """
    failed = sum(outcome.status != 200 for outcome in played.outcomes)
    promoted = sum(run.outcome == "promoted" for run in played.runs)
    static, dynamic = (list(played.metrics[kind].values()) for kind in ("static", "dynamic"))
    days = len(played.days)
    first, later = played.runs[0], played.runs[1:]
    latencies = sorted(1000 * outcome.seconds for outcome in played.outcomes)
    parts = [
        tag("h1", f"Dynamic training: {days} days of flights, one model that stays right"),
        Markup(
            '<p class="big">{:,} requests, <b>{:,} failed</b>, p50 {:.1f} ms, p99 {:.1f} ms. '
            "{:,} runs, {:,} promotions.</p>"
        ).format(
            len(played.outcomes),
            failed,
            *(percentile(latencies, share) for share in (0.5, 0.99)),
            len(played.runs),
            promoted,
        ),
        tag("h2", "Root mean squared error of each day's flights, in minutes"),
        _errors(played),
        tag("h2", "Requests by version that answered, by day; dots: outcomes of the day's runs, and alarms"),
        _requests(played, happenings),
        tag("h2", "Latency by day in milliseconds, from when a request was due; a run trains on the same cores"),
        _latencies(played),
        tag("h2", "What happened"),
        _happenings(happenings),
        tag("h2", "Static beside dynamic"),
        table(
            ("", "mean error, minutes", "worst day", "runs", "CPU seconds"),
            [
                ("static: trained once", *_figures(static), "1", f"{first.cpu:.0f}"),
                (
                    "dynamic: trained again as data arrives",
                    *_figures(dynamic),
                    str(len(played.runs)),
                    f"{first.cpu + sum(run.cpu for run in later):.0f}",
                ),
            ],
        ),
        tag("h2", "Runs"),
        table(
            ("January", "outcome", "model", "state in the registry", "seconds", "CPU seconds"),
            [
                (
                    str(run.day),
                    run.outcome or run.status,
                    run.model[:12],
                    played.statuses.get(run.model, ""),
                    f"{run.seconds:.0f}",
                    f"{run.cpu:.0f}",
                )
                for run in played.runs
            ],
        ),
        Markup("<p>{}</p>").format(time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(happenings[-1].at))),
    ]
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Dynamic training</title><style>{_STYLE}</style>'
    )
    path.write_text(head + "\n".join(map(str, parts)) + "</html>\n")
    return path


def _figures(errors: Sequence[float]) -> tuple[str, str]:
    return f"{sum(errors) / len(errors):.1f}", f"{max(errors):.1f}"


def _errors(played: Played) -> Markup:
    """Lines of the static and the dynamic model's error by day."""
    x = _days(played)
    values = [value for line in played.metrics.values() for value in line.values()]
    y = Scale(0.0, 1.15 * max(values), 250.0, 30.0)
    return picture(WIDTH, 275, [*_frame(x, y, played), *_lines(x, y, played.metrics)], title="Error by day")


def _lines(x: Scale, y: Scale, lines: Mapping[str, Mapping[int, float]]) -> list[Markup]:
    """Lines of values by day, with their names."""
    parts = []
    for at, (name, line) in enumerate(lines.items()):
        points = [(x(day + 0.5), y(value)) for day, value in line.items()]
        parts.append(tag("path", d=line_path(points), fill="none", stroke=_COLORS[at], stroke_width=2.5))
        parts += [tag("circle", cx=px, cy=py, r=3.5, fill=_COLORS[at]) for px, py in points]
        parts.append(tag("rect", x=LEFT + 150 * at, y=2, width=12, height=12, fill=_COLORS[at]))
        parts.append(tag("text", name, x=LEFT + 150 * at + 17, y=12))
    return parts


def _requests(played: Played, happenings: Sequence[Happening]) -> Markup:
    """Bars of the requests of each day, one version on the other."""
    counts = {day: Counter(outcome.version for outcome in outcomes) for day, outcomes in _by_day(played).items()}
    versions = list(dict.fromkeys(outcome.version for outcome in played.outcomes))
    x = _days(played)
    y = Scale(0.0, 1.0, 250.0, 30.0)
    parts = _frame(x, y, played, percent=True)
    for day, by_version in counts.items():
        low, all_of_day = 0.0, max(1, by_version.total())
        for at, version in enumerate(versions):
            if by_version[version]:
                high = low + by_version[version] / all_of_day
                color = _COLORS[at % len(_COLORS)] if version else "#000"
                left, right = x(day + 0.12), x(day + 0.88)
                parts.append(tag("rect", x=left, y=y(high), width=right - left, height=y(low) - y(high), fill=color))
                if high - low > 0.12:
                    name, middle = version[:6] or "none", (left + right) / 2
                    parts.append(tag("text", name, x=middle, y=y((low + high) / 2), text_anchor="middle"))
                low = high
    for day in played.days:
        dots = [_OUTCOMES[h.outcome] for h in happenings if h.day == day and h.outcome in _OUTCOMES]
        parts += [
            tag("circle", cx=x(day + 0.5) + 12 * n - 6 * len(dots) + 6, cy=20, r=5, fill=c) for n, c in enumerate(dots)
        ]
    for at, (name, color) in enumerate(_OUTCOMES.items()):
        parts.append(tag("circle", cx=LEFT + 110 * at + 6, cy=6, r=5, fill=color))
        parts.append(tag("text", name, x=LEFT + 110 * at + 16, y=10))
    return picture(WIDTH, 275, parts, title="Requests by version and day")


def _latencies(played: Played) -> Markup:
    """Lines of the median and the 99th percentile of each day, on a logarithmic axis."""
    days = {day: sorted(1000 * outcome.seconds for outcome in outcomes) for day, outcomes in _by_day(played).items()}
    lines = {
        name: {day: percentile(found, share) for day, found in days.items() if found}
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    values = [value for line in lines.values() for value in line.values()]
    x, y = _days(played), Scale(0.8 * min(values), 1.5 * max(values), 250.0, 30.0, logarithmic=True)
    return picture(WIDTH, 275, [*_frame(x, y, played), *_lines(x, y, lines)], title="Latency by day")


def _by_day(played: Played) -> dict[int, list[Outcome]]:
    """The requests that were answered on each day."""
    found: dict[int, list[Outcome]] = {day: [] for day in played.days}
    ordered = sorted(played.began.items())
    for outcome in played.outcomes:
        found[max((day for day, began in ordered if began <= outcome.at), default=played.days[0])].append(outcome)
    return found


def _happenings(happenings: Sequence[Happening]) -> Markup:
    lines = Markup("").join(
        Markup("<tr><td class=n>January {}</td><td>{}{}</td></tr>").format(
            happening.day,
            Markup('<i style="background:{}"></i>').format(_OUTCOMES.get(happening.outcome, "#ccc")),
            happening.text,
        )
        for happening in happenings
    )
    return Markup("<table>{}</table>").format(lines)


def _days(played: Played) -> Scale:
    return Scale(float(played.days[0]), float(played.days[-1] + 1), LEFT, RIGHT)


def _frame(x: Scale, y: Scale, played: Played, *, percent: bool = False) -> list[Markup]:
    """Grid, ticks, and the days."""
    parts = []
    for value, text in y.ticks(5):
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=y(value), y2=y(value), class_="grid"))
        label = f"{100 * value:.0f} %" if percent else text
        parts.append(tag("text", label, x=LEFT - 6, y=y(value) + 4, text_anchor="end"))
    parts += [tag("text", str(day), x=x(day + 0.5), y=268, text_anchor="middle") for day in played.days]
    return parts
