"""Console output of a run: each step while it runs, and the summary at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from headrace.core.errors import HeadraceError
from headrace.core.text import counted
from headrace.pipelines.training_lines import training_lines

# Without a terminal, minimum seconds between two progress lines of a step.
_SECONDS_BETWEEN_LINES = 5.0

# Maximum reasons of a refusal in the summary; the report has them all.
_REASONS_SHOWN = 8

_MARKS = {
    "succeeded": ("✓", "green"),
    "cached": ("✓", "cyan"),
    "failed": ("✗", "red"),
    "skipped": ("·", "dim"),
    "refused": ("✗", "yellow"),
}


class Display(Protocol):
    """Shows the events of a run's steps as they happen."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *unused: object) -> None: ...

    def __call__(self, event: dict[str, Any]) -> None:
        """Shows one event, as of `platforms.local.Listener`."""


def display(console: Console, steps: tuple[str, ...]) -> Display:
    """A live table on a terminal, plain lines elsewhere."""
    return _LiveDisplay(console, steps) if console.is_terminal else _LineDisplay(console)


class _LineDisplay:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = 0.0

    def __enter__(self) -> _LineDisplay:
        return self

    def __exit__(self, *unused: object) -> None:
        return None

    def __call__(self, event: dict[str, Any]) -> None:
        now = time.monotonic()
        kind = event["event"]
        if kind == "progress" and now - self._last_line < _SECONDS_BETWEEN_LINES and not event.get("lasting"):
            return
        self._last_line = now
        text = {
            "started": "...",
            "progress": f"... {event['message']}",
            "cached": "already done, cached",
        }.get(kind) or _finished(event)
        self._console.print(f"{event['step']:<11} {text}", highlight=False, markup=False, soft_wrap=True)


class _LiveDisplay:
    def __init__(self, console: Console, steps: tuple[str, ...]) -> None:
        self._rows: dict[str, tuple[str, str, float | None]] = dict.fromkeys(steps, ("waiting", "", None))
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console,
            get_renderable=self._table,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> _LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._live.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        step, kind = event["step"], event["event"]
        if step not in self._rows:
            return
        _, _, started = self._rows[step]
        if kind == "started":
            self._rows[step] = ("running", "", time.monotonic())
        elif kind == "progress":
            self._rows[step] = ("running", event["message"], started)
        elif kind == "cached":
            self._rows[step] = ("cached", "already done, cached", None)
        else:
            self._rows[step] = (event["record"]["status"], _finished(event), None)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for step, (status, message, started) in self._rows.items():
            mark: Any = self._spinner
            if status != "running":
                symbol, style = _MARKS.get(status, ("·", "dim"))
                mark = Text(symbol, style=style)
            elif started is not None:
                message = f"{time.monotonic() - started:.0f} s   {message}"
            table.add_row(mark, Text(step, style="bold" if status == "running" else ""), Text(message))
        return table


def _finished(event: dict[str, Any]) -> str:
    record = event["record"]
    if record["status"] in ("failed", "cancelled"):
        return f"{record['status']} after {record['seconds']:.1f} s"
    return f"{record['seconds']:5.1f} s   {headline(record)}".rstrip()


