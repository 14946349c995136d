"""The server as a process."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.tables import table_by_hand
from support.tiny_model import WAITING_AGE, save

from headrace.components.deploy.local.control import free_port
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.read import read_batches
from headrace.components.score.publishing import publish
from headrace.components.serve import processes
from headrace.components.serve.config import ServeConfig, config_from_environment
from headrace.components.serve.health import healthy
from headrace.core import storage
from headrace.core.errors import UsageError

ROW = {"key": "a", "mother_age": 30, "gestation_weeks": 40, "plurality": "1", "mother_smokes": "true"}


@dataclass
class Running:
    """A server that was started, and what it said when it was ready."""

    process: subprocess.Popen[str]
    ready_file: Path
    servers: Path
    health_while_loading: tuple[int, Any]
    url: str
    files: tuple[Path, Path]

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        return ask(self.url, path, body)

    @contextmanager
    def predicting(self) -> Iterator[list[tuple[int, Any]]]:
        """A prediction runs in the block; its answer is in the list after it."""
        answers: list[tuple[int, Any]] = []
        body = {"instances": [{**ROW, "mother_age": WAITING_AGE}]}
        asking = threading.Thread(target=lambda: answers.append(self.ask("/predict", body)))
        asking.start()
        begun, ended = self.files
        until(begun.exists)
        yield answers
        ended.touch()
        asking.join()
        begun.unlink()
        ended.unlink()


# A module of TensorFlow's name before the real one: loading a model waits here until somebody opens the pipe.
_WAITING = """
import importlib, sys
from pathlib import Path

