"""Online serving against its peers: requests per second and per CPU second, latency, memory, at 64 connections and 1.

Usage: python benchmarks/serve.py [--quick]

The wide and deep model of benchmarks/score.py, one row per request, each request another of 1,000 flights. Every server
is one worker on one core, and wrk, which sends the requests, has another core. Servers are measured in turn. Ratios are
those of medians; CPU seconds per request stand beside the rates, as a neighbour on the machine leaves them alone.

Latency under load is that of an open-loop client, at 50, 80 and 100 % of the rate that each server reached with 64
connections; with --quick ours alone.

Peers are installed into environments of their own, once, and a peer that cannot be installed is named. "headrace
before" is the server of an earlier commit, taken from the history of this clone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flights_table
import psutil
import pyarrow.parquet as pq
from common import BENCHMARKS, OUT, PeerMissing, Ratio, Rows, conclude, megabytes, peer_environment, prove
from process_usage import REPOSITORY, measure

WORK = OUT / "benchmarks" / "serve"
DATA = OUT / "benchmarks" / "data"
ENVIRONMENTS = OUT / "benchmarks" / "environments"
MODEL = WORK / "model"
PROBLEM = BENCHMARKS / "problems" / "flights_score.py"
PEERS = BENCHMARKS / "peers"
# The last commit whose server made a call of the model for each request.
BEFORE = "db77d96"
REQUESTS = 1_000
CONNECTIONS = 64
# Of the rate with CONNECTIONS, for the open loop.
PARTS = (0.5, 0.8, 1.0)
START_TIMEOUT_S = 180
_WRK_PACKAGES = ("wrk", "libluajit-5.1-2")
_LUA = """
local requests, at = {}, 0
function init(args)
  for line in io.lines(args[2]) do
    requests[#requests + 1] = wrk.format("POST", args[1], {["Content-Type"] = "application/json"}, line)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency, all)
  local e = summary.errors
  local slow, counted, from = {}, 0, latency:percentile(90)
  for i = 1, #latency do
    local value, count = latency(i)
    counted = counted + count
    if value >= from and count > 0 then slow[#slow + 1] = string.format("[%f, %d]", value / 1e6, count) end
  end
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "failed": %d, "p50": %f, "p99": %f, "p999": %f, '
    .. '"counted": %d, "slow": [%s]}\\n', summary.requests, summary.duration / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    latency:percentile(99.9) / 1e6, counted, table.concat(slow, ", ")))
