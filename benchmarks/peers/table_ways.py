"""Predictions by key from a prediction table, from SQLite and from LMDB.

Usage: table_ways.py predictions OUTPUT ROWS                     a Predictions artifact of random predictions in Parquet
       table_ways.py build WAY PREDICTIONS OUTPUT                builds from the artifact's Parquet files
       table_ways.py read WAY OUTPUT ROWS KEYS_PER_CALL SECONDS  looks up random keys, and prints CPU-seconds as JSON
WAY is table, sqlite or lmdb. Values are those of one float32 output, as 4 bytes.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

_READ_ROWS = 1 << 17


def predictions(output, rows):
    import google_crc32c
    import pyarrow as pa
    import pyarrow.parquet as pq

    from headrace.core.artifacts.examples import Quarantine, Shard, SourceFile
    from headrace.core.artifacts.predictions import AnswerForm, OutputColumn, PredictionsManifest

    rows = int(rows)
    folder = Path(output)
    (folder / "predictions").mkdir(parents=True)
    file = folder / "predictions" / "part-00000-of-00001.parquet"
    columns = {"id": keys(np.random.default_rng(0).permutation(rows)), "prediction": values(rows)}
    version = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["v1"])
    pq.write_table(pa.table({**columns, "model_version": version}), file, use_dictionary=["model_version"])
    content = file.read_bytes()
    shard = Shard(f"predictions/{file.name}", rows, len(content), f"{google_crc32c.value(content):08x}")
    PredictionsManifest(
        identity="0" * 16,
        problem="benchmark",
        model_version="v1",
        approach="direct",
        signature="serving_default",
        data_version="0" * 64,
        source=(SourceFile("rows.parquet", 0, rows),),
        rows_in=rows,
        rows_out=rows,
        rows_quarantined=0,
        sink="parquet",
        files=(shard,),
        destination=None,
        partition_by=None,
        columns=tuple(
            OutputColumn(n, t) for n, t in (("id", "string"), ("prediction", "float"), ("model_version", "string"))
        ),
        quarantine=Quarantine(0.0, {}, ()),
        distribution={"predictions": {}, "training": None},
        answers=AnswerForm("id"),
    ).write(output)


def values(rows):
    return np.random.default_rng(1).random(rows).astype(np.float32)


def keys(numbers):
    return np.char.add("customer-", numbers.astype(str))


def batches(folder):
    import pyarrow.parquet as pq

    for file in sorted((Path(folder) / "predictions").iterdir()):
        for batch in pq.ParquetFile(file).iter_batches(_READ_ROWS, columns=["id", "prediction"]):
            content = batch["prediction"].to_numpy().tobytes()
            yield batch["id"].to_pylist(), [content[i : i + 4] for i in range(0, len(content), 4)]


def build(way, folder, output):
    {"table": build_table, "sqlite": build_sqlite, "lmdb": build_lmdb}[way](folder, output)


def build_table(folder, output):
    from headrace.components.score.tabulate import tabulate

    tabulate(folder, output)


def build_sqlite(folder, output):
    import sqlite3

    with sqlite3.connect(output) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE predictions (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
        # In the order of keys, which is the fastest way.
        pairs = sorted(pair for part in batches(folder) for pair in zip(*part, strict=True))
        database.executemany("INSERT INTO predictions VALUES (?, ?)", pairs)


def build_lmdb(folder, output):
    import lmdb

    pairs = sorted((key.encode(), value) for part in batches(folder) for key, value in zip(*part, strict=True))
    with lmdb.open(output, subdir=False, lock=False, sync=False, map_size=1 << 33) as environment:
        for begin in range(0, len(pairs), _READ_ROWS):
            with environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(pairs[begin : begin + _READ_ROWS], append=True)


def read(way, output, rows, size, seconds):
    """Looks up keys until so many CPU-seconds are over; the first and the last answer are checked."""
    begin = time.process_time()
    find = {"table": find_table, "sqlite": find_sqlite, "lmdb": find_lmdb}[way](output)
    opened = time.process_time() - begin
    rows, size, seconds = int(rows), int(size), float(seconds)
    order, expected = np.random.default_rng(0).permutation(rows), values(rows)
    at = np.random.default_rng(2).integers(0, rows, (max(1, 200_000 // size), size))
    asked = [keys(order[each]).tolist() for each in at]
    calls = 0
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        found = find(asked[calls % len(asked)])
        calls += 1
    used = time.process_time() - begin
    equal = all(
        find(asked[call]).tobytes() == expected[at[call]].tobytes()
        for call in range(0, len(asked), len(asked) // 50 or 1)
    )
    assert len(found) == size
    print(json.dumps({"open": opened, "lookups": calls * size, "cpu": used, "equal": equal}))


def find_table(output):
    from headrace.core.artifacts import published
    from headrace.core.prediction_table.reader import PredictionTable

    version = published.version_uri(output, published.look(output)["current"])
    table = PredictionTable(Path(version) / "table" / "predictions.table")
    return lambda asked: table.outputs(table.find(asked))["prediction"]


def find_sqlite(output):
    import sqlite3

    database = sqlite3.connect(f"file:{output}?mode=ro", uri=True)

    def find(asked):
        rows = [database.execute("SELECT value FROM predictions WHERE key = ?", (key,)).fetchone()[0] for key in asked]
        return np.frombuffer(b"".join(rows), np.float32)

    return find


def find_lmdb(output):
    import lmdb

    environment = lmdb.open(output, subdir=False, lock=False, readonly=True)

    def find(asked):
        with environment.begin() as transaction:
            return np.frombuffer(b"".join([transaction.get(key.encode()) for key in asked]), np.float32)

    return find


def main():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    work, *arguments = sys.argv[1:]
    {each.__name__: each for each in (predictions, build, read)}[work](*arguments)


main()
