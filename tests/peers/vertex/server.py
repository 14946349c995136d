"""The test server's HTTP side, with the faults that a network and a busy service have."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from peers.vertex import batch, state
from peers.vertex.resources import Refusal
from peers.vertex.service import PARENT, Vertex

_STATUS = {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 403: "PERMISSION_DENIED"}

_IMAGE = "us-docker.pkg.dev/demo-project/images/serving:1"


@dataclass
class Fault:
    """What happens to requests in place of an answer.

    Attributes:
        pattern: of "METHOD path"; the requests that it finds are met.
        code: an HTTP status, or 0 to cut the connection.
        times: how many of them.
        after: whether the request takes effect before its answer is lost.
        message: said with the status.
    """

    pattern: str
    code: int
    times: int = 1
    after: bool = False
    message: str = "injected"


@dataclass
class VertexServer:
    """A running server.

    Attributes:
        url: where it answers.
        vertex: its state.
        faults: those still to come.
        requests: "METHOD path" of every request that came, in order.
    """

    url: str
    vertex: Vertex = field(default_factory=Vertex)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def fail(self, pattern: str, code: int, *, times: int = 1, after: bool = False, message: str = "injected") -> None:
        """Lets requests fail."""
        self.faults.append(Fault(pattern, code, times, after, message))

    def upload(self, artifact: str, **model: Any) -> str:
        """The name of a new model, whose files are in a folder in Cloud Storage."""
        wanted = {"displayName": "model", "containerSpec": {"imageUri": _IMAGE}, "artifactUri": artifact, **model}
        operation = self.vertex.handle("POST", f"{PARENT}/models:upload", {}, json.dumps({"model": wanted}).encode())
        while not operation["done"]:
            operation = self.vertex.handle("GET", operation["name"], {}, b"")
        name: str = operation["response"]["model"]
        return name

    def next_fault(self, request: str) -> Fault | None:
        """The fault for a request, one time fewer from now on."""
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None


@contextmanager
def serving(saved: Path | None = None) -> Iterator[VertexServer]:
    """A server on a free port of this machine, whose batch prediction jobs are run by our own server's code.

    Args:
        saved: a file that keeps its state after every request; a server that is given it again goes on from there.
    """
    running = VertexServer("")
    if saved is not None:
        state.load(running.vertex, saved)
    running.vertex.work["batchPredictionJobs"] = partial(batch.run, running.vertex)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            path = (
                unquote(parts.path).removeprefix("/").removeprefix("ui/").removeprefix("v1/").removeprefix("v1beta1/")
            )
            said = f"{self.command} {path}"
            running.requests.append(said)
            fault = running.next_fault(said)
            if fault is not None and not fault.after:
                return self._fault(fault)
            try:
                answer, code = running.vertex.handle(self.command, path, dict(parse_qsl(parts.query)), body), 200
            except Refusal as refusal:
                answer, code = refusal.to_json(), refusal.code
            if saved is not None:
                running.vertex.use(lambda service: state.save(service, saved))
            if fault is not None:
                return self._fault(fault)
            return self._send(code, answer)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

        def _fault(self, fault: Fault) -> None:
            if fault.code == 0:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            refusal = Refusal(fault.code, _STATUS.get(fault.code, "UNKNOWN"), fault.message)
            self._send(fault.code, refusal.to_json())

        def _send(self, code: int, answer: dict[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
