"""Deployment, with real servers: the tests of this file tell one story, in order, about one endpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.components.deploy.local import client, publisher
from headrace.components.deploy.local.publisher import DeployConfig, DeployResult, deploy, rollback, status
from headrace.components.serve import processes
from headrace.core.errors import PlatformError, UsageError

# Deploys in a process of its own, and stops for ever at the moment that is named.
_DEPLOY = """
import sys, time
from headrace.components.deploy.local.publisher import DeployConfig, deploy
def report(message, *, done=None, total=None, **_):
    if message == sys.argv[3]:
        print("there", flush=True)
        time.sleep(3600)
print(deploy(DeployConfig(sys.argv[1], sys.argv[2]), report).version)
"""


@dataclass
class Case:
    """An endpoint, and models for it."""

    folder: Path
    models: dict[str, Path]

    @property
    def endpoint(self) -> str:
        return str(self.folder)

    def deploy(self, version: str, **options: Any) -> DeployResult:
        return deploy(DeployConfig(str(self.models[version]), self.endpoint, **options))

    def servers(self) -> list[int]:
        """Every server of this endpoint that runs, also one that did not announce itself."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().decode()
                except OSError:
                    continue
                if processes.MODULE in command and self.endpoint in command:
                    found.append(int(entry.name))
        return found

    def state(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads((self.folder / "endpoint.json").read_text())
        return said

    def left_behind(self) -> list[str]:
        return [p.name for p in (self.folder / "versions").iterdir() if p.name[0] == "."]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Iterator[Case]:
    root = tmp_path_factory.mktemp("deploy")
    models = {version: make_model(root / version, version) for version in ("v1", "v2", "v3")}
    models["wrong"] = make_model(root / "wrong", "wrong", golden_offset=0.001)
    models["damaged"] = make_model(root / "damaged", "damaged")
    (models["damaged"] / "saved_model" / "saved_model.pb").write_bytes(b"not a graph")
    case = Case(root / "endpoint", models)
    try:
        yield case
    finally:
        if case.folder.exists():
            publisher.stop(case.endpoint)
        for pid in case.servers():
            os.kill(pid, signal.SIGKILL)


def test_the_first_deployment_by_a_process_whose_output_somebody_reads(case: Case) -> None:
    # run() returns when the pipes are closed by everybody: a server that inherited one would make it wait for ever.
    ended = subprocess.run(
        [sys.executable, "-c", _DEPLOY, str(case.models["v1"]), case.endpoint, "never"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "AIP_HTTP_PORT": "1", "AIP_HEALTH_ROUTE": "/other"},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "v1\n", "")
    said = status(case.endpoint)
    assert (said.name, said.live, said.previous, said.healthy) == ("natality", "v1", None, True)
    assert case.servers() == [said.pid]
    assert os.getsid(said.pid or 0) == said.pid
    assert Path(f"/proc/{said.pid}/fd/0").readlink() == Path("/dev/null")
    assert Path(f"/proc/{said.pid}/fd/1").readlink() == case.folder / "server.log"
    url = str(said.url)
    rows = json.loads((case.models["v1"] / "golden.json").read_text())["instances"]
    status_code, predicted = client.request(url, "/predict", body={"instances": rows})
    assert status_code == 200
    assert [p["key"] for p in predicted["predictions"]] == ["a", "b", "c"]


def test_what_is_live_and_healthy_is_left_as_it_is(case: Case) -> None:
    before = case.state()
    result = case.deploy("v1")
    assert (result.version, result.pid, result.checked_rows) == ("v1", before["pid"], 3)
    assert case.state() == before


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("wrong", r"predictions\[0\]\.prediction: the server's prediction differs from the model's golden row"),
        ("damaged", "cannot be loaded"),
    ],
)
def test_a_broken_model_leaves_the_endpoint_as_it_was(case: Case, version: str, message: str) -> None:
    before = case.state()
    with pytest.raises(PlatformError, match=message):
        case.deploy(version)
    assert case.state() == before
    assert status(case.endpoint).healthy
    assert case.servers() == [before["pid"]]
    assert status(case.endpoint).versions == ("v1",)


