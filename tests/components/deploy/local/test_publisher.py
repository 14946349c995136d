"""Deployment, with real servers: the tests of this file tell one story, in order, about one endpoint."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.endpoint_load import Load, wait_for

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local import client, control, operate
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.local_endpoint import LocalEndpoint
from headrace.components.deploy.local.publisher import LocalDeployConfig, LocalDeployResult, deploy
from headrace.components.deploy.local.status import status
from headrace.components.rollback.rollback import RollbackResult, rollback
from headrace.components.rollout.rollout import RolloutConfig, roll_out
from headrace.components.serve import processes
from headrace.core.errors import GateRefused, PlatformError, UsageError
from headrace.core.storage.lock import is_locked, locked

# Deploys, or rolls back, in a process of its own, and stops for ever at the moment that is named.
_DEPLOY = """
import sys, time
from headrace.components.deploy.local.local_endpoint import LocalEndpoint
from headrace.components.deploy.local.publisher import LocalDeployConfig, deploy
from headrace.components.rollback.rollback import rollback
def report(message, *, done=None, total=None, **_):
    if message == sys.argv[3]:
        print("there", flush=True)
        time.sleep(3600)
if sys.argv[1] == "rollback":
    print(rollback(LocalEndpoint(sys.argv[2]), report).version)
else:
    print(deploy(LocalDeployConfig(sys.argv[1], sys.argv[2]), report).version)
"""


@dataclass
class Case:
    """An endpoint, and models for it."""

    folder: Path
    models: dict[str, Path]

    @property
    def endpoint(self) -> str:
        return str(self.folder)

    def deploy(self, version: str, **options: Any) -> LocalDeployResult:
        return deploy(LocalDeployConfig(str(self.models[version]), self.endpoint, **options))

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

    @property
    def pid(self) -> int:
        """Process id of the live version's server."""
        return status(self.endpoint).pid or 0

    def roll_back(self, **options: Any) -> RollbackResult:
        return rollback(LocalEndpoint(self.endpoint), **options)

    def router_pid(self) -> int:
        return int((self.folder / "router" / ".lock").read_text())

    def killed_at(self, moment: str, version: str = "", *, rollback: bool = False) -> None:
        """Deploys a version or rolls back in another process, and kills it at a moment."""
        what = "rollback" if rollback else str(self.models[version])
        with subprocess.Popen(
            [sys.executable, "-c", _DEPLOY, what, self.endpoint, moment], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n", moment
            process.kill()

    def left_behind(self) -> list[str]:
        return [p.name for p in (self.folder / "versions").iterdir() if p.name[0] == "."]


def said_port(state: dict[str, Any]) -> int:
    return int(state["port"])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Iterator[Case]:
    root = tmp_path_factory.mktemp("deploy")
    models = {version: make_model(root / version, version) for version in ("v1", "v2", "v3", "v4")}
    models["wrong"] = make_model(root / "wrong", "wrong", golden_offset=0.001)
    models["damaged"] = make_model(root / "damaged", "damaged")
    (models["damaged"] / "saved_model" / "saved_model.pb").write_bytes(b"not a graph")
    case = Case(root / "endpoint", models)
    try:
        yield case
    finally:
        if case.folder.exists():
            operate.stop(case.endpoint)
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
    router = case.router_pid()
    for pid, log in ((said.pid or 0, case.folder / "server.log"), (router, case.folder / "router" / "router.log")):
        assert os.getsid(pid) == pid
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
        assert Path(f"/proc/{pid}/fd/1").readlink() == log
    url = str(said.url)
    rows = json.loads((case.models["v1"] / "golden.json").read_text())["instances"]
    status_code, predicted = client.request(url, "/predict", body={"instances": rows})
    assert status_code == 200
    assert [p["key"] for p in predicted["predictions"]] == ["a", "b", "c"]
    assert status(case.endpoint).serving["v1"]["responses"] == {"2xx": 1, "3xx": 0, "4xx": 0, "5xx": 0}


def test_what_is_live_and_healthy_is_left_as_it_is(case: Case) -> None:
    before, pid = case.state(), case.pid
    result = case.deploy("v1")
    assert (result.version, result.pid, result.checked_rows) == ("v1", pid, 3)
    assert case.state() == before


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("wrong", r"predictions\[0\]\.prediction: the server's prediction differs from the model's golden row"),
        ("damaged", "cannot be loaded"),
    ],
)
def test_a_broken_model_leaves_the_endpoint_as_it_was(case: Case, version: str, message: str) -> None:
    before, pid = case.state(), case.pid
    with pytest.raises(PlatformError, match=message):
        case.deploy(version)
    assert case.state() == before
    assert status(case.endpoint).healthy
    assert case.servers() == [pid]
    assert status(case.endpoint).versions == ("v1",)