end
"""


@dataclass(frozen=True)
class Server:
    """A server to measure.

    Attributes:
        name: of the server.
        command: that starts it, with {port}.
        path: of its predict route.
        ready: of a route that answers with 200 once the model is loaded; "" to send a prediction.
        env: variables besides those of this process.
        folder: that it starts in.
    """

    name: str
    command: Sequence[str]
    path: str
    ready: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path = REPOSITORY


@dataclass(frozen=True)
class Load:
    """What wrk measured, and what the server spent.

    Attributes:
        rate: requests per second.
        cpu: CPU seconds per request of all processes of the server.
        p50, p99, p999: latency in seconds.
        failed: number of requests without status 200.
        peak: greatest resident memory of all processes of the server so far, in bytes.
        counted: number of latencies: wrk adds those of requests that it would have sent during a long one.
        slow: latencies from p90 on, in seconds, each with its number.
    """

    rate: float
    cpu: float
    p50: float
    p99: float
    p999: float
    failed: int
    peak: float
    counted: int = 0
    slow: Sequence[tuple[float, int]] = field(default=(), repr=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds of 3 s, and peers that are installed already")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    parser.add_argument("--seconds", type=int, default=10, help="seconds of a measurement (default: 10)")
    parser.add_argument("--only", metavar="PEER", action="append", help="compare with this peer alone (repeatable)")
    arguments = parser.parse_args()
    rounds, seconds = (2, 3) if arguments.quick else (arguments.rounds, arguments.seconds)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    DATA.mkdir(parents=True, exist_ok=True)
    train()
    bodies = requests_file()
    wrk = load_generator()
    servers, missing = servers_here(arguments.only, install=not arguments.quick)
    expected: list[Any] = []
    open_loop: list[tuple[str, ...]] = []
    measured: dict[str, dict[int, list[Load]]] = {server.name: {CONNECTIONS: [], 1: []} for server in servers}
    for number in range(rounds):
        for server in servers:
            with running(server) as (url, process):
                if not number:
                    answers = [answer(f"{url}{server.path}", body) for body in bodies.read_text().splitlines()[:100]]
                    expected = expected or answers
                    prove(f"{server.name} predicts the same", close(answers, expected))
                load(wrk, url, server.path, bodies, process, CONNECTIONS, 2)
                for connections, found in measured[server.name].items():
                    found.append(load(wrk, url, server.path, bodies, process, connections, seconds))
                    print(f"{server.name}, {connections} connections: {found[-1]}", flush=True)
                if number == rounds - 1 and (not arguments.quick or server is servers[0]):
                    capacity = median(measured[server.name][CONNECTIONS], lambda one: one.rate)
                    for part in PARTS:
                        open_loop.append(at_rate(server.name, f"{url}{server.path}", bodies, part, capacity, seconds))
                        print(f"{server.name}, open loop: {open_loop[-1]}", flush=True)
    prove("no request to ours failed", not any(one.failed for each in measured["headrace"].values() for one in each))
    tables = [table(measured, connections) for connections in (CONNECTIONS, 1)]
    header = ("server", "of capacity", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "failed")
    tables.append(Rows("Open loop: constant rate, latency from when each request was due", header, open_loop))
    if missing:
        tables.append(Rows("Peers that are missing here", ("peer", "why"), missing))
    return conclude("serve", tables, ratios(measured), {"quick": arguments.quick, "missing": dict(missing)})


def train(problem: Path = PROBLEM) -> None:
    """A Model of the flights: our default one, or that of another Problem file."""
    source = flights_table.parquet(DATA, 20_000)
    for command in (
        ["preprocess", "--data", str(source), "--output", str(WORK / "examples")],
        ["train", "--examples", str(WORK / "examples"), "--output", str(MODEL)],
    ):
        measure([sys.executable, "-m", "headrace.pipelines.cli", *command, "--problem", str(problem)], log=WORK / "log")


def requests_file() -> Path:
    """One request per line: a row as an object, without what is missing in it."""
    columns = [column["name"] for column in json.loads((MODEL / "schema.json").read_text())["columns"]]
    table = pq.read_table(flights_table.parquet(DATA, 20_000))
    features = [name for name in columns if name in table.column_names and name not in ("key", "distance")]
    rows = table.select(features).slice(0, REQUESTS).to_pylist()
    path = WORK / "requests"
    with path.open("w") as file:
        for row in rows:
            # A row without its optional numbers, such as a cancelled flight, is sent as it is: null.
            file.write(json.dumps({"instances": [row]}) + "\n")
    return path


def load_generator() -> Sequence[str]:
    """The command of wrk: the installed one, or that of Debian's package, unpacked below OUT."""
    installed = shutil.which("wrk")
    if installed is not None:
        return [installed]
    folder = OUT / "benchmarks" / "wrk"
    program = folder / "usr" / "bin" / "wrk"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *_WRK_PACKAGES], cwd=folder, check=True, capture_output=True)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    (library,) = {path.parent for path in folder.rglob("libluajit-5.1.so.2")}
    return ["env", f"LD_LIBRARY_PATH={library}", str(program)]


def servers_here(only: Sequence[str] | None = None, *, install: bool) -> tuple[list[Server], list[tuple[str, str]]]:
    """The servers that can run here, ours first; and the names of the others, each with the reason.

    Args:
        only: names of peers; all by default.
        install: whether environments of peers are made, which takes minutes.
    """
    ours = [sys.executable, "-m", "headrace.pipelines.cli", "serve", str(MODEL), "--port", "{port}"]
    path = "/v1/models/flights:predict"
    servers, missing = [Server("headrace", ours, path, "/health")], []
    peers: Mapping[str, Callable[[], Server]] = {
        "headrace before": lambda: Server(
            "headrace before", ours, path, "/health", {"PYTHONPATH": str(earlier() / "typings")}, earlier()
        ),
        "KServe": lambda: peer("KServe", "kserve", path, "/v1/models/flights", install=install),
        "LitServe": lambda: peer("LitServe", "litserve", "/predict", "/health", install=install),
        "BentoML": lambda: bentoml(install=install),
        "Ray Serve": lambda: peer("Ray Serve", "ray", "/", install=install),
    }
    for name, make in peers.items():
        if only is not None and name not in only:
            continue
        try:
            servers.append(make())
        except (PeerMissing, subprocess.CalledProcessError) as error:
            missing.append((name, str(error).strip().splitlines()[-1][:200]))
    return servers, missing