def test_a_server_that_does_not_answer_in_time_is_ended(case: Case) -> None:
    before = case.state()
    with pytest.raises(PlatformError, match=r"did not respond in time.*within 0\.5 s"):
        case.deploy("v2", start_timeout_s=0.5)
    assert case.state() == before
    assert case.servers() == [before["pid"]]


def test_a_deployment_that_is_killed_anywhere_is_finished_by_the_next(case: Case) -> None:
    before = case.state()
    for moment in (
        "publishing the model",
        "starting the server",
        "waiting for the server",
        "switching to the new server",
        "stopping the previous server",
    ):
        with subprocess.Popen(
            [sys.executable, "-c", _DEPLOY, str(case.models["v2"]), case.endpoint, moment],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n", moment
            process.kill()
        if moment != "stopping the previous server":
            assert case.state() == before, moment
        assert client.healthy(before["url"], "v1"), moment
    # One server waited to be stopped; the one before it was stopped by the last of these deployments.
    assert sorted(case.servers()) == sorted([before["pid"], case.state()["pid"]])
    (case.folder / "versions" / ".v2.left").mkdir()
    result = case.deploy("v2")
    assert (result.version, result.previous, result.checked_rows) == ("v2", "v1", 3)
    assert case.servers() == [result.pid]
    assert [c.version for c in status(case.endpoint).history] == ["v1", "v2"]
    assert case.left_behind() == []


def test_a_server_that_died_is_started_again_and_nothing_else_changes(case: Case) -> None:
    before = case.state()
    os.kill(before["pid"], signal.SIGKILL)
    while before["pid"] in case.servers():
        time.sleep(0.02)
    assert not status(case.endpoint).healthy
    result = case.deploy("v2")
    after = case.state()
    assert result.pid != before["pid"]
    assert {**after, "url": None, "pid": None} == {**before, "url": None, "pid": None}
    assert status(case.endpoint).healthy


def test_rollback_and_a_second_press_of_the_button(case: Case) -> None:
    result = rollback(case.endpoint)
    assert (result.version, result.previous, result.checked_rows) == ("v1", None, 3)
    assert case.servers() == [result.pid]
    assert status(case.endpoint).versions == ("v1", "v2")
    before = case.state()
    assert rollback(case.endpoint) == result
    assert case.state() == before
    assert [(c["version"], c["action"]) for c in before["history"]] == [
        ("v1", "deploy"),
        ("v2", "deploy"),
        ("v1", "rollback"),
    ]
    with pytest.raises(UsageError, match=r"Expected one of v1, v2\. Received: 'v9'"):
        rollback(case.endpoint, to="v9")
    with pytest.raises(UsageError, match="the model version is not valid"):
        rollback(case.endpoint, to="../v1")


def test_stop_and_what_starts_it_again(case: Case) -> None:
    publisher.stop(case.endpoint)
    assert case.servers() == []
    said = status(case.endpoint)
    assert (said.live, said.url, said.pid, said.healthy) == ("v1", None, None, False)
    assert list((case.folder / "servers").iterdir()) == []
    publisher.stop(case.endpoint)
    result = case.deploy("v3", keep_versions=0)
    assert (result.version, result.previous) == ("v3", "v1")
    assert status(case.endpoint).versions == ("v1", "v3")


def test_a_server_that_does_not_listen_to_a_signal_is_killed(case: Case) -> None:
    pid = case.state()["pid"]
    os.kill(pid, signal.SIGSTOP)
    server = processes.read(str(case.folder / "servers"), pid)
    assert server is not None
    from headrace.components.deploy.local import launcher

    launcher.stop(server, case.folder / "servers", timeout_s=0.2)
    assert case.servers() == []
