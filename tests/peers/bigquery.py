"""BigQuery on this machine: bqemulator (REST, and the Storage Read API by gRPC, over DuckDB) in its own environment.

It wants other releases of some packages than we do, so it cannot share ours. It would download DuckDB's spatial
extension; here this comes from the package index as a wheel, and DuckDB is pinned to the release that it is for.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.components.deploy.local.control import free_port
from headrace.core.storage.lock import locked

_DUCKDB = "1.5.5"
_PACKAGES = ("bqemulator==1.4.0", f"duckdb=={_DUCKDB}", f"duckdb-extension-spatial=={_DUCKDB}", "numpy", "pandas")
_FOLDER = Path(__file__).parents[2] / ".out" / "bigquery-emulator"
_SECONDS_TO_START = 600
_NUMBERS = itertools.count(1)
PROJECT = "demo-project"


@dataclass(frozen=True)
class Server:
    """Where the emulator answers: REST, and the Storage Read API."""

    rest: str
    grpc: str


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[Server]:
    """A running emulator; its packages are installed on the first use, and kept under .out/."""
    # Another worker of the test run may need it at the same time.
    with locked(str(_FOLDER.parent), timeout_s=_SECONDS_TO_START, name=".bigquery-emulator.lock"):
        python = _environment()
        home = _home(python)
    rest, grpc = free_port(), free_port()
    log = _FOLDER / f"log-{rest}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python.parent / "bqemulator", "start", "--rest-port", str(rest), "--grpc-port", str(grpc)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={"HOME": str(home), "PATH": os.environ.get("PATH", "")},
            start_new_session=True,
        )
    try:
        _wait(process, log)
        yield Server(f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.unlink(missing_ok=True)


@pytest.fixture
def bigquery(bigquery_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The emulator, with the environment variables set by which the package finds it."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_server.rest)
    monkeypatch.setenv("BIGQUERY_STORAGE_GRPC", bigquery_server.grpc)
    return bigquery_server


@pytest.fixture
def make_table(bigquery: Server) -> Callable[[Any], str]:
    """Loads an Arrow table as a new table, and returns its name, such as demo-project.headrace_1.rows."""
    from google.cloud import bigquery as bq

    def load(table: Any) -> str:
        import io

        import pyarrow.parquet as pq

        client = _client(bigquery)
        dataset = f"headrace_{next(_NUMBERS)}"
        client.create_dataset(f"{PROJECT}.{dataset}")
        name = f"{PROJECT}.{dataset}.rows"
        fields = [bq.SchemaField(field.name, _TYPES[str(field.type)]) for field in table.schema]
        client.create_table(bq.Table(name, fields))
        content = io.BytesIO()
        pq.write_table(table, content)
        content.seek(0)
        config = bq.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
        client.load_table_from_file(content, name, job_config=config).result()
        client.close()
        return name

    return load


_TYPES = {"int64": "INTEGER", "double": "FLOAT", "string": "STRING", "bool": "BOOLEAN"}


def _client(server: Server) -> Any:
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery as bq

    return bq.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=ClientOptions(api_endpoint=server.rest),  # type: ignore[no-untyped-call]
    )


def _environment() -> Path:
    """The emulator's Python; made on the first use."""
    python = _FOLDER / "venv" / "bin" / "python"
    ready = _FOLDER / "ready"
    if not ready.exists():
        shutil.rmtree(_FOLDER, ignore_errors=True)
        _FOLDER.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", _FOLDER / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
        ready.touch()
    return python


def _home(python: Path) -> Path:
    """A home folder that holds DuckDB's extension where DuckDB looks for it."""
    home = _FOLDER / "home"
    file = f"v{_DUCKDB}/spatial.duckdb_extension"
    (found,) = (_FOLDER / "venv").glob(f"lib/python3*/site-packages/duckdb_extension_spatial/extensions/{file}")
    for platform in ("linux_amd64", "linux_arm64"):
        target = home / ".duckdb" / "extensions" / f"v{_DUCKDB}" / platform / found.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, target)
    return home


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while b"grpc.listen" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the BigQuery emulator did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