def headline(record: dict[str, Any]) -> str:
    """The result of a step, in a few words."""
    result = record["result"]
    if not result:
        # Of a task on another platform only the status is known.
        return ""
    match record["step"]:
        case "preprocess":
            left = f"{result['rows_out']:,} out, {result['rows_quarantined']:,} quarantined"
            return f"{counted(result['rows_in'], 'row')} in, {left}"
        case "claim":
            return "overtaken" if "overtaken" in result else f"epoch {result['claim']['epoch']}"
        case "ingest":
            bad = f", {counted(len(result['quarantined']), 'span')} quarantined" if result["quarantined"] else ""
            return f"window of {counted(len(result['spans']), 'span')}, {counted(result['rows_out'], 'row')}{bad}"
        case "lineage":
            return str(result["start"]["why"])
        case "announce":
            missed = f", {len(result['failed'])} failed" if result["failed"] else ""
            return f"epoch {result['epoch']}, {counted(len(result['sent']), 'destination')}{missed}"
        case "train":
            done = f"{counted(result['epochs'], 'epoch')}, {counted(result['steps'], 'step')}"
            return f"{done}, eval loss {result['eval_loss']:.4g}"
        case "tune":
            ended = ", ".join(f"{count} {state}" for state, count in result["trials"].items() if count)
            return f"{ended} trials, the best is {result['trial']}, eval loss {result['eval_loss']:.4g}"
        case "evaluate":
            return f"{'blessed' if result['blessed'] else 'refused'}, on {counted(result['rows'], 'test row')}"
        case "monitor":
            return f"{counted(result['rows'], 'row')}, {counted(result['alarms'], 'alarm')}"
        case "champion":
            return f"version {result['version']}"
        case "score":
            made = f"{result['rows_out']:,} predictions, {result['rows_quarantined']:,} quarantined"
            return f"{counted(result['rows_in'], 'row')} in, {made}; {result['approach']}"
        case "check":
            return f"{counted(result['files'], 'file')} and {counted(result['rows'], 'row')} match the manifest"
        case "publish":
            return str(result["published"])
        case "register":
            champion = result["aliases"].get("champion") == result["version"]
            return f"version {result['version']} is {'the champion' if champion else 'registered'}"
        case "deploy" if "outcome" in result:
            return f"{result['url']}, version {result['version']}: {result['outcome']}"
        case "deploy":
            return f"{result['url']}, {counted(result['checked_rows'], 'row')} checked over HTTP"
    return ""


def print_error(console: Console, error: HeadraceError) -> None:
    """Prints an error as one paragraph, and below it its table, if there is one."""
    console.print(f"headrace: {error.text}", style="red" if console.is_terminal else "", markup=False, soft_wrap=True)


def print_run(console: Console, summary: dict[str, Any], report: str | None) -> None:
    """Prints the summary of a run: of batch scoring, or of a training."""
    show = print_scoring if "publish" in {step["step"] for step in summary["steps"]} else print_summary
    show(console, summary, report)


def print_summary(console: Console, summary: dict[str, Any], report: str | None) -> None:
    """Prints the summary of a run: rows, Examples, metrics and gate, version, endpoint, and report."""
    outputs = {kind: uri for step in summary["steps"] for kind, uri in step.get("outputs", {}).items()}
    results = {step["step"]: step["result"] for step in summary["steps"]}
    lines: list[tuple[str, str]] = []
    if results["preprocess"]:
        lines += _row_lines(results["preprocess"])
    if idle := summary.get("nothing_to_do"):
        lines.append(("Ended", idle))
    if "examples" in outputs:
        lines.append(("Examples", outputs["examples"]))
    if results.get("tune"):
        lines.append(("Search", headline({"step": "tune", "result": results["tune"]})))
    if made := results.get("train") or results.get("tune"):
        lines += training_lines(made)
    if results["evaluate"]:
        lines += _metric_lines(results["evaluate"])
    if results["register"]:
        lines.append(("Model", registered_line(results["register"], results["deploy"] or {})))
    if results["deploy"]:
        lines.append(("Endpoint", results["deploy"]["url"]))
        lines.append(("Call it", results["deploy"]["curl"]))
    if report is not None:
        lines.append(("Report", report))
    console.print()
    print_lines(console, lines)


def print_dynamic(console: Console, summary: dict[str, Any]) -> None:
    """Prints what became of the data of a run of dynamic training."""
    results = {step["step"]: step["result"] for step in summary["steps"]}
    why = f": {summary['why']}" if summary["why"] else ""
    lines = [("Outcome", f"{summary['outcome']}{why}")]
    if summary["model"]:
        lines.append(("Model", f"version {summary['model']}"))
    if ingested := results.get("ingest"):
        lines.append(("Window", headline({"step": "ingest", "result": ingested})))
        lines += [("Bad span", f"{bad['span']}: {bad['why']}") for bad in ingested["quarantined"]]
    if deployed := results.get("deploy"):
        lines.append(("Endpoint", str(deployed["url"])))
    console.print()
    print_lines(console, lines)


