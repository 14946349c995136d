"""What is Kubeflow's own: its refusals, runs of one name, recurring runs, and paths of the cluster."""

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from peers.kubeflow_pipelines import KubeflowPipelines
from peers.pipeline_engine import TaskFailed
from peers.pipeline_platforms import NATALITY, Platform, headrace
from peers.rest import RestServer, answering

CRON = ["--cron", "0 3 * * *"]


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (401, "Unauthenticated", "kubectl create token SERVICE_ACCOUNT"),
        (
            403,
            "User 'ann@example.com' is not authorized with reason: (request: Verb:create Resource: runs)",
            "kubectl create rolebinding headrace --clusterrole=kubeflow-edit --user=ann@example.com",
        ),
        (400, "Invalid input error: the pipeline spec is invalid", "Kubeflow Pipelines rejected the request"),
    ],
)
def test_a_refusal_says_what_mends_it(
    kubeflow: Platform, code: int, message: str, said: str, clock: list[float]
) -> None:
    kubeflow.server.fail(kubeflow.create, code, times=100, message=message)
    done = kubeflow.submit()
    assert (done.status, clock) == (2, [])
    assert message in done.error
    assert said in done.error


@pytest.mark.parametrize(
    ("release", "taken"), [("2.13.0", False), ("2.14.3", False), ("2.15.0-rc.1", True), ("mine", True)]
)
def test_a_backend_that_is_too_old_is_refused_with_its_version(
    kubeflow: Platform, release: str, taken: bool, clock: list[float]
) -> None:
    kubeflow.server.tag_name = release
    done = kubeflow.submit()
    assert (done.status, clock) == (0 if taken else 2, [])
    if not taken:
        assert "the backend is older than the pipeline needs" in done.error
        assert "Expected Kubeflow Pipelines 2.15 or newer, for a secret with `optional`" in done.error
        assert f"Received: {release}" in done.error
        assert kubeflow.server.runs == {}


def test_what_the_backend_cannot_compile_is_refused_at_once(
    kubeflow: Platform, tmp_path: Path, clock: list[float]
) -> None:
    """The server's status is 500, as of a failure that passes; its message is that of the spec."""
    (pipeline, *rest) = yaml.safe_load_all(Path(kubeflow.spec).read_text())
    task = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]["resolve"]
    task["artifactIterator"] = {"items": {"inputArtifact": "x"}, "itemInput": "x"}
    kubeflow.spec = str(tmp_path / "loop.yaml")
    Path(kubeflow.spec).write_text(yaml.safe_dump_all([pipeline, *rest]))
    done = kubeflow.submit()
    assert (done.status, clock, kubeflow.server.runs) == (2, [], {})
    assert "artifact iterator not implemented yet" in done.error
    assert "github.com" not in done.error


def test_nothing_answers(clock: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = headrace("status", "--platform", "kubeflow", "--kubeflow-url", f"http://127.0.0.1:{port}")
    assert done.status == 75
    assert "kubectl port-forward --namespace kubeflow service/ml-pipeline 8888:8888" in done.error
    # A server that restarts is waited for some seconds, and not for minutes.
    assert (len(clock), sum(clock) <= 7) == (3, True)


def test_a_server_that_is_gone_after_its_first_response_is_waited_for(kubeflow: Platform, clock: list[float]) -> None:
    assert kubeflow.submit().status == 0
    kubeflow.server.fail(r"GET .*/runs$", 0, times=1000)
    done = headrace("status", *kubeflow.options)
    assert (done.status, 100 < sum(clock) <= 180) == (75, True)


@pytest.fixture
def greeting() -> Iterator[str]:
    """Host and port of a server that speaks first, as SSH does."""

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
            # Until the other side has read it: closed with unread data, the connection would be reset.
            while self.request.recv(4096):
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("scheme", "what"),
    [
        ("http", "the server at --kubeflow-url does not use HTTP"),
        ("https", "the TLS connection to --kubeflow-url fails"),
    ],
)
def test_a_server_of_another_protocol(greeting: str, scheme: str, what: str, clock: list[float]) -> None:
    done = headrace("status", "--platform", "kubeflow", "--kubeflow-url", f"{scheme}://{greeting}")
    assert (done.status, what in done.error, clock) == (2, True, []), done.error


