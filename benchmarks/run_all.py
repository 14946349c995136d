"""What `make bench` runs: every benchmark here, and then docs/performance.md and its plots from what they measured."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import process_usage

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
_INTRODUCTION = f"""# Performance

Each benchmark runs ours and the peer in turn, on the same data and the same machine, and fails when a ratio falls
under its floor. `make bench` runs them all and writes what is below; trust the ratios, not the absolute figures.

TFX runs as its own examples do. `benchmarks/static_local.py --tuned` spares it two things that they do not: building
its wheel of the user's functions, and converting `tf_keras` by AutoGraph. It prints the same table.

{BEGIN}
{END}
"""
_OUTSIDE = "outside the steps"
# The same work has the same colour on both sides; anything else is grey.
_PHASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "data": (
        "#4c78a8",
        ("preprocess", "CsvExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform"),
    ),
    "training": ("#f58518", ("train", "Trainer")),
    "evaluation": ("#54a24b", ("evaluate", "Evaluator")),
    "publishing": ("#b279a2", ("register", "deploy", "Pusher")),
    _OUTSIDE: ("#bab0ac", ("import", _OUTSIDE)),
}


def main() -> int:
    """Runs the benchmarks; the exit status is the greatest of theirs."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Options not listed here are given to every benchmark: see their --help."
    )
    parser.add_argument(
        "--docs", type=Path, default=process_usage.REPOSITORY / "docs", help="where to write (default: docs)"
    )
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="run this benchmark alone; the page keeps what it has of others"
    )
    arguments, options = parser.parse_known_args()
    status = 0
    results = []
    scripts = [script for script in benchmarks() if arguments.only is None or script.stem in arguments.only]
    unknown = set(arguments.only or []) - {script.stem for script in scripts}
    if unknown:
        parser.error(f"--only: expected {', '.join(script.stem for script in benchmarks())}, got {min(unknown)}")
    for script in scripts:
        kept = common.result_file(script.stem)
        kept.unlink(missing_ok=True)
        print(f"== {script.name}", flush=True)
        done = subprocess.run([sys.executable, str(script), *options], check=False)
        status = max(status, done.returncode, 0 if kept.exists() else 2)
        if kept.exists():
            results.append(json.loads(kept.read_text()))
    write_page(arguments.docs, results, whole=arguments.only is None)
    return status


def benchmarks() -> list[Path]:
    """The scripts beside this one that have a `main`, by name."""
    scripts = sorted(common.BENCHMARKS.glob("*.py"))
    return [script for script in scripts if script != Path(__file__).resolve() and "\ndef main(" in script.read_text()]


def write_page(docs: Path, results: Sequence[Mapping[str, Any]], *, whole: bool = True) -> None:
    """Writes docs/performance.md, of which only what is between the markers is touched, and the plots.

    Args:
        docs: the folder of the page.
        results: what benchmarks kept.
        whole: whether these are all there are to show; else the sections of others stay, all in the order of names.
    """
    page = docs / "performance.md"
    text = page.read_text() if page.exists() else _INTRODUCTION
    before, begin, rest = text.partition(BEGIN)
    kept, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: expected the lines {BEGIN} and {END}")
    sections: dict[str, str] = {}
    for section in [] if whole else ("\n" + kept.strip()).split("\n## ")[1:]:
        sections[section.splitlines()[0]] = f"## {section.strip()}"
    for result in results:
        sections[result["benchmark"]] = "\n\n".join([_section(result), *_plots(docs, result)])
    docs.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join([before + BEGIN, *(sections[name] for name in sorted(sections)), END + after]))


def _plots(docs: Path, result: Mapping[str, Any]) -> list[str]:
    """Draws what there is to draw of a result, and returns the lines that show it."""
    name = f"performance/{result['benchmark']}.svg"
    if result["details"].get("steps"):
        plot_steps(docs / name, result["details"]["wall_seconds"], result["details"]["steps"])
        return [f"![Wall time by step]({name})"]
    if result["details"].get("points"):
        plot_growth(docs / name, result["details"]["points"])
        return [f"![Time and memory by rows]({name})"]
    if result["details"].get("throughput"):
        plot_throughput(docs / name, result["details"]["throughput"])
        return [f"![Throughput by rows of a call]({name})"]
    return []