def registered_line(registered: Mapping[str, Any], deployed: Mapping[str, Any]) -> str:
    """A version in its registry: where a canary decides, it becomes the champion after it is registered, or never."""
    version, aliases = registered["version"], registered["aliases"]
    champion, previous = aliases.get("champion"), aliases.get("previous")
    if champion != version:
        if deployed.get("outcome") not in ("promoted", "live"):
            return f"version {version}, registered{f'; {champion} is the champion' if champion else ''}"
        previous = champion
    return f"version {version}, champion{f', previous {previous}' if previous else ''}"


def print_lines(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    """Prints (name, text) lines in two columns; a repeated name is printed once."""
    label = None
    for name, text in lines:
        console.print(Text.assemble((f"{name if name != label else '':<9} ", "bold"), text), soft_wrap=True)
        label = name


def print_scoring(console: Console, summary: dict[str, Any], report: str | None = None) -> None:
    """Prints the summary of a batch scoring run: rows, model, execution mode, drift, destination, and report."""
    results = {step["step"]: step["result"] for step in summary["steps"]}
    scored, lines = results["score"], []
    if scored:
        reasons = ", ".join(f"{name} {count:,}" for name, count in scored["reasons"].items())
        total = f"{scored['rows_in']:,} in = {scored['rows_out']:,} predictions"
        total += f" + {scored['rows_quarantined']:,} quarantined"
        lines.append(("Rows", total + (f" ({reasons})" if reasons else "")))
        lines.append(("Model", f"version {scored['model_version']}"))
        lines.append(("Approach", f"{scored['approach']}: {scored['approach_reason']}"))
    if results["check"] and results["check"]["divergence"] is not None:
        apart = results["check"]["divergence"]
        lines.append(("Drift", f"Jensen-Shannon divergence {apart:.4g} from the label in training"))
    if results["publish"]:
        lines.append(("Published", results["publish"]["published"]))
        if scored and scored["destination"]:
            lines.append(("Published", scored["destination"]))
    if report is not None:
        lines.append(("Report", report))
    console.print()
    print_lines(console, lines)


def _row_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    reasons = ", ".join(f"{name} {count:,}" for name, count in result["reasons"].items())
    splits = ", ".join(f"{name} {rows:,}" for name, rows in result["splits"].items())
    total = f"{result['rows_in']:,} in = {result['rows_out']:,} out + {result['rows_quarantined']:,} quarantined"
    return [("Rows", total + (f" ({reasons})" if reasons else "")), *([("Rows", splits)] if splits else [])]


def _metric_lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("Metrics", f"weighted by {result['weight']}")] if result.get("weight") else []
    gate = result["gate"]
    for name, measured in result["metrics"].items():
        if measured["value"] is None:
            continue
        text = f"{name:<24} {measured['value']:8.4g}"
        if measured["low"] is not None:
            text += f"  [{measured['low']:.4g}, {measured['high']:.4g}]"
        if result["baseline"].get(name) is not None:
            text += f"  baseline {result['baseline'][name]:.4g}"
        if gate is not None and gate["metric"] == name:
            bounds = [f"{b.replace('_', ' ')} {gate[b]:g}" for b in ("at_most", "at_least") if gate.get(b) is not None]
            bounds += ["better than the baseline"] if gate.get("beats_baseline") else []
            text += f"  gate: {', '.join(bounds) or 'against the champion'}"
        lines.append(("Metrics", text))
    lines += [("Warning", warning) for warning in result.get("warnings") or []]
    checks = result["checks"]
    judged = [check for check in checks if check["passed"] is not None]
    failed = [reason for check, reason in zip(checks, result["reasons"], strict=False) if check["passed"] is False]
    passed = len(judged) - len(failed)
    if not result["blessed"]:
        lines.append(("Gate", f"refused: {passed} of {len(judged)} checks passed"))
        lines += [("Gate", reason) for reason in failed[:_REASONS_SHOWN]]
        if len(failed) > _REASONS_SHOWN:
            lines.append(("Gate", f"... and {len(failed) - _REASONS_SHOWN} more, in the report"))
    elif gate is None:
        lines.append(("Gate", "ungated: the problem declares gate=None, so every model is blessed"))
    else:
        unjudged = f", {len(checks) - len(judged)} not judged (too few rows)" if len(checks) > len(judged) else ""
        lines.append(("Gate", f"blessed: {passed} of {len(judged)} checks passed{unjudged}"))
    return lines
