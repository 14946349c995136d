"""Days of a small table as spans of dynamic training: a Problem, files of rows, arrivals, and what ingest left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.components.ingest.config import IngestConfig
from headrace.components.ingest.ingest import IngestResult, ingest
from headrace.components.ingest.window import Window
from headrace.core import storage
from headrace.core.artifacts.examples import SPLITS, Manifest
from headrace.core.ledger.inbox import Arrival, data_version_of
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

PROBLEM = """
from headrace import Categorical, Drift, Numeric, Problem, Splits

problem = Problem(
    name="days",
    key="id",
    label=Numeric("y"),
    features=[Numeric("x", minimum=0, maximum=1000), Categorical("c")],
    splits=Splits(train=0.5, eval=0.25, test=0.25),
    quarantine_budget=0.1,
    drift=Drift(jensen_shannon=0.5),
)
"""
ROWS = 40


def problem_file(folder: Path, text: str = PROBLEM) -> ProblemFile:
    """The Problem of the days, in a file."""
    path = folder / "days.py"
    _write(path, text)
    return load_problem(str(path))


def _write(path: Path, text: str) -> None:
    """Writes a file at once: another process that has the same folder never reads a part of it."""
    part = path.with_name(f".{path.name}-{os.getpid()}")
    part.write_text(text)
    part.replace(path)


def day(number: int) -> str:
    """The name of a span: January 2026 has the days 0 to 30."""
    return f"2026-01-{number + 1:02d}"


def rows_of(span: str, revision: int = 0, rows: int = ROWS, *, scale: int = 1) -> list[str]:
    """Rows of a day, another table for each revision: keys are of the day, and x is below 1000 for a scale of 1."""
    start = 7 * sum(span.encode()) + 131 * revision
    return [
        f"{span}/{revision}/{row},{(start + 37 * row) % 97 * scale},{'abc'[(row + revision) % 3]},{row % 11}"
        for row in range(rows)
    ]


def write_rows(path: Path, rows: list[str], header: str = "id,x,c,y") -> str:
    """Writes a CSV file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, "\n".join([header, *rows]) + "\n")
    return str(path)


def arrival(file: ProblemFile, span: str, data: str, at: int = 0) -> Arrival:
    """The arrival of a file, announced in second `at`."""
    version = storage.fingerprint([data])
    return Arrival(
        version=data_version_of(file.problem.schema_digest, span, version),
        span=span,
        data=data,
        data_version=version,
        reason="file",
        event="",
        at=f"2026-02-01T00:{at // 60:02d}:{at % 60:02d}+00:00",
    )


class Days:
    """A root to which days are added, and the output of the last window.

    Attributes:
        file: the Problem file.
        root, output: folders or URIs.
    """

    def __init__(self, folder: Path, *, root: str = "", output: str = "", problem: str = PROBLEM) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = problem_file(folder, problem)
        self.root, self.output = root or str(folder / "root"), output or str(folder / "window")

    def arrival(self, span: str, rows: list[str], at: int = 0, header: str = "id,x,c,y") -> Arrival:
        """Writes rows to a file of its own, and announces it."""
        return arrival(self.file, span, write_rows(self.folder / "data" / f"{span}-{at}.csv", rows, header), at)

    def ingest(self, *arrivals: Arrival, **options: Any) -> IngestResult:
        """Adds arrivals. Options are those of the window, and of IngestConfig."""
        limits = {name: options.pop(name) for name in ("last_spans", "last_days") if name in options}
        return ingest(self.file, IngestConfig(arrivals, self.root, self.output, Window(**limits), **options))

    def forget_catalog(self) -> None:
        """Leaves nothing but the spans' own Examples: the next call begins anew, without preprocessing again."""
        spans = Path(self.root) / "spans" / "days"
        (spans / "_spans.json").write_text('{"format": 1, "versions": []}')
        shutil.rmtree(spans / "_statistics", ignore_errors=True)
        shutil.rmtree(self.output, ignore_errors=True)

    def window(self) -> dict[str, bytes]:
        """The files of the window's Examples."""
        return contents(Path(self.output))


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, without hidden ones, by relative path."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        str(name): path.read_bytes()
        for name, path in sorted(found.items())
        if not any(part.startswith(".") for part in name.parts)
    }


def keys_of(output: str) -> Mapping[str, list[str]]:
    """The keys of each split of a window on this machine, sorted."""
    manifest = Manifest.read(output)
    found: dict[str, list[str]] = {}
    for split in SPLITS:
        found[split] = []
        for shard in manifest.splits[split].shards:
            for records in read_records(Path(manifest.files_in or output) / shard.file, compressed=False):
                found[split] += [key.decode() for key in decode(records, ["id"]).column(0).to_pylist()]
        found[split].sort()
    return found
