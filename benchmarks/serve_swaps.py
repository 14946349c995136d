"""Hot swaps under load: no failed request, latency while versions are switched, and memory after many switches.

Usage: python benchmarks/serve_swaps.py [--quick]

The model, the requests, the server's core and wrk are those of benchmarks/serve.py, with 64 connections. The server
follows the champion of a registry, which three versions are in turn: each is loaded beside the one in use, checked on
its golden rows, and switched to between two batches. With two, the other one would still be in memory. Loading is done
on the server's own core. Rounds with and without swaps alternate, and latencies are those of all requests of either.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence

import psutil
import serve
from common import Ratio, Rows, conclude, megabytes, prove

from headrace.components.registry.folder.registry import Registry

WORK = serve.WORK / "swaps"
SETTLED = 3
SWAP_TIMEOUT_S = 120
_WINDOW_S = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 rounds of 5 swaps each, and of 10 s without any")
    parser.add_argument("--swaps", type=int, default=100, help="number of swaps (default: 100)")
    parser.add_argument("--seconds", type=int, default=20, help="seconds without a swap in each round (default: 20)")
    arguments = parser.parse_args()
    rounds, swaps, seconds = (2, 10, 10) if arguments.quick else (10, arguments.swaps, arguments.seconds)
    if swaps % rounds:
        parser.error(f"--swaps must be a multiple of {rounds}")
    shutil.rmtree(serve.WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    serve.DATA.mkdir(parents=True, exist_ok=True)
    serve.train()
    registry, versions = registered()
    bodies, wrk = serve.requests_file(), serve.load_generator()
    command = [sys.executable, "-m", "headrace.pipelines.cli", "serve", registry.where]
    server = serve.Server(
        "headrace", [*command, "--follow-every", "0.2", "--port", "{port}"], "/v1/models/flights:predict", "/health"
    )
    sizes: list[float] = []
    with serve.running(server) as (url, process):
        # What promotes is not on the server's core, as on a machine of its own.
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})

        def load(duration: int) -> serve.Load:
            return serve.load(wrk, url, server.path, bodies, process, serve.CONNECTIONS, duration)

        load(3)
        quiet, during = [], []
        for number in range(rounds):
            quiet.append(load(seconds))
            swapping = threading.Thread(target=swap, args=(registry, versions, url, process, sizes, swaps // rounds))
            swapping.start()
            while swapping.is_alive():
                during.append(load(_WINDOW_S))
            print(f"round {number + 1}, without swaps: {quiet[-1]}\n{len(sizes)} swaps: {during[-1]}", flush=True)
    os.sched_setaffinity(0, cores)
    failed = sum(one.failed for one in during)
    prove(f"no request failed during {swaps} swaps", not failed and len(sizes) == swaps)
    settled, last = sizes[min(SETTLED, len(sizes)) - 1], sizes[-1]
    lines = [
        (*line("without", quiet), "-"),
        (*line(f"{swaps} swaps", during), f"{megabytes(settled)} -> {megabytes(last)}"),
    ]
    header = ("", "requests/s", "p99 ms", "p99.9 ms", f"resident MB after swap {SETTLED} -> after the last")
    ratios = {
        "serve_swaps.p999_without_vs_with": Ratio(
            serve.pooled(quiet, 0.999) / serve.pooled(during, 0.999), 1 / 1.5, 1.0
        ),
        "serve_swaps.memory": Ratio(settled / last, 1 / 1.05, 1.0),
    }
    return conclude("serve_swaps", [Rows("Hot swaps at 64 connections", header, lines)], ratios, {"resident": sizes})


def line(name: str, loads: Sequence[serve.Load]) -> tuple[str, ...]:
    latencies = (f"{1000 * serve.pooled(loads, part):.1f}" for part in (0.99, 0.999))
    return (name, f"{serve.median(loads, lambda one: one.rate):,.0f}", *latencies)


def registered() -> tuple[Registry, tuple[str, ...]]:
    """A registry with the trained Model, its champion, and two copies under other versions."""
    registry = Registry(str(WORK / "registry"))
    training = json.loads((serve.MODEL / "training.json").read_text())
    versions = [training["model_version"]]
    registry.register(str(serve.MODEL))
    for number in range(2):
        copy = WORK / f"copy-{number}"
        shutil.copytree(serve.MODEL, copy)
        versions.append(f"{training['model_version'][:12]}-copy{number}")
        (copy / "training.json").write_text(json.dumps({**training, "model_version": versions[-1]}))
        registry.register(str(copy))
    registry.promote(versions[0], approve=True)
    return registry, tuple(versions)


def swap(
    registry: Registry, versions: tuple[str, ...], url: str, process: psutil.Process, sizes: list[float], count: int
) -> None:
    """Promotes the version after the one that is served, `count` times, and notes the server's memory each time."""
    for _ in range(count):
        other = versions[(versions.index(version_at(url)) + 1) % len(versions)]
        registry.promote(other, approve=True)
        deadline = time.monotonic() + SWAP_TIMEOUT_S
        while version_at(url) != other:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server did not switch to {other}; see {serve.WORK / 'server.log'}")
            time.sleep(0.05)
        sizes.append(float(process.memory_info().rss))


def version_at(url: str) -> str:
    with urllib.request.urlopen(f"{url}/health", timeout=30) as response:
        version: str = json.loads(response.read())["model_version"]
        return version


if __name__ == "__main__":
    sys.exit(main())