def earlier() -> Path:
    """The tree of the commit BEFORE."""
    folder = OUT / "benchmarks" / "before" / BEFORE
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        command = ["git", "-C", str(REPOSITORY), "archive", BEFORE]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise PeerMissing(f"this clone has no commit {BEFORE}: {done.stderr.decode().strip()}")
        archive = unfinished / "tree.tar"
        archive.write_bytes(done.stdout)
        with tarfile.open(archive) as tree:
            tree.extractall(unfinished, filter="tar")
        unfinished.rename(folder)
    return folder


def environment(name: str, *, install: bool) -> Path:
    """The Python of a peer's environment."""
    if not install and not (ENVIRONMENTS / name / "complete").exists():
        raise PeerMissing("not installed; a run without --quick installs it")
    return peer_environment(ENVIRONMENTS / name, PEERS / f"{name}-requirements.txt", "3.11")


def peer(name: str, package: str, path: str, ready: str = "", *, install: bool) -> Server:
    python = environment(package, install=install)
    command = [str(python), str(PEERS / "serve_peers.py"), package, str(MODEL), "{port}"]
    return Server(name, command, path, ready, {**quiet(), "PEER": package, "MODEL_FOLDER": str(MODEL)})


def bentoml(*, install: bool) -> Server:
    python = environment("bentoml", install=install)
    command = [str(python), "-m", "bentoml", "serve", "serve_peers:Flights", "--port", "{port}", "--host", "127.0.0.1"]
    env = {**quiet(), "PEER": "bentoml", "MODEL_FOLDER": str(MODEL), "BENTOML_DO_NOT_TRACK": "true"}
    return Server("BentoML", command, "/predict", "/readyz", env, PEERS)


