"""What the benchmarks share: interleaved runs, environments of peers, the machine, tables and the verdict."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from process_usage import REPOSITORY, Usage, named
from rich.console import Console
from rich.table import Table

BENCHMARKS = Path(__file__).resolve().parent
# Ignored by git, and kept between runs: environments of peers, data, results.
OUT = REPOSITORY / ".out"


class PeerMissing(RuntimeError):
    """A peer cannot be installed here; the message says why."""


def interleave(
    runs: Mapping[str, Callable[[int], Usage]], *, rounds: int, budget_s: float | None = None
) -> dict[str, list[Usage]]:
    """Runs each of `runs` in turn: a round that is thrown away, then `rounds` that count.

    Args:
        runs: by name; each is given the number of its round, the one thrown away being 0.
        rounds: how many count.
        budget_s: no round is started that would end later than so many seconds from now, as far as the last one
            tells; one round always counts.
    """
    begin = time.monotonic()
    measured: dict[str, list[Usage]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        started = time.monotonic()
        for name, run in runs.items():
            usage = run(number)
            print(
                f"{name}, {f'run {number}' if number else 'warm-up'}: {usage.wall_seconds:.1f} s,"
                f" {usage.cpu_seconds:.1f} CPU-s, {usage.peak_rss_bytes / 1e6:.0f} MB",
                flush=True,
            )
            if number:
                measured[name].append(usage)
        now = time.monotonic()
        if number and budget_s is not None and now - begin + (now - started) > budget_s:
            break
    return measured


def peer_environment(folder: Path, requirements: Path, python: str) -> Path:
    """Makes a virtual environment with exactly what `requirements` lists, unless it is there already.

    Args:
        folder: where it is or will be.
        requirements: a file of pinned versions: all of them, so that nothing has to be resolved.
        python: the version it needs, such as "3.11".

    Returns:
        Its Python.

    Raises:
        PeerMissing: there is no such Python, or a package cannot be installed.
    """
    interpreter = folder / "bin" / "python"
    complete = folder / "complete"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if complete.exists() and complete.read_text() == digest:
        return interpreter
    here = platform.python_version().startswith(f"{python}.")
    base = sys.executable if here else shutil.which(f"python{python}")
    if base is None:
        raise PeerMissing(f"it needs Python {python}, which is not installed")
    print(f"Installing {requirements.stem} into {folder}: once, some minutes", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    pins = [line for line in requirements.read_text().splitlines() if line and not line.startswith("#")]
    tools = [pin for pin in pins if pin.split("==")[0] in ("pip", "setuptools", "wheel")]
    # The pins are a whole, checked environment, and TFX 1.16 says that it is not for Python 3.11, where it runs.
    install = [str(interpreter), "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-requires-python"]
    for command in (
        [base, "-m", "venv", str(folder)],
        # pip refuses a call without a requirement.
        *([[*install, *tools]] if tools else []),
        [*install, "--no-build-isolation", "--requirement", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PeerMissing(f"{named(command)} failed: {done.stderr.strip()[-1000:]}")
    complete.write_text(digest)
    return interpreter


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


@dataclass(frozen=True)
class Ratio:
    """A claim: how many times better we are than a peer.

    Attributes:
        ratio: as measured; None where the peer is missing.
        floor: below it the benchmark fails.
        aim: what we are after.
    """

    ratio: float | None
    floor: float
    aim: float

    @property
    def holds(self) -> bool:
        """Whether the ratio is not under its floor; of a missing peer nothing is claimed."""
        return self.ratio is None or self.ratio >= self.floor

    def to_json(self) -> dict[str, float | None]:
        """As the last line of a benchmark says it."""
        return {"ratio": None if self.ratio is None else round(self.ratio, 3), "floor": self.floor, "aim": self.aim}


@dataclass(frozen=True)
class Rows:
    """A table: `lines` of as many cells as `header` has; the first column is text, the others are numbers."""

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]

    def show(self) -> None:
        """Prints the table."""
        table = Table(title=self.title, title_justify="left")
        for column, name in enumerate(self.header):
            table.add_column(name, justify="right" if column else "left", no_wrap=True)
        for line in self.lines:
            table.add_row(*line)
        Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(table)


SPREAD = ("minimum", "median", "maximum")


def spread(values: Sequence[float], digits: int = 3) -> tuple[str, str, str]:
    """The minimum, the median and the maximum, for a table."""
    return tuple(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))  # type: ignore[return-value]


def profile(title: str, parts: Mapping[str, float]) -> Rows:
    """Where the CPU time of a row goes.

    Args:
        title: of the table.
        parts: CPU seconds per row, by part.
    """
    whole = sum(parts.values())
    lines = [(name, f"{seconds * 1e6:.3f}", f"{seconds / whole:.0%}") for name, seconds in parts.items()]
    lines.append(("all", f"{whole * 1e6:.3f}", "100%"))
    return Rows(title, ("part", "microseconds per row", "fraction"), lines)


def conclude(name: str, tables: Sequence[Rows], ratios: Mapping[str, Ratio], details: Mapping[str, object]) -> int:
    """Shows the tables, keeps them for run_all.py, and prints the JSON object that is the last line.

    Args:
        name: the benchmark's.
        tables: what people read.
        ratios: by name, "benchmark.measure_vs_peer".
        details: JSON values kept beside the tables: what plots are drawn from.

    Returns:
        The exit status: 1 if a ratio is under its floor.
    """
    for table in tables:
        table.show()
    verdict = {key: ratio.to_json() for key, ratio in ratios.items()}
    result = {
        "benchmark": name,
        "machine": machine(),
        "tables": [asdict(table) for table in tables],
        "ratios": verdict,
        "details": dict(details),
    }
    kept = result_file(name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(result, indent=1))
    under = [key for key, ratio in ratios.items() if not ratio.holds]
    for key in under:
        print(f"{key}: {verdict[key]['ratio']} is under the floor of {ratios[key].floor}", file=sys.stderr, flush=True)
    print(json.dumps(verdict), flush=True)
    return 1 if under else 0


def prove(what: str, holds: bool) -> None:
    """Ends the benchmark where the outputs differ."""
    if not holds:
        print(f"It does not hold that {what}", file=sys.stderr)
        raise SystemExit(1)
    print(f"proven: {what}", flush=True)


def result_file(name: str) -> Path:
    """Where `conclude` keeps the result of a benchmark."""
    return OUT / "benchmarks" / f"{name}.json"


def megabytes(size: float) -> str:
    """A size for a table, in megabytes of a million bytes."""
    return "-" if math.isnan(size) else f"{size / 1e6:,.0f}"
