"""Page of the serving example: requests by version, latency and events over time, the canaries, and the modes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from shared import LEFT, RIGHT, WIDTH, Event, frame, percentile, table
from traffic import Outcome

from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.svg import line_path, picture, tag

_COLORS = ("#4c78a8", "#f58518", "#e45756", "#72b7b2")
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}svg{width:100%;height:auto}text{font-size:12px;fill:#444}
table{border-collapse:collapse}td,th{padding:.25rem .9rem .25rem 0;text-align:left;border-bottom:1px solid #ddd}
td.n,th.n{text-align:right}.grid{stroke:#ddd}.event{stroke:#999;stroke-dasharray:3 3}.big{font-size:1.1rem}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}text{fill:#bbb}.grid{stroke:#333}}
"""


@dataclass(frozen=True)
class Mode:
    """What a mode answered.

    Attributes:
        name: dynamic, static or hybrid.
        requests: number of requests of one row.
        answered: with status 200.
        unknown: with status 404, as their key is not in the table.
        by: number of answers by table and model, where they are told apart.
        seconds: latencies, ascending.
    """

    name: str
    requests: int
    answered: int
    unknown: int
    by: Mapping[str, int]
    seconds: Sequence[float]

    @property
    def text(self) -> str:
        """The mode as a sentence."""
        by = ", ".join(f"{count} by the {name}" for name, count in sorted(self.by.items()))
        return (
            f"{self.name}: {self.answered} of {self.requests} requests answered{f' ({by})' if by else ''},"
            f" {self.unknown} unknown keys, p50 {1000 * percentile(self.seconds, 0.5):.2f} ms"
        )


def write_page(
    path: Path,
    outcomes: Sequence[Outcome],
    events: Sequence[Event],
    canaries: Sequence[tuple[str, str, Sequence[str]]],
    modes: Sequence[Mode],
) -> Path:
    """Writes the page.

    Args:
        path: of the page.
        outcomes: of all requests to the endpoint.
        events: of the endpoint.
        canaries: of each, its name, how it ended, and why.
        modes: of the other servers.
    """
    begin = min(outcome.at for outcome in outcomes)
    end = max(outcome.at for outcome in outcomes)
    failed = sum(outcome.status != 200 for outcome in outcomes)
    versions = list(dict.fromkeys(outcome.version for outcome in outcomes if outcome.version))
    x = Scale(0.0, max(1.0, end - begin), LEFT, RIGHT)
    ordered = sorted(events, key=lambda event: event.at)
    latencies = sorted(outcome.seconds for outcome in outcomes)
    parts = [
        tag("h1", "Serving: an endpoint under load"),
        Markup('<p class="big">{:,} requests, <b>{:,} failed</b>, p50 {:.1f} ms, p99 {:.1f} ms</p>').format(
            len(outcomes), failed, 1000 * percentile(latencies, 0.5), 1000 * percentile(latencies, 0.99)
        ),
        tag("h2", "Requests per second by version"),
        _requests(outcomes, versions, begin, x, ordered),
        tag("h2", "Latency per second, from when a request was due"),
        _latencies(outcomes, begin, x, ordered),
        tag("h2", "Events"),
        table(("", "s", "event"), [(str(n), f"{e.at - begin:.1f}", e.text) for n, e in enumerate(ordered, 1)]),
        tag("h2", "Canaries"),
        *(
            Markup("<p><b>{}: {}</b></p><ul>{}</ul>").format(
                name, outcome, Markup("").join(Markup("<li>{}</li>").format(reason) for reason in reasons)
            )
            for name, outcome, reasons in canaries
        ),
        tag("h2", "Modes: 600 requests of one row, every other one of a row without a stored prediction"),
        table(
            ("mode", "answered", "by table", "by model", "unknown keys", "p50 ms", "p99 ms"),
            [
                (
                    mode.name,
                    f"{mode.answered:,}",
                    f"{mode.answered if mode.name == 'static' else mode.by.get('table', 0):,}",
                    f"{mode.answered if mode.name == 'dynamic' else mode.by.get('model', 0):,}",
                    f"{mode.unknown:,}",
                    f"{1000 * percentile(mode.seconds, 0.5):.2f}",
                    f"{1000 * percentile(mode.seconds, 0.99):.2f}",
                )
                for mode in modes
            ],
        ),
        Markup("<p>{}</p>").format(time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))),
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Serving</title><style>{_STYLE}</style>'
    path.write_text(head + "\n".join(map(str, parts)) + "</html>\n")
    return path


def _requests(
    outcomes: Sequence[Outcome], versions: Sequence[str], begin: float, x: Scale, events: Sequence[Event]
) -> Markup:
    """Areas of the requests per second, one version on the other."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        counts[int(outcome.at - begin)][outcome.version] += 1
    seconds = range(max(counts) + 1)
    most = max(sum(each.values()) for each in counts.values())
    y = Scale(0.0, 1.1 * most, 250.0, 50.0)
    parts = frame(x, y, begin, events)
    below = [0.0] * len(seconds)
    for at, version in enumerate(versions):
        above = [base + counts[s][version] for base, s in zip(below, seconds, strict=True)]
        middle = [x(s + 0.5) for s in seconds]
        path = line_path(
            [*zip(middle, map(y, above), strict=True), *reversed([*zip(middle, map(y, below), strict=True)])]
        )
        color = _COLORS[at % len(_COLORS)]
        parts.append(tag("path", d=f"{path}Z", fill=color, fill_opacity=0.75))
        parts.append(tag("rect", x=LEFT + 150 * at, y=2, width=12, height=12, fill=color))
        parts.append(tag("text", f"version {at + 1}: {version[:12]}", x=LEFT + 150 * at + 17, y=12))
        below = above
    return picture(WIDTH, 275, parts, title="Requests per second by version")


def _latencies(outcomes: Sequence[Outcome], begin: float, x: Scale, events: Sequence[Event]) -> Markup:
    """Lines of the median and the 99th percentile per second, on a logarithmic axis."""
    found: dict[int, list[float]] = defaultdict(list)
    for outcome in outcomes:
        found[int(outcome.at - begin)].append(1000 * outcome.seconds)
    lines = {
        name: [(s, percentile(sorted(values), share)) for s, values in sorted(found.items())]
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    low = min(value for line in lines.values() for _, value in line)
    high = max(value for line in lines.values() for _, value in line)
    y = Scale(0.8 * max(low, 0.01), 1.5 * high, 250.0, 50.0, logarithmic=True)
    parts = frame(x, y, begin, events)
    for at, (name, line) in enumerate(lines.items()):
        points = [(x(s + 0.5), y(value)) for s, value in line]
        parts.append(tag("path", d=line_path(points), fill="none", stroke=_COLORS[2 * at], stroke_width=2))
        parts.append(tag("rect", x=LEFT + 150 * at, y=2, width=12, height=12, fill=_COLORS[2 * at]))
        parts.append(tag("text", f"{name}, ms", x=LEFT + 150 * at + 17, y=12))
    return picture(WIDTH, 275, parts, title="Latency per second")