def test_a_server_that_does_not_answer_in_time_is_ended(case: Case) -> None:
    before, pid = case.state(), case.pid
    # No machine is so fast that it starts within this.
    with pytest.raises(PlatformError, match=r"did not respond in time.*within 0\.01 s"):
        case.deploy("v2", start_timeout_s=0.01)
    assert case.state() == before
    assert case.servers() == [pid]


def test_a_deployment_that_is_killed_anywhere_is_finished_by_the_next(case: Case) -> None:
    before, pid = case.state(), case.pid
    url = before["url"]
    with Load(url) as load:
        for moment in (
            "publishing the model",
            "waiting for the server",
            "switching to the new server",
            "stopping the previous server",
        ):
            case.killed_at(moment, "v2")
            if moment != "stopping the previous server":
                after = case.state()
                assert {**after, "pending": None} == before, moment
                assert (after["pending"]["action"], after["pending"]["version"]) == ("deploy", "v2")
                half = "the deployment of v2 is half-finished, begun by "
                # A process that is being started holds the lock until it has announced itself.
                wait_for(lambda: status(case.endpoint).half_finished.startswith(half))  # noqa: B023 - called at once
                assert client.healthy(url, "v1"), moment
        assert client.healthy(url, "v2")
        assert (status(case.endpoint).half_finished, case.state()["url"]) == ("", url)
        # The router stops the process of v1, whether or not the deployment lives.
        wait_for(lambda: pid not in case.servers())
        (case.folder / "versions" / ".v2.left").mkdir()
        result = case.deploy("v2")
    assert (result.version, result.previous, result.checked_rows, result.url) == ("v2", "v1", 3, url)
    assert case.servers() == [result.pid]
    assert [(c.epoch, c.version) for c in status(case.endpoint).history] == [(1, "v1"), (2, "v2")]
    assert case.left_behind() == []
    assert load.failed == []
    assert load.versions == ["v1", "v2"]


def test_a_process_that_died_is_started_again_by_the_router_and_nothing_else_changes(case: Case) -> None:
    before, pid = case.state(), case.pid
    os.kill(pid, signal.SIGKILL)

    def noticed() -> bool:
        """Whoever asks meanwhile is told to ask again; a busy machine may ask when the next process is there."""
        asked, _ = client.request(before["url"], "/predict", body={"instances": []})
        return asked == 503 or case.pid not in (0, pid)

    wait_for(noticed)
    wait_for(lambda: status(case.endpoint).healthy)
    assert case.pid not in (0, pid)
    assert status(case.endpoint).serving["v2"]["restarts"] == 1
    assert case.state() == before


def test_a_router_that_died_is_started_again_by_a_version_and_continues_its_counts(case: Case) -> None:
    before, pid = case.state(), case.pid
    requests = status(case.endpoint).serving["v2"]["requests"]

    def saved() -> tuple[int, int]:
        version = json.loads((case.folder / "router" / "state.json").read_text())["versions"]["v2"]
        return version["pid"], version["requests"]

    wait_for(lambda: saved() == (pid, requests))
    router = case.router_pid()
    with locked(case.endpoint):
        # Whoever changes the endpoint starts the router itself: meanwhile no version does.
        os.kill(router, signal.SIGKILL)
        wait_for(lambda: not is_locked(str(case.folder / "router")))
        said = status(case.endpoint)
        assert (said.healthy, said.why_unhealthy) == (False, "the router does not run")
        other = socket.create_server(("127.0.0.1", said_port(before)))
        assert status(case.endpoint).why_unhealthy == f"another program answers at {before['url']}"
    with other, pytest.raises(UsageError, match=r"the router did not start(.|\n)*cannot listen at its address"):
        operate.start(case.endpoint)
    # Nobody does anything from now on.
    wait_for(lambda: status(case.endpoint).healthy)
    said = status(case.endpoint)
    assert (said.pid, said.serving["v2"]["requests"], case.state()) == (pid, requests, before)
    assert case.router_pid() != router
    assert operate.start(case.endpoint) == before["url"]


def test_rollback_and_a_second_press_of_the_button(case: Case) -> None:
    url = case.state()["url"]
    for moment in ("switching to the new server", "setting the aliases of the registry"):
        case.killed_at(moment, rollback=True)
        half = "the rollback from v2 to v1 is half-finished, begun by "
        wait_for(lambda: status(case.endpoint).half_finished.startswith(half))  # noqa: B023 - called at once
        with pytest.raises(PlatformError, match="a rollback of the endpoint is not finished"):
            case.deploy("v2")
    assert status(case.endpoint).live == "v1"
    result = case.roll_back()
    assert (result.version, result.bad) == ("v1", "v2")
    said = status(case.endpoint)
    assert (said.healthy, said.live, said.previous, said.half_finished, said.url) == (True, "v1", None, "", url)
    wait_for(lambda: case.servers() == [status(case.endpoint).pid])
    assert said.versions == ("v1", "v2")
    before = case.state()
    again = case.roll_back()
    assert (again.version, again.bad) == ("v1", "")
    assert "v1 has all traffic since " in again.steps[0].done
    assert case.state() == before
    assert [(c["epoch"], c["version"], c["action"], c["traffic"]) for c in before["history"]] == [
        (1, "v1", "deploy", {"v1": 100}),
        (2, "v2", "deploy", {"v2": 100}),
        (3, "v1", "rollback", {"v1": 100}),
    ]
    with pytest.raises(UsageError, match=r"Expected one of v1, v2\. Received: 'v9'"):
        case.roll_back(to="v9")
    with pytest.raises(UsageError, match="the model version is not valid"):
        case.roll_back(to="../v1")
    for call in (lambda: case.deploy("v2"), lambda: operate.promote(case.endpoint, "v2")):
        with pytest.raises(GateRefused, match="the version is marked as bad"):
            call()
    with pytest.raises(GateRefused, match="the version to return to is marked as bad"):
        case.roll_back(to="v2")
    assert case.state() == before


