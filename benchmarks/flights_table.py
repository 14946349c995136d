"""The flights as columns: Parquet for pipelines, typed Arrow for encoders, repeated to any number of rows."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import flights_data
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

ROWS = 336_776
NUMBERS = ("month", "day", "hour", "dep_delay", "arr_delay", "air_time", "distance")
TEXTS = ("carrier", "origin", "dest", "tailnum")
_ROW_GROUP = 131_072
_SEED = 20130101


def parquet(cache: Path, rows: int) -> Path:
    """The first `rows` rows of the flights, again and again under new keys, as Parquet."""
    path = cache / f"flights-{rows}.parquet"
    if not path.exists():
        table = _flights(cache)
        unfinished = path.with_suffix(".unfinished")
        with pq.ParquetWriter(unfinished, table.schema) as writer:
            for piece in _repeated(table, rows):
                writer.write_table(piece, row_group_size=_ROW_GROUP)
        unfinished.rename(path)
    return path


def typed(cache: Path, rows: int) -> Path:
    """The same rows as encoders are given them: numbers as float32, texts as strings, in batches of 8,192 rows."""
    path = cache / f"flights-{rows}.arrow"
    if not path.exists():
        table = _flights(cache)
        fields = [("key", pa.string()), *((n, pa.float32()) for n in NUMBERS), *((n, pa.string()) for n in TEXTS)]
        schema = pa.schema(fields)
        _write_arrow(path, schema, (piece.select(schema.names).cast(schema) for piece in _repeated(table, rows)))
    return path


def hard(cache: Path, rows: int) -> Path:
    """As many columns of each kind of bytes, none of whose values repeats: texts, and integers over all 64 bits."""
    path = cache / f"unique-{rows}.arrow"
    if not path.exists():
        chance = np.random.default_rng(_SEED)
        schema = pa.schema(
            [*((f"text_{n}", pa.string()) for n in range(5)), *((f"int_{n}", pa.int64()) for n in range(7))]
        )
        pieces = []
        for start in range(0, rows, ROWS):
            count = min(ROWS, rows - start)
            texts = [pa.array([f"{n}-{row:x}" for row in range(start, start + count)]) for n in range(5)]
            limits = np.iinfo(np.int64)
            numbers = [pa.array(chance.integers(limits.min, limits.max, count, endpoint=True)) for _ in range(7)]
            pieces.append(pa.table([*texts, *numbers], schema=schema))
        _write_arrow(path, schema, iter(pieces))
    return path


def _write_arrow(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    unfinished = path.with_suffix(".unfinished")
    with pa.ipc.new_file(unfinished, schema) as file:
        for table in tables:
            file.write_table(table.combine_chunks(), max_chunksize=8192)
    unfinished.rename(path)


def _repeated(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    for start in range(0, rows, ROWS):
        count = min(ROWS, rows - start)
        keys = pa.array(np.arange(start, start + count)).cast(pa.string())
        yield table.slice(0, count).set_column(0, "key", keys)


def _flights(cache: Path) -> pa.Table:
    """All flights: a key, NUMBERS as 64-bit numbers with nulls, TEXTS as strings with nulls."""
    with zipfile.ZipFile(io.BytesIO(flights_data.archive(cache))) as zipped, zipped.open("flights.csv") as raw:
        content = raw.read()
    types = {**dict.fromkeys(NUMBERS, pa.float64()), **dict.fromkeys(TEXTS, pa.string())}
    options = pacsv.ConvertOptions(
        include_columns=[*NUMBERS, *TEXTS], column_types=types, null_values=["", "NA"], strings_can_be_null=True
    )
    table = pacsv.read_csv(io.BytesIO(content), convert_options=options)
    if table.num_rows != ROWS:
        raise RuntimeError(f"flights.csv must have {ROWS} rows, got {table.num_rows}")
    return table.add_column(0, "key", pa.array(np.arange(ROWS)).cast(pa.string()))
