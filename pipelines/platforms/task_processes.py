"""Task processes: kfp.local's tasks as children of fork servers, or as new processes where that is not possible."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from headrace.components.serve.processes import MODULE as ENDPOINT_SERVER
from headrace.core.steps import fork_server
from headrace.core.steps.step import ENGINE_PID, ENGINE_RUN, ENGINE_SOURCE

# kfp's command of a Python component that installs no packages: sh, its options, this script, and the source.
_SCRIPT = re.compile(
    r'program_path=\$\(mktemp -d\)\s+printf "%s" "\$0" > "\$program_path/ephemeral_component\.py"\s+'
    r"_KFP_RUNTIME=true \S*python\S* -m kfp\.dsl\.executor_main\s+--component_module_path\s+"
    r'"\$program_path/ephemeral_component\.py"\s+"\$@"\s*'
)
_EXECUTOR = "kfp.dsl.executor_main"
# The option of kfp's executor that is followed by the task's inputs.
_ARGUMENTS = "--executor_input"
_COMPONENT = re.compile(r"^\s+from headrace\.components\.", re.MULTILINE)
# Functions, each an argument of kfp's executor by itself.
_WITH_TENSORFLOW = frozenset({"train", "evaluate", "tune", "score"})
# It needs TensorFlow if the model is not measured yet.
_MAY_DO_WITHOUT = "evaluate"
# It starts the server of an endpoint, which imports TensorFlow; the task itself does not need TensorFlow.
_DEPLOY = "deploy.local"
# Variables that the engine sets for a run's tasks.
_OF_RUN = frozenset({ENGINE_PID, ENGINE_RUN, ENGINE_SOURCE})
# What each kind of server imports. The memory that a step reports includes its server's imports, so the steps that do
# without TensorFlow have a server without it.
MODULES: Mapping[str, tuple[str, ...]] = {
    # First, because its import takes longest.
    "tensorflow": (
        _EXECUTOR,
        "tensorflow",
        "headrace.components.train.trainer",
        "headrace.components.evaluate.evaluator",
        ENDPOINT_SERVER,
    ),
    "plain": (
        _EXECUTOR,
        "headrace.components.registry.folder.step",
        "headrace.components.deploy.local.step",
        "headrace.components.summarize.step",
    ),
}


class TaskProcesses:
    """Processes of a local run's tasks, as a context that ends its fork servers.

    Where the system cannot fork safely, or a server could not start, each task is a new process: results, records,
    output and exit status are the same.

    Args:
        kinds: of servers to start, of MODULES.
    """

    def __init__(self, kinds: Sequence[str] = tuple(MODULES)) -> None:
        self._kinds = kinds
        self._servers: dict[str, _Server] = {}
        # Whether a task of the run was forked from the server with TensorFlow.
        self._imported = False
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-tasks-")

    def __enter__(self) -> Self:
        self._environment = dict(os.environ)
        # Elsewhere system libraries start threads of their own.
        if sys.platform == "linux":
            for kind in self._kinds:
                with contextlib.suppress(OSError):
                    self._servers[kind] = _Server(MODULES[kind])
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._folder.cleanup()

    @contextlib.contextmanager
    def used_by_kfp(self) -> Iterator[None]:
        """Has kfp.local run its tasks here, with the arguments as they were given."""
        from kfp.local import subprocess_task_handler

        with _arguments_kept(subprocess_task_handler), self._instead_of_new_processes(subprocess_task_handler):
            yield

    @contextlib.contextmanager
    def _instead_of_new_processes(self, subprocess_task_handler: Any) -> Iterator[None]:
        if {name: value for name, value in os.environ.items() if name not in _OF_RUN} != self._environment:
            # A Problem file that was loaded since has set what TensorFlow may read when it is imported.
            self._end()
            self.__enter__()
        new_process = getattr(subprocess_task_handler, "run_local_subprocess", None)
        if new_process is None or not self._servers:
            yield
            return

        def run(full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
            return self._run(full_command, env_vars or {}, new_process)

        subprocess_task_handler.run_local_subprocess = run
        try:
            yield
        finally:
            subprocess_task_handler.run_local_subprocess = new_process

    def output(self) -> str:
        """What the servers have printed, such as the warnings of TensorFlow's import."""
        return "".join(server.output() for server in self._servers.values())

    def _end(self) -> None:
        for server in self._servers.values():
            server.end()
        self._servers.clear()

    def _run(self, command: Sequence[str], variables: Mapping[str, str], new_process: Callable[..., int]) -> int:
        kind = kind_of(command)
        if kind == "tensorflow" and _MAY_DO_WITHOUT in command and not self._imported:
            # The import may still take a while.
            status = self._fork("plain", command, {**variables, fork_server.WITHOUT_TENSORFLOW: "1"})
            if status not in (None, fork_server.NEEDS_TENSORFLOW):
                return status
        if kind is not None and (status := self._fork(kind, command, variables)) is not None:
            self._imported |= kind == "tensorflow"
            return status
        return new_process(full_command=list(command), env_vars=dict(variables))

    def _fork(self, kind: str, command: Sequence[str], variables: Mapping[str, str]) -> int | None:
        """The exit status of a task in a child of a server; None if the server is gone."""
        server = self._servers.get(kind)
        if server is None:
            return None
        module = Path(self._folder.name, "ephemeral_component.py")
        module.write_text(command[3], encoding="utf-8")
        arguments = ["--component_module_path", str(module), *command[4:]]
        environment = {**os.environ, "_KFP_RUNTIME": "true", **variables}
        kept = []
        if _DEPLOY in command[3] and (with_tensorflow := self._servers.get("tensorflow")):
            kept.append(with_tensorflow.connection.fileno())
            environment[fork_server.FORK_SERVER] = fork_server.descriptor(0)
        request = fork_server.ForkRequest(f"{_EXECUTOR}:executor_main", arguments, environment, os.getcwd())  # noqa: PTH109
        return server.run(request, kept)


