"""Tasks are children of fork servers, and behave as new processes do."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from headrace.components.deploy.local.server_process import ServerProcess
from headrace.components.serve import processes as serve_processes
from headrace.core.errors import PlatformError
from headrace.core.steps import fork_server
from headrace.core.steps.step import ENGINE_PID, read_record
from headrace.pipelines.platforms import local, task_processes
from headrace.pipelines.platforms.task_processes import TaskProcesses, kind_of

GOLDEN = Path(__file__).parents[1] / "golden"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork servers are for Linux")


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def look(root: str, fail: bool, out: dsl.Output[dsl.Artifact]) -> None:
    import json
    import os
    import signal
    import sys
    from pathlib import Path

    import numpy as np

    from headrace.components.serve.processes import MODULE
    from headrace.core.errors import DataError
    from headrace.core.steps.step import running

    with running("look", root=root) as step:
        step.identity = "1"
        print("chatter on stdout", MODULE)
        print("chatter on stderr", end="", file=sys.stderr)
        seen = {
            "parent": os.getppid(),
            "folder": str(Path.cwd()),
            "variables": sorted(set(os.environ) - {"HEADRACE_PRELOADED_BYTES"}),
            "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGHUP)],
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "random": np.random.random(),
            "threads": len(list(Path("/proc/self/task").iterdir())),
        }
        Path(out.path).write_text(json.dumps(seen))
        if fail:
            raise DataError("it was told to fail")


@dsl.pipeline(name="looks")
def looks(root: str, fail: bool) -> None:
    platform = local.LocalPlatform()
    with dsl.ExitHandler(platform.configure_task(look(root=root, fail=False)).set_caching_options(False)):
        platform.configure_task(look(root=root, fail=fail)).set_caching_options(False)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def wait(root: str) -> None:
    import os
    import threading
    from pathlib import Path

    from headrace.components.serve.processes import MODULE
    from headrace.core.steps.step import running

    with running("wait", root=root) as step:
        step.identity = MODULE
        Path(root, "pids").write_text(f"{os.getpid()} {os.getppid()}")
        threading.Event().wait()


@dsl.pipeline(name="waits")
def waits(root: str) -> None:
    local.LocalPlatform().configure_task(wait(root=root))


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def evaluate(root: str, out: dsl.Output[dsl.Artifact]) -> None:
    import os
    from pathlib import Path

    from headrace.components.serve.processes import MODULE
    from headrace.core.steps import fork_server, identity
    from headrace.core.steps.step import running

    if fork_server.without_tensorflow() and not Path(root, "measured").exists():
        raise SystemExit(fork_server.NEEDS_TENSORFLOW)
    with running("evaluate", root=root) as step:
        step.identity = MODULE
        known = identity._imported.cache_info().currsize
        Path(out.path).write_text(f"{os.getppid()} {known}")


@dsl.pipeline(name="evaluates")
def evaluates(root: str) -> None:
    local.LocalPlatform().configure_task(evaluate(root=root)).set_caching_options(False)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], str]:
    folder = tmp_path_factory.mktemp("specs")

    def compile_one(pipeline: Any) -> str:
        path = folder / f"{pipeline.name}.yaml"
        if not path.exists():
            compiler.Compiler().compile(pipeline, str(path))
        return str(path)

    return compile_one


def run(
    spec: str, root: Path, processes: TaskProcesses | None, *, fail: bool = False
) -> tuple[list[Any], dict[str, Any]]:
    """The events of a run and what its first task saw."""
    heard: list[dict[str, Any]] = []
    local.run(
        spec, {"root": str(root), "fail": fail}, root=str(root), logs=str(root / "logs"), listener=heard.append,
        processes=processes,
    )  # fmt: skip
    first, *_ = sorted(root.glob("pipeline/looks-*/look*/out"), key=lambda path: path.stat().st_mtime)
    return [(event["step"], event["event"]) for event in heard], json.loads(first.read_text())


def told(log: Path) -> list[str]:
    """The lines of a log that do not name a run's folder, a time or kfp's own start."""
    return [line for line in log.read_text().splitlines() if "KFP Executor" not in line and "finished in" not in line]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with TaskProcesses(["plain"]) as processes:
        yield processes


@pytest.mark.parametrize("fail", [False, True])
def test_a_forked_task_is_like_a_new_process(
    compiled: Callable[[Any], str], plain: TaskProcesses, tmp_path: Path, fail: bool
) -> None:
    events, seen, lines, record = {}, {}, {}, {}
    for name, processes in (("forked", plain), ("new", None)):
        root = tmp_path / name
        root.mkdir()
        events[name], seen[name] = run(compiled(looks), root, processes, fail=fail)
        lines[name] = [line.replace(str(root), "ROOT") for line in told(root / "logs" / "look.log")]
        record[name] = read_record(str(root), "look", "1")
    ended = "failed" if fail else "finished"
    assert events["forked"] == events["new"] == [
        ("look", "started"), ("look", ended), ("look", "started"), ("look", "finished"),
    ]  # fmt: skip
    assert [line for line in lines["forked"] if "line " not in line] == [
        line for line in lines["new"] if "line " not in line
    ]
    assert seen["forked"].pop("parent") != seen["new"].pop("parent")
    assert seen["forked"].pop("random") != seen["new"].pop("random")
    assert seen["forked"] == seen["new"]
    assert record["forked"] is not None
    assert record["new"] is not None
    assert record["forked"].keys() == record["new"].keys()
    assert record["forked"]["peak_memory_bytes"] > 20e6
    assert ENGINE_PID not in os.environ


def test_each_child_has_random_numbers_of_its_own(
    compiled: Callable[[Any], str], plain: TaskProcesses, tmp_path: Path
) -> None:
    run(compiled(looks), tmp_path, plain)
    seen = [json.loads(path.read_text()) for path in tmp_path.glob("pipeline/looks-*/look*/out")]
    assert len({each["random"] for each in seen}) == len(seen) == 2
    assert {each["parent"] for each in seen} == {plain._servers["plain"]._process.pid}


def test_the_engine_takes_tasks_and_servers_along_when_it_is_killed(
    compiled: Callable[[Any], str], tmp_path: Path
) -> None:
    program = f"""