def quiet() -> dict[str, str]:
    """No paths of ours, and nothing on the screen of every request."""
    return {"PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "2", "RAY_SERVE_LOG_TO_STDERR": "0"}


@contextmanager
def running(server: Server) -> Iterator[tuple[str, psutil.Process]]:
    """A server with its model loaded, on the first core; its address and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [part.format(port=port) for part in server.command]
    cores = sorted(os.sched_getaffinity(0))
    with (WORK / "server.log").open("wb") as log:
        started = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=server.folder,
            env={**os.environ, **server.env},
            preexec_fn=lambda: os.sched_setaffinity(0, cores[:1]),
        )
    process = psutil.Process(started.pid)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready(url, server):
            if started.poll() is not None or time.monotonic() > deadline:
                tail = (WORK / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{server.name} did not come up:\n{tail}")
            time.sleep(0.2)
        yield url, process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            for one in family:
                one.terminate()
            _, alive = psutil.wait_procs(family, timeout=10)
            for one in alive:
                one.kill()
        started.wait()


def ready(url: str, server: Server) -> bool:
    try:
        if not server.ready:
            body = (WORK / "requests").read_text().partition("\n")[0]
            answer(f"{url}{server.path}", body)
            return True
        with urllib.request.urlopen(f"{url}{server.ready}", timeout=5):
            return True
    except OSError:
        return False


def answer(url: str, body: str) -> Any:
    """The first prediction of a response, without a key."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        content = json.loads(response.read())
    first = (content["predictions"] if isinstance(content, dict) else content)[0]
    return first["prediction"] if isinstance(first, dict) else first


def close(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    """Whether predictions differ by rounding alone: TensorFlow adds in another order in batches of another size."""
    return len(ours) == len(theirs) and all(
        math.isclose(a, b, rel_tol=1e-5, abs_tol=6e-3) for a, b in zip(ours, theirs, strict=True)
    )


def load(
    wrk: Sequence[str], url: str, path: str, bodies: Path, process: psutil.Process, connections: int, seconds: int
) -> Load:
    """Sends requests for some seconds, from the last core, and measures both sides."""
    script = WORK / "wrk.lua"
    script.write_text(_LUA)
    core = sorted(os.sched_getaffinity(0))[-1]
    command = [*wrk, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--timeout", "30s", "--script", str(script), url, "--", path, str(bodies)]
    before = cpu_of(process)
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    spent = cpu_of(process) - before
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Load(
        found["requests"] / found["seconds"],
        spent / max(1, found["requests"]),
        found["p50"],
        found["p99"],
        found["p999"],
        int(found["failed"]),
        peak_of(process),
        int(found["counted"]),
        [(float(latency), int(count)) for latency, count in found["slow"]],
    )


def pooled(loads: Sequence[Load], part: float) -> float:
    """The latency in seconds that a part of all requests of several measurements have at most: 0.99 or more of them."""
    left = (1 - part) * sum(one.counted for one in loads)
    for latency, count in sorted((pair for one in loads for pair in one.slow), reverse=True):
        left -= count
        if left <= 0:
            return latency
    raise ValueError(f"{part} is below what was measured")


def at_rate(name: str, url: str, bodies: Path, part: float, capacity: float, seconds: int) -> tuple[str, ...]:
    """A line of the table of the open loop; its client runs on the last core."""
    rate = part * capacity
    core = sorted(os.sched_getaffinity(0))[-1]
    command = [sys.executable, str(BENCHMARKS / "open_loop.py"), url, str(bodies), str(rate), str(seconds)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    latencies = (f"{1000 * found[of]:.1f}" for of in ("p50", "p99", "p999"))
    return (name, f"{100 * part:.0f} %", f"{rate:,.0f}", *latencies, f"{found['failed']:,}")


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a server and its processes, also of those that have ended."""
    return sum(sum(one.cpu_times()) for one in [process, *process.children(recursive=True)])


def peak_of(process: psutil.Process) -> float:
    """Sum of the greatest resident set sizes of a server and its processes, in bytes."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
        total += 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    return float(total)


def median(loads: Sequence[Load], measure_of: Callable[[Load], float]) -> float:
    return statistics.median(map(measure_of, loads))


def table(measured: Mapping[str, Mapping[int, Sequence[Load]]], connections: int) -> Rows:
    lines = []
    for name, of in measured.items():
        loads = of[connections]
        lines.append(
            (
                name,
                f"{median(loads, lambda one: one.rate):,.0f}",
                f"{1e6 * median(loads, lambda one: one.cpu):,.0f}",
                f"{1 / median(loads, lambda one: one.cpu):,.0f}",
                *(f"{1000 * median(loads, of_load):.2f}" for of_load in (_p50, _p99, _p999)),
                megabytes(max(one.peak for one in loads)),
                f"{sum(one.failed for one in loads):,}",
            )
        )
    header = (
        "server",
        "requests/s",
        "CPU-us/request",
        "requests/CPU-s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "peak MB",
        "failed",
    )
    plural = "" if connections == 1 else "s"
    return Rows(f"{connections} connection{plural}, one worker on one core, equal predictions", header, lines)


def _p50(one: Load) -> float:
    return one.p50


def _p99(one: Load) -> float:
    return one.p99


def _p999(one: Load) -> float:
    return one.p999


def ratios(measured: Mapping[str, Mapping[int, Sequence[Load]]]) -> dict[str, Ratio]:
    """Ours against each peer at 64 connections; None of a peer that is missing."""

    def times(name: str, measure_of: Callable[[Load], float], connections: int = CONNECTIONS) -> float | None:
        if name not in measured:
            return None
        return median(measured["headrace"][connections], measure_of) / median(measured[name][connections], measure_of)

    def speed(name: str) -> float | None:
        return times(name, lambda one: one.rate)

    def thrift(name: str) -> float | None:
        return times(name, lambda one: 1 / one.cpu)

    return {
        "serve.rate_vs_kserve": Ratio(speed("KServe"), 8.0, 15.0),
        "serve.cpu_vs_kserve": Ratio(thrift("KServe"), 8.0, 15.0),
        "serve.rate_vs_before": Ratio(speed("headrace before"), 10.0, 15.0),
        "serve.cpu_vs_before": Ratio(thrift("headrace before"), 10.0, 15.0),
        # One request at a time gains nothing from batches, and must not pay for them: the server before called the
        # model once per request.
        "serve.p50_vs_before_one_connection": Ratio(times("headrace before", lambda one: 1 / one.p50, 1), 0.95, 1.0),
        "serve.cpu_vs_before_one_connection": Ratio(times("headrace before", lambda one: 1 / one.cpu, 1), 0.9, 1.0),
        "serve.cpu_vs_litserve": Ratio(thrift("LitServe"), 4.0, 10.0),
        "serve.rate_vs_litserve": Ratio(speed("LitServe"), 4.0, 10.0),
        "serve.rate_vs_bentoml": Ratio(speed("BentoML"), 4.0, 10.0),
        "serve.rate_vs_ray": Ratio(speed("Ray Serve"), 8.0, 15.0),
    }


if __name__ == "__main__":
    sys.exit(main())