here = Path(__file__).parent
(here / "load").read_bytes()
sys.path.remove(str(here))
del sys.modules[__name__]
importlib.import_module(__name__)
"""


def waiting_to_load(folder: Path) -> dict[str, str]:
    """The environment of a server that loads its model once `folder / "load"` is written."""
    (folder / "tensorflow.py").write_text(_WAITING)
    os.mkfifo(folder / "load")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def listening(process: subprocess.Popen[Any]) -> str | None:
    """Where a server listens, before it says so itself."""
    assert process.poll() is None
    for found in psutil.Process(process.pid).net_connections("tcp"):
        if found.status == psutil.CONN_LISTEN:
            return f"http://127.0.0.1:{found.laddr.port}"
    return None


def ask(url: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=600)
    try:
        connection.request("POST" if body is not None else "GET", path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def until(condition: Callable[[], Any], seconds: float = 600.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come true")


def answers(url: str, path: str = "/health") -> tuple[int, Any] | None:
    try:
        return ask(url, path)
    except OSError:
        return None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("server")
    model = make_model(root / "model", "v1")
    ready_file = root / "ready.json"
    ready_file.write_text("of a server that is gone")
    files = root / "begun", root / "ended"
    shutil.rmtree(model / "saved_model")
    save(model / "saved_model", files)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", processes.MODULE, str(model), "--port", "0"),
            *("--ready-file", str(ready_file), "--announce", str(root / "servers")),
            *("--request-log", str(root / "log"), "--request-log-share", "1"),
        ],
        env=waiting_to_load(root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = until(lambda: listening(process))
        loading = until(lambda: answers(url))
        assert not ready_file.exists()
        (root / "load").write_bytes(b"")
        until(ready_file.exists)
        assert json.loads(ready_file.read_text())["url"] == url
        yield Running(process, ready_file, root / "servers", loading, url, files)
    finally:
        process.kill()
        process.communicate()


def test_health_is_answered_before_and_after_the_model_is_there(server: Running) -> None:
    assert server.health_while_loading == (503, {"error": "the model is being loaded"})
    assert server.ask("/health") == (200, {"status": "ok", "model": "natality", "model_version": "v1"})


def test_it_says_where_it_is_when_it_is_ready(server: Running) -> None:
    said = json.loads(server.ready_file.read_text())
    assert said == {"pid": server.process.pid, "url": server.url, "name": "natality", "model_version": "v1"}
    announced = processes.running(str(server.servers))
    assert [(a.pid, a.version, a.url) for a in announced] == [(server.process.pid, "v1", server.url)]


def test_it_predicts(server: Running) -> None:
    for path in ("/predict", "/v1/models/natality:predict"):
        status, said = server.ask(path, {"instances": [ROW]})
        assert status == 200
        assert said["predictions"][0]["prediction"] == pytest.approx(6.0, rel=1e-6)


def test_a_body_that_is_too_big_is_refused_and_the_answer_arrives(server: Running) -> None:
    status, said = server.ask("/predict", {"instances": "x" * (9 << 20)})
    assert (status, said) == (413, {"error": "the body is too large. Expected at most 8388608 bytes."})


def test_health_answers_while_a_prediction_runs(server: Running) -> None:
    with server.predicting() as answers:
        assert server.ask("/health")[0] == 200
        assert not answers
    assert answers[0][0] == 200


def test_a_port_that_is_taken_is_the_users_mistake(server: Running, tmp_path: Path, make_model: Any) -> None:
    model = make_model(tmp_path / "model", "v1")
    second = subprocess.run(
        [sys.executable, "-m", processes.MODULE, str(model), "--port", server.url.rpartition(":")[2]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "the server cannot listen on the address" in second.stderr
    assert "Traceback" not in second.stderr
    assert second.stdout == ""


def test_a_signal_ends_it_after_the_requests_that_it_has(server: Running) -> None:
    # It is the last test of this server.
    with server.predicting() as answers:
        server.process.send_signal(signal.SIGTERM)
    out, log = server.process.communicate()
    assert answers[0][0] == 200
    assert server.process.returncode == 0
    assert out == ""
    assert "Traceback" not in log
    assert not server.ready_file.exists()
    assert processes.running(str(server.servers)) == []
    assert list(server.servers.iterdir()) == []
    # The row under way is the last one in the request log.
    *_, last = read_batches(str(server.servers.parent / "log"))
    assert last.columns["mother_age"].tolist() == [WAITING_AGE]
    assert (last.predictions["key"].tolist(), last.version) == ([b"a"], "v1")


def test_a_signal_while_the_model_is_loaded_ends_it_at_once(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    environment = {
        **waiting_to_load(tmp_path),
        "AIP_HTTP_PORT": "0",
        "AIP_HEALTH_ROUTE": "/alive",
    }
    with subprocess.Popen(
        [
            *(sys.executable, "-m", processes.MODULE, str(model)),
            *("--host", "127.0.0.1", "--announce", str(tmp_path / "servers")),
        ],
        env=environment,
        stderr=subprocess.PIPE,
    ) as process:
        url = until(lambda: listening(process))
        assert until(lambda: answers(url, "/alive")) == (503, {"error": "the model is being loaded"})
        process.send_signal(signal.SIGTERM)
        # It ends although the model is never loaded.
        process.communicate()
        assert process.returncode == 0
    assert list((tmp_path / "servers").iterdir()) == []


def test_a_damaged_model_ends_it_with_one_paragraph(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    (model / "schema.json").write_text('{"columns": 1}')
    ended = subprocess.run(
        [sys.executable, "-m", processes.MODULE, str(model), "--port", "0", "--announce", str(tmp_path / "servers")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "schema.json: the schema is damaged. Expected columns with" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list((tmp_path / "servers").iterdir()) == []


def test_the_environment_is_read_as_vertex_writes_it() -> None:
    config = config_from_environment(
        {
            "AIP_HTTP_PORT": "8081",
            "AIP_HEALTH_ROUTE": "/h",
            "AIP_PREDICT_ROUTE": "/p",
            "AIP_STORAGE_URI": "/models/1",
        }
    )
    assert config == ServeConfig("/models/1", host="0.0.0.0", port=8081, health_route="/h", predict_route="/p")
    assert config_from_environment({}) == ServeConfig("")
    assert config_from_environment({"HEADRACE_RULES": "warn"}) == ServeConfig("", rules="warn")
    logged = config_from_environment({"HEADRACE_REQUEST_LOG": "/log", "HEADRACE_REQUEST_LOG_SHARE": "0.5"})
    assert logged == ServeConfig("", request_log=RequestLogConfig("/log", 0.5))
    with pytest.raises(UsageError, match="HEADRACE_REQUEST_LOG_SHARE is not valid"):
        config_from_environment({"HEADRACE_REQUEST_LOG_SHARE": "half"})
    with pytest.raises(UsageError, match="the request log has a fraction and no folder"):
        config_from_environment({"HEADRACE_REQUEST_LOG_SHARE": "0.5"})
    with pytest.raises(UsageError, match="the mode of rules is not valid"):
        config_from_environment({"HEADRACE_RULES": "off"})
    followed = config_from_environment({"HEADRACE_ALIAS": "challenger", "HEADRACE_FOLLOW": "2.5"})
    assert followed == ServeConfig("", alias="challenger", follow_s=2.5)
    with pytest.raises(UsageError, match="HEADRACE_FOLLOW is not valid"):
        config_from_environment({"HEADRACE_FOLLOW": "often"})
    with pytest.raises(UsageError, match="AIP_HTTP_PORT is not valid"):
        config_from_environment({"AIP_HTTP_PORT": "http"})


def test_a_model_in_a_bucket_is_served_and_asked_by_the_health_check(
    bucket: str, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    model = make_model(tmp_path / "model", "v7")
    for file in filter(Path.is_file, model.rglob("*")):
        storage.write_bytes(f"gs://{bucket}/models/7/{file.relative_to(model).as_posix()}", file.read_bytes())
    told = {
        "AIP_STORAGE_URI": f"gs://{bucket}/models/7",
        "AIP_HTTP_PORT": str(free_port()),
        "AIP_HEALTH_ROUTE": "/v1/h",
        "AIP_PREDICT_ROUTE": "/v1/p",
        "TMPDIR": str(tmp_path / "scratch"),
    }
    (tmp_path / "scratch").mkdir()
    assert not healthy(told)
    process = subprocess.Popen([sys.executable, "-m", processes.MODULE], env={**os.environ, **told})
    try:
        until(lambda: healthy(told))
        url = f"http://127.0.0.1:{told['AIP_HTTP_PORT']}"
        assert ask(url, "/v1/h") == (200, {"status": "ok", "model": "natality", "model_version": "v7"})
        status, answer = ask(url, "/v1/p", {"instances": [ROW]})
        assert (status, answer["predictions"][0]["key"]) == (200, "a")
        assert list((tmp_path / "scratch").iterdir()) == []
        checked = [sys.executable, "-m", "headrace.components.serve.health"]
        # A busy machine may need longer than the four seconds that a check waits.
        until(lambda: subprocess.run(checked, env={**os.environ, **told}, check=False).returncode == 0)
        elsewhere = {**os.environ, **told, "AIP_HEALTH_ROUTE": "/nowhere"}
        assert subprocess.run(checked, env=elsewhere, check=False).returncode == 1
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"port": 70000}, "the port is not valid"),
        ({"health_route": "health"}, "the route is not valid"),
        ({"health_route": "/predict"}, "different routes"),
    ],
)
def test_the_configuration_checks_itself(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ServeConfig("model", **wrong)


def test_an_announcement_is_not_believed_when_its_process_is_another(tmp_path: Path) -> None:
    processes.announce(str(tmp_path), "v1", "http://127.0.0.1:1")
    # This process runs, and started when it says; but it is no server.
    assert processes.running(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "123.json").write_text("{")
    (tmp_path / "other.json").write_text("{}")
    assert processes.running(str(tmp_path)) == []
    assert processes.read(str(tmp_path), 123) is None


def test_a_table_in_a_bucket_is_served_without_a_model(tmp_path: Path, store: str) -> None:
    local = table_by_hand(tmp_path / "made", ["a", "b"], "a" * 16)
    place = f"{store}/table"
    publish(f"{local}/versions/{'a' * 16}", place)
    ready = tmp_path / "ready.json"
    command = [
        "--mode",
        "static",
        "--prediction-table",
        place,
        "--follow-every",
        "0.2",
        "--port",
        "0",
        "--ready-file",
        str(ready),
    ]
    with subprocess.Popen([sys.executable, "-m", processes.MODULE, *command], stderr=subprocess.PIPE) as process:
        try:
            until(lambda: ready.exists() or process.poll() is not None)
            url = json.loads(ready.read_text())["url"]
            status, found = ask(url, "/predict", {"instances": [{"key": "a"}]})
            assert (status, found["predictions"][0]["prediction"]) == (200, 2.0999999046325684)
            assert ask(url, "/predict", {"instances": [{"key": "c"}]})[0] == 404
            table_by_hand(tmp_path / "made", ["a", "c"], "b" * 16, 2.0)
            publish(f"{local}/versions/{'b' * 16}", place)
            until(lambda: ask(url, "/health")[1]["table"]["version"] == "b" * 16)
            status, found = ask(url, "/predict", {"instances": [{"key": "c"}]})
            assert (status, found["predictions"][0]["prediction"]) == (200, 4.099999904632568)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(600) == 0


def test_a_damaged_table_ends_it_with_one_paragraph(tmp_path: Path) -> None:
    place = table_by_hand(tmp_path, ["a", "b"], "a" * 16)
    (file,) = Path(f"{place}/versions/{'a' * 16}/table").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    command = [sys.executable, "-m", processes.MODULE, "--mode", "static", "--prediction-table", place, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the file is not a whole table of predictions" in done.stderr
    assert "Traceback" not in done.stderr