@contextlib.contextmanager
def _arguments_kept(subprocess_task_handler: Any) -> Iterator[None]:
    """Prevents kfp.local from replacing "python3" by the interpreter in arguments of tasks, such as a path of data."""
    replace = getattr(subprocess_task_handler, "replace_python_executable", None)
    if replace is None:
        yield
        return

    def replaced(full_command: list[str], new_executable: str) -> list[str]:
        at = full_command.index(_ARGUMENTS) if _ARGUMENTS in full_command else len(full_command)
        return [*replace(full_command[:at], new_executable), *full_command[at:]]

    subprocess_task_handler.replace_python_executable = replaced
    try:
        yield
    finally:
        subprocess_task_handler.replace_python_executable = replace


def kind_of(command: Sequence[str]) -> str | None:
    """The kind of fork server for a task, of MODULES; None if it must be a new process.

    Args:
        command: kfp's, of the task. Only a component of headrace is forked: another one may depend on what it imports.
    """
    if len(command) < 4 or list(command[:2]) != ["sh", "-ec"] or not _SCRIPT.fullmatch(command[2]):
        return None
    if not _COMPONENT.search(command[3]):
        return None
    return "tensorflow" if _WITH_TENSORFLOW.intersection(command[4:]) else "plain"


class _Server:
    """A running fork server."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.connection, other = socket.socketpair()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        try:
            with other:
                self._process = subprocess.Popen(
                    # -P: a file `numpy.py` in the working folder must not be imported.
                    [sys.executable, "-P", "-m", fork_server.__name__, str(other.fileno()), *modules],
                    stdout=self._log,
                    stderr=self._log,
                    pass_fds=(other.fileno(),),
                    env={**os.environ, "_KFP_RUNTIME": "true"},
                )
        except OSError:
            self.connection.close()
            self._log.close()
            raise

    def run(self, request: fork_server.ForkRequest, kept: Sequence[int]) -> int | None:
        """Runs a task, prints its output, and returns its exit status; None if the server is gone."""
        readable, writable = os.pipe()
        with open(readable, encoding="utf-8", errors="replace", newline="\n") as output:  # noqa: PTH123
            try:
                answers = request.send(self.connection, writable, kept)
            finally:
                os.close(writable)
            if answers is None:
                return None
            for line in output:
                print(line, end="")  # noqa: T201 - as kfp.local does, whose output is redirected
            print("\n")  # noqa: T201
            with contextlib.suppress(OSError, ValueError):
                return int(answers.readline())
            # The server was killed while the task ran, so the task's result is unknown.
            return 1

    def end(self) -> None:
        """Ends the server, even while it imports."""
        self.connection.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def output(self) -> str:
        """What it has printed so far."""
        # The server writes at the position of the same open file, so nothing may be sought here.
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")