def test_promote_a_version_that_is_good_after_all_and_undeploy(case: Case) -> None:
    result, aliases = operate.promote(case.endpoint, "v2", why="it was the weather", restore=True)
    assert (result.version, result.previous, aliases) == ("v2", "v1", "")
    state = case.state()
    assert (state["bad"], state["history"][-1]["action"], state["history"][-1]["why"]) == (
        {},
        "promote",
        "it was the weather",
    )
    with pytest.raises(UsageError, match="the version has traffic"):
        operate.undeploy(case.endpoint, "v2")
    operate.undeploy(case.endpoint, "v1")
    operate.undeploy(case.endpoint, "v1")
    said = status(case.endpoint)
    assert (said.live, said.previous, said.versions) == ("v2", None, ("v2",))


def test_a_canary_under_load_is_promoted_and_no_request_fails(case: Case) -> None:
    settings = CanarySettings(
        steps=(20, 50), minimum_requests=40, minimum_step_s=0, latency_tolerance=1e6, minimum_replayed=20
    )
    config = LocalDeployConfig(str(case.models["v4"]), case.endpoint)
    # With a request log the process is another one, of the same version.
    before = case.pid
    pid = case.deploy("v2", log_share=1.0).pid
    assert pid != before
    with Load(case.state()["url"]) as load:
        result = roll_out(RolloutConfig(config, settings, poll_s=0.1))
        # The version after the switch has answered, too.
        answered = len(load.latencies)
        wait_for(lambda: len(load.latencies) > answered + 5)
    assert (result.outcome, result.live, result.reasons[0]) == (
        "promoted",
        "v4",
        "The minimum of requests is reached at every step, to 50 % of the traffic.",
    )
    assert load.failed == []
    assert load.versions == ["v2", "v4"]
    said = status(case.endpoint)
    assert (said.healthy, said.previous, said.half_finished) == (True, "v2", "")
    assert [(c.action, dict(c.traffic)) for c in said.history[-3:]] == [
        ("canary", {"v2": 80, "v4": 20}),
        ("canary", {"v2": 50, "v4": 50}),
        ("promote", {"v4": 100}),
    ]
    assert said.serving["v4"]["requests"] >= 80
    assert said.serving["v4"]["errors"] == 0
    # The canary's logged requests were scored by both versions, which are the same model.
    replayed = next(reason for reason in result.reasons if reason.startswith("Replay: of "))
    assert replayed.endswith("rows, 0 fail with the canary alone, 0 without it alone.")
    wait_for(lambda: pid not in case.servers())


def test_stop_and_what_starts_it_again(case: Case) -> None:
    url = case.state()["url"]
    operate.stop(case.endpoint)
    assert case.servers() == []
    said = status(case.endpoint)
    assert (said.live, said.url, said.pid, said.healthy, said.why_unhealthy) == (
        "v4",
        None,
        None,
        False,
        "it was stopped",
    )
    assert list((case.folder / "servers").iterdir()) == []
    operate.stop(case.endpoint)
    assert operate.start(case.endpoint) == url
    assert status(case.endpoint).healthy
    operate.stop(case.endpoint)
    port = control.free_port()
    result = case.deploy("v3", keep_versions=0, port=port)
    assert (result.version, result.previous, result.url) == ("v3", "v4", f"http://127.0.0.1:{port}")
    assert status(case.endpoint).versions == ("v3", "v4")


def test_a_server_that_does_not_listen_to_a_signal_is_killed(case: Case) -> None:
    pid, folder = case.pid, EndpointFolder(case.endpoint)
    state = folder.existing()
    # No version starts its router again.
    folder.write(replace(state, stopped=True), state)
    control.stop(folder)
    os.kill(pid, signal.SIGSTOP)
    server = processes.read(str(case.folder / "servers"), pid)
    assert server is not None
    from headrace.components.deploy.local import launcher

    launcher.stop(server, case.folder / "servers", timeout_s=0.2)
    assert case.servers() == []
