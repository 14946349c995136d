"""Fork server: a process that has imported what tasks need, and forks a child for each request.

A task of a few seconds otherwise spends most of them importing TensorFlow. A fork is safe here because imports start no
thread and open no device: a server in which an import did so exits, and tasks then run as new processes. OpenBLAS, the
exception, stops its threads before a fork and starts them again in the child.

Run as `python -P -m headrace.core.steps.fork_server DESCRIPTOR MODULE...`, where the descriptor is that of a connected
socket: the server ends when the process at its other end is gone.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from headrace.core.steps import identity
from headrace.core.steps.step import PRELOADED_BYTES

# Environment variable with the descriptor of a connection to a server, for a task that starts a process which outlives
# it: nothing else uses the server while the task runs.
FORK_SERVER = "HEADRACE_FORK_SERVER"

# Environment variable of a task that its engine started without TensorFlow, and starts again with it where the task
# ends with this exit status.
WITHOUT_TENSORFLOW = "HEADRACE_WITHOUT_TENSORFLOW"
NEEDS_TENSORFLOW = 76

_MOST_DESCRIPTORS = 4
_THREADS = Path("/proc/self/task")
_DESCRIPTORS = Path("/proc/self/fd")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# No text of an argument or a variable contains a NUL.
_DESCRIPTOR = re.compile("\0([0-9])")


def descriptor(index: int) -> str:
    """Text for the number that `kept[index]` has in the child, as an argument or the value of a variable."""
    return f"\0{index}"


def without_tensorflow() -> bool:
    """Whether the engine starts this task again if it ends with NEEDS_TENSORFLOW before its step starts."""
    return WITHOUT_TENSORFLOW in os.environ


@dataclass(frozen=True)
class ForkRequest:
    """A function for a fork server to call in a child.

    Attributes:
        entry: as "MODULE:FUNCTION"; the child exits when the function returns.
        arguments: `sys.argv` without its first item.
        environment: all environment variables of the child.
        folder: working folder of the child.
        detached: whether the child is a daemon: in a session of its own, and not waited for.
    """

    entry: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    detached: bool = False

    def send(self, connection: socket.socket, output: int, kept: Sequence[int] = ()) -> IO[bytes] | None:
        """Sends the request.

        Args:
            connection: to the server.
            output: descriptor for the standard output and standard error of the child.
            kept: descriptors that the child receives too.

        Returns:
            The server's answers, each a line: the exit status, or the process id of a daemon, blank if there is none;
            None if the server is gone, and so will not run the request.
        """
        body = json.dumps({**vars(self), "environment": dict(self.environment)}).encode()
        answers = connection.makefile("rb")
        with contextlib.suppress(OSError):
            socket.send_fds(connection, [len(body).to_bytes(8, "big")], [output, *kept])
            connection.sendall(body)
            if answers.readline():
                return answers
        return None

    @classmethod
    def receive(cls, connection: socket.socket) -> tuple[ForkRequest, list[int]] | None:
        """Receives a request and its descriptors; None if the connection was closed."""
        head, descriptors, _, _ = socket.recv_fds(connection, 8, _MOST_DESCRIPTORS, socket.MSG_WAITALL)
        body = b"" if len(head) < 8 else _read(connection, int.from_bytes(head, "big"))
        return (cls(**json.loads(body)), descriptors) if body else None

    def run(self) -> None:
        """Calls the function in this process.

        Raises:
            SystemExit: with the status that the function returned.
        """
        module, _, function = self.entry.partition(":")
        sys.argv = [module, *self.arguments]
        raise SystemExit(getattr(importlib.import_module(module), function)())


def serve(connection: socket.socket) -> ForkRequest | None:
    """Forks a child per request, one at a time, until the connection is closed.

    Returns:
        In a child, its request; None in the server, when the connection was closed.
    """
    # What was imported stays: a collection would touch, and so copy, its pages in each child.
    gc.freeze()
    while (received := ForkRequest.receive(connection)) is not None:
        request, descriptors = received
        connection.sendall(b"accepted\n")
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            if request.detached:
                _detach(connection)
            connection.close()
            return _become(request, descriptors)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for each in descriptors:
            os.close(each)
        _, status = os.waitpid(pid, 0)
        if not request.detached:
            connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        elif status:
            # It did not become a daemon, and has sent no process id.
            connection.sendall(b"\n")
    return None


def import_modules(names: Iterable[str]) -> bool:
    """Imports modules, and returns whether a fork is safe afterwards: no import started a thread or opened a device."""
    # Its OpenBLAS starts threads.
    importlib.import_module("numpy")
    before = _held()
    for name in names:
        if name == "tensorflow":
            from headrace.core.tensorflow_import import import_tensorflow

            import_tensorflow()
        else:
            importlib.import_module(name)
    return _held() == before


def _held() -> tuple[int, frozenset[str]]:
    """The number of this process's threads, and the devices that it has open."""
    opened = set()
    for link in _DESCRIPTORS.iterdir():
        # One of them is that of this listing.
        with contextlib.suppress(FileNotFoundError):
            opened.add(str(link.readlink()))
    return len(list(_THREADS.iterdir())), frozenset(name for name in opened if name.startswith("/dev/"))


def _detach(connection: socket.socket) -> None:
    """Continues in a daemon, whose process id is sent."""
    os.setsid()
    if pid := os.fork():
        connection.sendall(b"%d\n" % pid)
        os._exit(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _become(request: ForkRequest, descriptors: Sequence[int]) -> ForkRequest:
    """Gives a child what a new process has: its output, environment, signals and random numbers.

    Returns:
        The request with the numbers of its descriptors.
    """
    output, *kept = descriptors
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)

    def numbered(text: str) -> str:
        return _DESCRIPTOR.sub(lambda found: str(kept[int(found[1])]), text)

    # The parent of a daemon may be gone already, and a daemon reports no memory.
    shared = 0 if request.detached else _resident_bytes(os.getppid()) - _resident_bytes(os.getpid())
    os.environ.clear()
    os.environ.update({name: numbered(value) for name, value in request.environment.items()})
    os.environ[PRELOADED_BYTES] = str(max(shared, 0))
    os.chdir(request.folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    # Python seeds its own generator again after a fork, NumPy does not.
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    arguments = tuple(map(numbered, request.arguments))
    return ForkRequest(request.entry, arguments, request.environment, request.folder, request.detached)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _read(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size and (part := connection.recv(min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"" if size else b"".join(parts)


def main(connection: int, names: Sequence[str]) -> None:
    """Serves until the process at the other end of the connection is gone; a child calls its function and exits."""
    # A signal to the whole group, as by Ctrl-C, is for the tasks: the exit task runs after it.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # The children's results are of the code that is imported here, whatever is on the disk when they run.
    identity.release()
    if not import_modules(names):
        print("an import started a thread or opened a device, so nothing is forked here", file=sys.stderr)  # noqa: T201
        return
    request = None
    with contextlib.suppress(ConnectionError):
        request = serve(socket.socket(fileno=connection))
    if request is not None:
        request.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