def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    done = headrace("status", "--platform", "kubeflow", "--kubeflow-url", "http://ml-pipeline.example")
    assert (done.status, "the host's name does not exist" in done.error, clock) == (2, True, []), done.error


def test_a_host_that_drops_packets(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    from urllib3.util import connection

    asked: list[float] = []

    def dropped(_: Any, timeout: float, *__: Any, **___: Any) -> None:
        asked.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(connection, "create_connection", dropped)
    done = headrace("status", "--platform", "kubeflow", "--kubeflow-url", "http://10.0.0.1:8888")
    assert (done.status, "Connection to 10.0.0.1 timed out" in done.error) == (75, True), done.error
    assert "Check --kubeflow-url" in done.error
    # One connection per attempt, with a limit.
    assert (asked, len(clock)) == ([10.0] * 4, 3)


def test_an_address_that_is_none(clock: list[float]) -> None:
    done = headrace("status", "--platform", "kubeflow", "--kubeflow-url", "http://[::1")
    assert (done.status, "--kubeflow-url is not a URL" in done.error, clock) == (2, True, []), done.error


@pytest.mark.parametrize("namespace", [[], ["--namespace", "ann"]])
@pytest.mark.parametrize(("status", "body"), [(404, b""), (405, b"no"), (200, b"<html>welcome</html>")])
def test_another_web_server(status: int, body: bytes, namespace: list[str], clock: list[float]) -> None:
    server = RestServer()
    with answering(server, lambda *_: (status, body), lambda *_: b""):
        for command in (["status"], ["status", "6f1c0e1e-2222-3333-4444-555555555555"], ["schedule", "list"]):
            done = headrace(*command, "--platform", "kubeflow", "--kubeflow-url", server.url, *namespace)
            assert (done.status, "no Kubeflow Pipelines API responds at --kubeflow-url" in done.error) == (2, True), (
                done.error
            )
    # Each command asks once: the answer will be the same.
    assert (len(server.requests), clock) == (3, [])


def test_a_server_without_recurring_runs(kubeflow: Platform, clock: list[float]) -> None:
    assert kubeflow.submit().status == 0
    kubeflow.server.fail(r"GET .*/recurringruns$", 404, times=100, message="Not Found")
    done = headrace("schedule", "list", *kubeflow.options)
    assert (done.status, "schedules: Kubeflow Pipelines does not have it" in done.error, clock) == (2, True, [])


@pytest.mark.parametrize("status", [200, 500])
def test_a_pod_without_a_log_is_said_at_once(kubeflow: Platform, status: int, clock: list[float]) -> None:
    kubeflow.server.missing_log = status
    name = kubeflow.submit("--wait").output.splitlines()[0].split()[0].rstrip(":")
    (run,) = kubeflow.server.runs
    kubeflow.server.pod_logs[kubeflow.server.pod_name(run, "train")] = "epoch 1"
    told = headrace("logs", name, *kubeflow.options)
    assert (told.status, clock) == (0, [])
    assert "train: epoch 1" in told.output.splitlines()
    assert "preprocess: WARNING the API server has no log of this task" in told.output
    assert "Failed to read logs" not in told.output


def test_a_log_that_breaks_off_says_so(kubeflow: Platform, clock: list[float]) -> None:
    server: KubeflowPipelines = kubeflow.server
    name = kubeflow.submit("--wait").output.splitlines()[0].split()[0].rstrip(":")
    (run,) = server.runs
    pod = server.pod_name(run, "train")
    for text in ("epoch 1\n", "epoch 1"):
        server.pod_logs[pod], server.broken_logs = text, {pod}
        told = headrace("logs", name, *kubeflow.options, "--task", "train")
        first, warned = told.output.splitlines()
        assert (told.status, first, clock) == (0, "train: epoch 1", [])
        assert warned.startswith("train: WARNING the log breaks off here: BadRequestError: Failed to read logs for run")
        assert "error_details" not in told.output
    # What a program prints is its own.
    printed = '{"error_message": "disk", "severity": "INFO"}'
    server.pod_logs[pod], server.broken_logs = printed, set()
    assert headrace("logs", name, *kubeflow.options, "--task", "train").output == f"train: {printed}\n"


def test_the_log_of_evaluate_says_which_checks_failed(kubeflow: Platform) -> None:
    server: KubeflowPipelines = kubeflow.server
    result = {
        "checks": [{"passed": False}, {"passed": True}, {"passed": None}],
        "reasons": ["root_mean_squared_error is 1.5, and may be 1.2 at most.", "fine.", "too few rows."],
    }
    event = {"severity": "INFO", "message": "done", "headrace": {"record": {"step": "evaluate", "result": result}}}
    kubeflow.do.by_task = {"evaluate": {"Output": False}}
    server.at_end = lambda run: server.pod_logs.update({server.pod_name(run.run_id, "evaluate"): json.dumps(event)})
    done = kubeflow.submit("--wait")
    assert done.status == 3
    assert "the gate refused the model, and nothing was deployed (1 of 3 checks failed)." in done.error
    assert "Received: root_mean_squared_error is 1.5, and may be 1.2 at most. Why: headrace logs" in done.error


def test_a_failed_step_tells_its_own_error_by_its_log(kubeflow: Platform) -> None:
    error = {"kind": "DataError", "what": "there is no column", "where": "births.csv", "received": "mother_age"}
    event = {"severity": "ERROR", "message": "there is no column", "headrace": {"record": {"error": error}}}
    kubeflow.do.by_task = {"preprocess": TaskFailed(json.dumps(event), status=2)}
    done = kubeflow.submit("--wait")
    assert done.status == 2
    assert "births.csv: there is no column. Received: mother_age." in done.error


def test_of_two_runs_that_are_made_at_once_the_first_is_kept(kubeflow: Platform) -> None:
    server: KubeflowPipelines = kubeflow.server
    first = kubeflow.submit()
    held = server.runs
    # Our look is answered from before the other's run was there.
    original = server.handle
    seen = iter([True])

    def late(method: str, path: str, query: dict[str, str], body: bytes) -> object:
        if (method, path) == ("GET", "apis/v2beta1/runs") and next(seen, False):
            server.runs = {}
            try:
                return original(method, path, query, body)
            finally:
                server.runs = held
        return original(method, path, query, body)

    server.handle = late  # type: ignore[method-assign]
    second = kubeflow.submit()
    assert second.status == 0
    assert second.output.splitlines()[1] == first.output.splitlines()[1]
    kept, other = held.values()
    assert (kept.storage_state, other.storage_state, other.state) == ("AVAILABLE", "ARCHIVED", "CANCELING")


def test_paths_of_the_cluster(kubeflow: Platform) -> None:
    given = [
        "--problem", str(NATALITY / "natality.py"), "--parameter", "problem=/mnt/headrace/natality.py",
        "--data", "/mnt/headrace/births.csv", "--root", "/mnt/headrace/root",
    ]  # fmt: skip
    unmeasured = headrace("submit", kubeflow.spec, *kubeflow.options, *given)
    assert (unmeasured.status, "Set --data-version" in unmeasured.error) == (2, True)
    done = headrace("submit", kubeflow.spec, *kubeflow.options, *given, "--data-version", "2026-11-21")
    assert done.status == 0
    (run,) = kubeflow.server.runs.values()
    assert run.runtime_config.pipeline_root is None
    parameters = run.runtime_config.parameters
    assert parameters["problem"] == "/mnt/headrace/natality.py"
    assert parameters["data_version"] == "2026-11-21"
    assert parameters["registry"] == "/mnt/headrace/root/registry/natality"
    relative = headrace("submit", kubeflow.spec, *kubeflow.options, *given[:-1], "root")
    assert (relative.status, "--root: a path of the cluster must be absolute" in relative.error) == (2, True)


def test_what_kubernetes_is_told_is_submitted_too(kubeflow: Platform) -> None:
    assert kubeflow.submit().status == 0
    (run,) = kubeflow.server.runs.values()
    assert set(run.pipeline_spec) == {"pipeline_spec", "platform_spec"}
    executors = run.pipeline_spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-train"]["pvcMount"]


def test_a_recurring_run_is_made_changed_paused_and_deleted(kubeflow: Platform) -> None:
    spec, options = kubeflow.spec, kubeflow.options
    assert headrace("schedule", "list", *options).output == ""
    made = headrace("schedule", "set", spec, *options, *kubeflow.inputs, *CRON)
    assert made.output == 'created: natality: active, "0 3 * * *" UTC\n'
    (held,) = kubeflow.server.recurring_runs.values()
    assert (held.trigger.cron_schedule.cron, held.max_concurrency, held.no_catchup) == ("0 0 3 * * *", "1", True)
    # Each of its runs measures the data.
    assert held.runtime_config.parameters["data_version"] == ""
    assert headrace("schedule", "pause", "natality", *options).output == "paused: natality\n"
    changed = headrace("schedule", "set", spec, *options, *kubeflow.inputs, "--cron", "30 4 * * 1")
    assert changed.status == 0
    # What was paused stays so.
    assert headrace("schedule", "list", *options).output == 'natality: paused, "30 4 * * 1" UTC\n'
    assert headrace("schedule", "resume", "natality", *options).output == "active: natality\n"
    assert headrace("schedule", "delete", "natality", *options).status == 0
    assert kubeflow.server.recurring_runs == {}
    zone = headrace("schedule", "set", spec, *options, *kubeflow.inputs, *CRON, "--timezone", "Europe/Berlin")
    assert (zone.status, "one time zone for all schedules" in zone.error) == (2, True)


def test_a_lost_answer_makes_no_second_recurring_run(kubeflow: Platform) -> None:
    kubeflow.server.fail(r"POST .*/recurringruns$", 0, after=True)
    done = headrace("schedule", "set", kubeflow.spec, *kubeflow.options, *kubeflow.inputs, *CRON)
    assert (done.status, len(kubeflow.server.recurring_runs)) == (0, 1)


def test_any_other_pipeline_is_submitted_with_its_parameters(kubeflow: Platform, tmp_path: Path) -> None:
    from kfp import compiler, dsl

    @dsl.component(base_image="python:3.11-slim")
    def count(rows: int, share: float) -> int:
        return int(rows * share)

    @dsl.pipeline(name="Count Rows")
    def pipeline(rows: int, share: float = 0.5) -> None:
        count(rows=rows, share=share)

    path = tmp_path / "count.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    missing = headrace("submit", str(path), *kubeflow.options)
    assert (missing.status, "Set --parameter rows=..." in missing.error) == (2, True)
    wrong = headrace("submit", str(path), *kubeflow.options, "--data", "/mnt/x", "-p", "rows=3")
    assert (wrong.status, "--data: the pipeline does not have this input" in wrong.error) == (2, True)
    dry = headrace("submit", str(path), *kubeflow.options, "-p", "rows=3", "--dry-run")
    assert (dry.status, '"rows": 3' in dry.output, kubeflow.server.requests) == (0, True, [])
    done = headrace("submit", str(path), *kubeflow.options, "-p", "rows=3", "--wait", "--poll-seconds", "0.01")
    assert (done.status, done.output.startswith("count-rows-")) == (0, True)
    assert kubeflow.server.do.calls[0].parameters == {"rows": 3, "share": 0.5}
