"""Static and hybrid serving compared with dynamic: requests per second and per CPU second, latency, memory.

Usage: python benchmarks/serve_modes.py [--quick]

The model, the requests, the servers' core and wrk are those of benchmarks/serve.py; each request has a key. The table
has ten million keys: those of the requests, with the model's predictions, and others. In hybrid mode it lacks the keys
of a fifth of the requests, which the model answers. All three modes must give the same answers, bit for bit.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import serve
from common import Ratio, conclude, prove
from process_usage import measure

from headrace.core.artifacts.examples import Shard, SourceFile
from headrace.core.artifacts.predictions import PredictionsManifest

WORK = serve.WORK / "modes"
MISSES = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a table of a million keys, and two rounds of 3 s")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    parser.add_argument("--seconds", type=int, default=10, help="seconds of a measurement (default: 10)")
    arguments = parser.parse_args()
    rounds, seconds = (2, 3) if arguments.quick else (arguments.rounds, arguments.seconds)
    keys = 1_000_000 if arguments.quick else 10_000_000
    shutil.rmtree(serve.WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    serve.DATA.mkdir(parents=True, exist_ok=True)
    serve.train()
    bodies = with_keys(serve.requests_file())
    scored = predictions(bodies)
    tables = {mode: table(mode, scored, keys) for mode in ("static", "hybrid")}
    wrk = serve.load_generator()
    servers = [
        server("dynamic", str(serve.MODEL)),
        server("static", "--mode", "static", "--prediction-table", str(tables["static"])),
        server("hybrid", str(serve.MODEL), "--mode", "hybrid", "--prediction-table", str(tables["hybrid"])),
    ]
    measured: dict[str, dict[int, list[serve.Load]]] = {one.name: {serve.CONNECTIONS: [], 1: []} for one in servers}
    expected: list[float] = []
    for number in range(rounds):
        for one in servers:
            with serve.running(one) as (url, process):
                if not number:
                    answers = [serve.answer(f"{url}{one.path}", body) for body in bodies.read_text().splitlines()]
                    expected = expected or answers
                    prove(f"{one.name} answers the same, bit for bit", answers == expected)
                serve.load(wrk, url, one.path, bodies, process, serve.CONNECTIONS, 2)
                for connections, found in measured[one.name].items():
                    found.append(serve.load(wrk, url, one.path, bodies, process, connections, seconds))
                    print(f"{one.name}, {connections} connections: {found[-1]}", flush=True)
    prove("no request failed", not any(one.failed for of in measured.values() for each in of.values() for one in each))

    def thrift(mode: str) -> float:
        cpu = {name: serve.median(of[serve.CONNECTIONS], lambda one: one.cpu) for name, of in measured.items()}
        return cpu["dynamic"] / cpu[mode]

    ratios = {
        "serve_modes.static_cpu_vs_dynamic": Ratio(thrift("static"), 1.0, 1.5),
        "serve_modes.hybrid_cpu_vs_dynamic": Ratio(thrift("hybrid"), 0.7, 1.0),
    }
    shown = [serve.table(measured, connections) for connections in (serve.CONNECTIONS, 1)]
    return conclude("serve_modes", shown, ratios, {"quick": arguments.quick, "keys": keys})


def server(mode: str, *arguments: str) -> serve.Server:
    command = [sys.executable, "-m", "headrace.pipelines.cli", "serve", *arguments, "--port", "{port}"]
    return serve.Server(mode, command, "/v1/models/flights:predict", "/health")


def with_keys(bodies: Path) -> Path:
    """The requests, with the key request-N in each."""
    lines = [json.loads(line) for line in bodies.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["instances"][0]["key"] = f"request-{number}"
    bodies.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return bodies


def predictions(bodies: Path) -> Path:
    """The model's predictions for the rows of the requests, by key."""
    rows = WORK / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps(json.loads(line)["instances"][0]) + "\n" for line in bodies.read_text().splitlines())
    )
    output = WORK / "predictions"
    command = ["score", "--model", str(serve.MODEL), "--data", str(rows), "--output", str(output)]
    measure([sys.executable, "-m", "headrace.pipelines.cli", *command], log=serve.WORK / "log")
    return output


def table(mode: str, scored: Path, keys: int) -> Path:
    """A published table of so many keys, with the predictions of all requests, or of four in five."""
    folder, output = WORK / f"{mode} predictions", WORK / f"{mode} table"
    manifest = PredictionsManifest.read(str(scored))
    known = pq.read_table(scored / "predictions", partitioning=None)
    if mode == "hybrid":
        known = known.filter(pa.array(np.arange(known.num_rows) % MISSES != 0))
    others = pq.read_table(scored / "predictions", partitioning=None)
    others = others.take(pa.array(np.arange(keys - known.num_rows) % others.num_rows))
    names = np.char.add("other-", np.arange(others.num_rows).astype(str))
    key = manifest.columns[0].name
    others = others.set_column(
        others.schema.get_field_index(key), key, pa.array(names).cast(known.schema.field(key).type)
    )
    (folder / "predictions").mkdir(parents=True)
    file = folder / "predictions" / "part-00000-of-00001.parquet"
    pq.write_table(pa.concat_tables([known, others]), file)
    content = file.read_bytes()
    dataclasses.replace(
        manifest,
        identity=f"{mode:0<16}",
        source=(SourceFile("rows.jsonl", 0, keys),),
        rows_in=keys,
        rows_out=keys,
        files=(Shard(f"predictions/{file.name}", keys, len(content), f"{google_crc32c.value(content):08x}"),),
    ).write(str(folder))
    command = ["predictions", "table", str(folder), "--output", str(output)]
    usage = measure([sys.executable, "-m", "headrace.pipelines.cli", *command], log=serve.WORK / "log")
    print(f"a table of {keys:,} keys: {usage.cpu_seconds:.1f} CPU-s", flush=True)
    return output


if __name__ == "__main__":
    sys.exit(main())
