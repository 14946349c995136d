"""Shared by the examples that run for minutes: their folder, commands of headrace, and parts of their pages."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.svg import tag

WIDTH, LEFT, RIGHT = 940.0, 52.0, 920.0
_MARK = ".headrace-example"


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        at: in seconds since the epoch.
        text: what.
    """

    at: float
    text: str


def new_folder(root: Path) -> None:
    """Makes the folder of a run, in the place of that of an earlier one; ends the script if it holds anything else."""
    if root.exists() and not (root / _MARK).exists() and (not root.is_dir() or any(root.iterdir())):
        raise SystemExit(f"{root} is not a folder of an earlier run: remove it, or give another --output")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / _MARK).touch()


def headrace(*arguments: object) -> None:
    """Runs a command of headrace, whose output is shown if it fails."""
    command = [sys.executable, "-m", "headrace.pipelines.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"headrace {' '.join(map(str, arguments))} failed:\n{done.stderr or done.stdout}")


def tensorflow_log(path: Path) -> None:
    """Writes what TensorFlow's C++ code reports on standard error to a file; Python's own errors are still shown."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with path.open("wb") as log:
        os.dup2(log.fileno(), 2)


def frame(x: Scale, y: Scale, begin: float, events: Sequence[Event]) -> list[Markup]:
    """Grid, ticks, and the numbers of events, of a chart over seconds since `begin`."""
    parts = []
    for value, text in y.ticks(5):
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=y(value), y2=y(value), class_="grid"))
        parts.append(tag("text", text, x=LEFT - 6, y=y(value) + 4, text_anchor="end"))
    for value, text in x.ticks(10):
        parts.append(tag("text", f"{text} s", x=x(value), y=268, text_anchor="middle"))
    for number, event in enumerate(events, 1):
        place = x(max(0.0, event.at - begin))
        parts.append(tag("line", x1=place, x2=place, y1=40, y2=250, class_="event"))
        parts.append(tag("text", str(number), x=place, y=36 if number % 2 else 26, text_anchor="middle"))
    return parts


def percentile(ordered: Sequence[float], share: float) -> float:
    """A percentile of ascending values; NaN of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> Markup:
    """A table whose columns of numbers are aligned on the right, by the class `n`."""

    def row(cells: Sequence[str], element: str) -> str:
        return "".join(
            f"<{element}{'' if _is_text(lines, at) else ' class=n'}>{escape(cell)}</{element}>"
            for at, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(line, 'td')}</tr>" for line in lines)
    return Markup(f"<table><tr>{row(header, 'th')}</tr>{body}</table>")  # noqa: S704


def _is_text(lines: Sequence[Sequence[str]], at: int) -> bool:
    return any(not line[at].replace(",", "").replace(".", "").isdigit() for line in lines)