def _section(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    measured_on = (
        f"`benchmarks/{result['benchmark']}.py`, {machine['date']}: {machine['processor']}, {machine['cores']} cores,"
        f" {machine['memory']}, {machine['system']}, Python {machine['python']}."
    )
    lines = [f"## {result['benchmark']}", "", measured_on]
    missing = result["details"].get("missing")
    # Benchmarks of several peers have a table of those that are missing.
    if missing and isinstance(missing, str):
        lines += ["", f"**{missing.splitlines()[0]}**"]
    for table in result["tables"]:
        lines += ["", f"**{table['title']}**", ""]
        lines += ["| " + " | ".join(table["header"]) + " |", "|---|" + "---:|" * (len(table["header"]) - 1)]
        lines += ["| " + " | ".join(line) + " |" for line in table["lines"]]
    if result["ratios"]:
        lines += ["", "| ratio | measured | floor | aim |", "|---|---:|---:|---:|"]
    for name, ratio in result["ratios"].items():
        measured = "peer missing" if ratio["ratio"] is None else f"{ratio['ratio']:.2f}"
        lines.append(f"| {name} | {measured} | {ratio['floor']} | {ratio['aim']} |")
    return "\n".join(lines)


def plot_steps(path: Path, wall: Mapping[str, float], steps: Mapping[str, Mapping[str, float]]) -> None:
    """Draws wall time as one bar for each side, cut into its steps.

    Args:
        path: an SVG file.
        wall: seconds in all, by side.
        steps: seconds by step, by side; what they leave of the wall time is drawn at the end.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(9, 0.9 + 0.75 * len(steps)), layout="constrained")
    axes = figure.subplots()
    longest = max(wall.values())
    for row, (side, taken) in enumerate(steps.items()):
        left = 0.0
        pieces = {**taken, _OUTSIDE: max(0.0, wall[side] - sum(taken.values()))}
        for step, seconds in pieces.items():
            axes.barh(row, seconds, left=left, height=0.6, color=_colour(step), edgecolor="white", linewidth=0.8)
            # A name that is wider than its piece would run into the next.
            if seconds / longest > 0.0065 * len(step) and step != _OUTSIDE:
                axes.text(left + seconds / 2, row, f"{step}\n{seconds:.1f}", ha="center", va="center", fontsize=7)
            left += seconds
        axes.text(left + longest * 0.008, row, f"{wall[side]:.0f} s", va="center", fontsize=9, fontweight="bold")
    axes.set_yticks(range(len(steps)), list(steps))
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.07)
    axes.set_xlabel("wall time, s")
    axes.spines[["top", "right"]].set_visible(False)
    legend = [Patch(color=colour, label=phase) for phase, (colour, _) in _PHASES.items()]
    figure.legend(handles=legend, loc="outside upper center", ncols=len(legend), fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither a date nor random ids: the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "headrace"}):
        FigureCanvasSVG(figure).print_figure(path, format="svg", metadata={"Date": None})


def plot_growth(path: Path, points: Sequence[Mapping[str, float]]) -> None:
    """Draws seconds and peak memory against rows.

    Args:
        path: an SVG file.
        points: "rows", "seconds", "cpu" (seconds) and "peak" (bytes) of each run.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    time, memory = figure.subplots(1, 2)
    rows = [point["rows"] for point in points]
    for name, what, colour in (("seconds", "on the wall", "#4c78a8"), ("cpu", "of the processor", "#54a24b")):
        time.loglog(rows, [point[name] for point in points], marker="o", label=what, color=colour)
    time.set_ylabel("seconds")
    time.legend(frameon=False)
    memory.semilogx(rows, [point["peak"] / 1e6 for point in points], marker="o", color="#f58518")
    memory.set_ylabel("peak memory, MB")
    memory.set_ylim(bottom=0)
    for axes in (time, memory):
        axes.set_xlabel("rows")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither a date nor random ids: the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "headrace"}):
        FigureCanvasSVG(figure).print_figure(path, format="svg", metadata={"Date": None})


def plot_throughput(path: Path, points: Sequence[Mapping[str, float]]) -> None:
    """Draws the model's throughput against the size of its micro-batches.

    Args:
        path: an SVG file.
        points: "batch" (rows of a call) and "rate" (rows a second) of each.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.loglog([p["batch"] for p in points], [p["rate"] for p in points], marker="o", color="#4c78a8", base=10)
    for point in points:
        axes.annotate(
            f"{point['rate']:,.0f}",
            (point["batch"], point["rate"]),
            textcoords="offset points",
            xytext=(0, 7),
            ha="center",
            fontsize=7,
        )
    axes.set_xticks([p["batch"] for p in points], [f"{p['batch']:,.0f}" for p in points])
    axes.minorticks_off()
    axes.margins(y=0.15)
    axes.set_xlabel("rows of a call (micro-batch)")
    axes.set_ylabel("rows per CPU second")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither a date nor random ids: the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "headrace"}):
        FigureCanvasSVG(figure).print_figure(path, format="svg", metadata={"Date": None})


def _colour(step: str) -> str:
    return next((colour for colour, steps in _PHASES.values() if step in steps), "#d9d9d9")


if __name__ == "__main__":
    sys.exit(main())