from headrace.pipelines.platforms import local
from headrace.pipelines.platforms.task_processes import TaskProcesses
with TaskProcesses(["plain"]) as processes:
    local.run({compiled(waits)!r}, {{"root": {str(tmp_path)!r}}}, root={str(tmp_path)!r},
              logs={str(tmp_path / "logs")!r}, listener=print, processes=processes)
"""
    engine = subprocess.Popen([sys.executable, "-c", program])
    pids = tmp_path / "pids"
    wait_until(lambda: pids.exists() and bool(pids.read_text()))
    task, server = map(int, pids.read_text().split())
    assert server != engine.pid
    assert alive(task)
    engine.kill()
    engine.wait()
    wait_until(lambda: not alive(task) and not alive(server))


def test_without_its_server_a_task_is_a_new_process(compiled: Callable[[Any], str], tmp_path: Path) -> None:
    with TaskProcesses(["plain"]) as processes:
        server = processes._servers["plain"]._process
        server.kill()
        server.wait()
        events, seen = run(compiled(looks), tmp_path, processes)
    assert [event for _, event in events] == ["started", "finished"] * 2
    assert seen["parent"] != server.pid


@pytest.mark.parametrize(
    "content",
    [
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
        "device = open('/dev/zero')",
        "raise ImportError",
    ],
)
def test_without_a_server_that_can_fork_tasks_are_new_processes(
    compiled: Callable[[Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "unsafe.py").write_text(content)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(task_processes, "MODULES", {"plain": ("unsafe",)})
    with TaskProcesses(["plain"]) as processes:
        server = processes._servers["plain"]._process.pid
        events, seen = run(compiled(looks), tmp_path, processes)
    assert [event for _, event in events] == ["started", "finished"] * 2
    assert seen["parent"] != server
    log = (tmp_path / "logs" / "engine.log").read_text()
    assert ("ImportError" if "ImportError" in content else "an import started a thread or opened a device") in log


def test_a_variable_that_was_set_since_reaches_the_tasks(
    compiled: Callable[[Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TaskProcesses(["plain"]) as processes:
        before = processes._servers["plain"]._process
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        _, seen = run(compiled(looks), tmp_path, processes)
        assert "TF_ENABLE_ONEDNN_OPTS" in seen["variables"]
        assert seen["parent"] == processes._servers["plain"]._process.pid != before.pid
        assert before.returncode is not None


def test_steps_that_need_tensorflow_have_a_server_with_it() -> None:
    kinds = {}
    for name in ("static_training", "batch_scoring"):
        spec = next(yaml.safe_load_all((GOLDEN / f"{name}_local.yaml").read_text()))
        for executor, what in spec["deploymentSpec"]["executors"].items():
            container = what["container"]
            kinds[executor.removeprefix("exec-")] = kind_of([*container["command"], *container["args"]])
    assert kinds == {
        **dict.fromkeys(("preprocess", "register", "deploy", "summarize"), "plain"),
        **dict.fromkeys(("champion", "check", "publish", "notify"), "plain"),
        **dict.fromkeys(("train", "evaluate", "score"), "tensorflow"),
    }


def test_a_step_waits_for_tensorflow_only_where_it_needs_it(
    compiled: Callable[[Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_processes, "MODULES", {"plain": (), "tensorflow": ()})
    parents = {}
    for measured in (False, True):
        heard: list[dict[str, Any]] = []
        root = tmp_path / str(measured)
        root.mkdir()
        if measured:
            (root / "measured").touch()
        with TaskProcesses(["plain", "tensorflow"]) as processes:
            servers = {server._process.pid: kind for kind, server in processes._servers.items()}
            arguments = {"root": str(root)}
            local.run(
                compiled(evaluates), arguments, root=str(root), logs=str(root / "logs"), listener=heard.append,
                processes=processes,
            )  # fmt: skip
        assert [event["event"] for event in heard] == ["started", "finished"]
        (out,) = root.glob("pipeline/evaluates-*/evaluate/out")
        parent, known = map(int, out.read_text().split())
        parents[measured] = servers[parent]
        # The digest of the code that the server imported, and not of what is on the disk when the task runs.
        assert known == 1
    assert parents == {False: "tensorflow", True: "plain"}


@pytest.mark.parametrize("kinds", [["plain"], []], ids=["servers", "no servers"])
def test_a_path_that_contains_the_name_of_an_interpreter_stays_as_it_is(kinds: list[str]) -> None:
    from kfp.local import subprocess_task_handler as handler

    task = [
        "sh",
        "-c",
        "python3 -m kfp",
        "--executor_input",
        '{"data": "/opt/lib/python3.11/a.csv"}',
        "--function",
        "f",
    ]
    before = handler.replace_python_executable
    with TaskProcesses(kinds) as processes, processes.used_by_kfp():
        done = handler.replace_python_executable(task, "/usr/bin/python")
    assert done == ["sh", "-c", "/usr/bin/python -m kfp", *task[3:]]
    assert handler.replace_python_executable is before


def test_a_component_of_a_user_is_a_new_process() -> None:
    script = (
        'program_path=$(mktemp -d)\n\nprintf "%s" "$0" > "$program_path/ephemeral_component.py"\n'
        '_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main --component_module_path "$program_path/'
        'ephemeral_component.py" "$@"\n'
    )
    ours = "\n    from headrace.components.train import step\n"
    assert kind_of(["sh", "-ec", script, ours, "--function_to_execute", "train"]) == "tensorflow"
    assert kind_of(["sh", "-ec", script, "\n    import torch\n"]) is None
    assert kind_of(["sh", "-ec", f"pip install torch\n{script}", ours]) is None
    assert kind_of(["sh", "-c", script, ours]) is None
    assert kind_of(["python3", "main.py"]) is None


def test_the_server_of_an_endpoint_is_a_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the lock and its arguments, and outlives the server that forked it."""
    (tmp_path / "daemon_module.py").write_text(
        "import json, os, sys, time\n"
        "def run():\n"
        "    kept = int(sys.argv[-1])\n"
        "    print(json.dumps([sys.argv[1:-1], os.getsid(0), os.read(kept, 4).decode()]))\n"
        "    sys.stdout.flush()\n"
        "    time.sleep(900)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(task_processes, "MODULES", {"plain": ("daemon_module",)})
    monkeypatch.setattr("headrace.components.deploy.local.server_process.MODULE", "daemon_module")
    reading, writing = os.pipe()
    os.write(writing, b"lock")
    with (tmp_path / "log").open("wb") as output, TaskProcesses(["plain"]) as processes:
        server = processes._servers["plain"]
        monkeypatch.setenv(fork_server.FORK_SERVER, str(server.connection.fileno()))
        started = ServerProcess.start(["model", "--name"], lock=reading, output=output.fileno(), folder=tmp_path)
        assert started.exited() is None
    os.close(reading)
    os.close(writing)
    wait_until(lambda: "]\n" in (tmp_path / "log").read_text())
    # Others may write to the log too, such as a sanitizer of the machine.
    (line,) = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("[[")]
    arguments, session, read = json.loads(line)
    assert (arguments, read) == (["model", "--name", "--inherited-lock"], "lock")
    assert session != os.getsid(0)
    assert Path(f"/proc/{started.pid}/cwd").readlink() == tmp_path
    assert started.exited() is None
    started.kill()
    wait_until(lambda: not alive(started.pid))


