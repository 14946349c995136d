"""`headrace trigger serve`, `function` and `service` from their arguments on."""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.command import headrace
from support.triggered import CountedRuns, settings_below


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_the_service_runs_here_without_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, settings = CountedRuns(), settings_below(tmp_path)
    monkeypatch.setattr("headrace.pipelines.dynamic.runs.runs_of", lambda _: runs)
    listening = threading.Event()
    found: list[str] = []

    def report(text: str, **_: object) -> None:
        found.append(text)
        listening.set()

    monkeypatch.setattr("headrace.pipelines.commands.trigger_serve.click.echo", report)
    statuses: list[int] = []

    def act() -> None:
        assert listening.wait(600)
        port = int(re.findall(r":(\d+)$", found[0])[0])
        deadline = time.monotonic() + 600
        while not statuses and time.monotonic() < deadline:
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=600)) as connection:
                    connection.request("POST", "/runs")
                    statuses.append(connection.getresponse().status)
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    actor = threading.Thread(target=act)
    actor.start()
    done = headrace("trigger", "serve", "--settings", settings.root, "--port", "0", "--no-login")
    actor.join()
    assert (done.returncode, statuses, len(runs.started)) == (0, [202], 1)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ([], "the service does not know whom tokens are made for"),
        (["--audience", "https://a"], "the allow-list is wrong"),
        (["--no-login", "--host", "0.0.0.0"], "must not be reached from other machines"),
        (["--no-login", "--allow", "ann@example.com"], "must not be reached from other machines"),
        (
            ["--audience", "https://a", "--allow", "ann@example.com", "--data-below", "in"],
            "the place of data is not valid",
        ),
    ],
)
def test_a_service_that_would_not_be_safe_is_refused(tmp_path: Path, more: list[str], match: str) -> None:
    settings_below(tmp_path)
    done = headrace("trigger", "serve", "--settings", tmp_path, "--port", "0", *more)
    assert (done.returncode, match in done.stderr.replace("\n", " ")) == (2, True), done.stderr


def test_a_function_and_a_service_are_written_and_their_commands_printed(bucket: str, tmp_path: Path) -> None:
    settings_below(f"gs://{bucket}/root")
    where = ["--settings", f"gs://{bucket}/root", "--project", "demo-project", "--region", "europe-west1"]
    spans = ["--spans", "gs://data/flights", "--closed-by", "marker"]
    done = headrace("trigger", "function", tmp_path / "function", *where, *spans)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set -euo pipefail\ngcloud services enable ")
    assert f"--source={tmp_path}/function" in done.stdout
    quiet = headrace("trigger", "function", tmp_path / "function", *where, *spans[:2], "--closed-by", "quiet=5m")
    assert (quiet.returncode, "so it cannot wait for a quiet time" in quiet.stderr.replace("\n", " ")) == (2, True)
    login = ["--audience", "https://trigger.example.com", "--allow", "ann@example.com"]
    for host, file in (("cloud-run", "Procfile"), ("app-engine", "app.yaml")):
        done = headrace("trigger", "service", tmp_path / host, *where, *login, "--on", host)
        assert done.returncode == 0, done.stderr
        assert "--allow ann@example.com" in (tmp_path / host / file).read_text()
    assert headrace("trigger", "service", tmp_path / "other", *where).returncode == 2