def test_a_daemon_starts_whether_its_parent_is_gone_or_not(tmp_path: Path) -> None:
    def gone(_: int) -> int:
        raise ProcessLookupError

    request = fork_server.ForkRequest("module:run", (), dict(os.environ), str(tmp_path), detached=True)
    if (pid := os.fork()) == 0:
        fork_server._resident_bytes = gone
        try:
            fork_server._become(request, [os.open(os.devnull, os.O_WRONLY)])
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("answer", [b"", b"\n"])
def test_a_daemon_that_did_not_start_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    ours, theirs = socket.socketpair()

    def end() -> None:
        received = fork_server.ForkRequest.receive(theirs)
        assert received is not None
        for each in received[1]:
            os.close(each)
        theirs.sendall(b"accepted\n" + answer)
        theirs.close()

    monkeypatch.setenv(fork_server.FORK_SERVER, str(ours.fileno()))
    thread = threading.Thread(target=end)
    thread.start()
    with ours, (tmp_path / "log").open("wb") as output, pytest.raises(PlatformError, match="was not started"):
        ServerProcess.start([], lock=output.fileno(), output=output.fileno(), folder=tmp_path)
    thread.join()


def test_its_command_line_names_the_server_of_endpoints() -> None:
    """By which an announced server is told from another process with its number."""
    assert serve_processes.MODULE in task_processes.MODULES["tensorflow"]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_signal_reaches_the_forked_task(compiled: Callable[[Any], str], tmp_path: Path) -> None:
    program = f"""
import json
from headrace.pipelines.platforms import local
from headrace.pipelines.platforms.task_processes import TaskProcesses
with TaskProcesses(["plain"]) as processes:
    print(local.run({compiled(waits)!r}, {{"root": {str(tmp_path)!r}}}, root={str(tmp_path)!r},
                    logs={str(tmp_path / "logs")!r}, listener=lambda event: None, processes=processes))
"""
    engine = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pids = tmp_path / "pids"
    wait_until(lambda: pids.exists() and bool(pids.read_text()))
    engine.send_signal(signal.SIGTERM)
    assert engine.communicate()[0].split()[-1] == "True"
    record = read_record(str(tmp_path), "wait", serve_processes.MODULE)
    assert record is not None
    assert record["error"]["kind"] == "Terminated"
