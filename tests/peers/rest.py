"""The HTTP side that test servers of REST services share, with the faults that a network and a busy service have."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

# Method, path without its first slash, query and body of a request, to a status and a body: bytes of JSON, or a text.
Answer = Callable[[str, str, dict[str, str], bytes], tuple[int, bytes | str]]


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
class RestServer:
    """A running server.

    Attributes:
        url: where it answers.
        faults: those still to come.
        requests: "METHOD path" of every request that came, in order.
        content_types: of the bodies of those that change something, in order.
    """

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    content_types: list[str] = field(default_factory=list)

    def fail(self, pattern: str, code: int, *, times: int = 1, after: bool = False, message: str = "injected") -> None:
        """Lets requests fail; a code of 0 cuts the connection."""
        self.faults.append(Fault(pattern, code, times, after, message))

    def next_fault(self, request: str) -> Fault | None:
        """The fault for a request, one time fewer from now on."""
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None


@contextmanager
def answering(
    running: RestServer, answer: Answer, refusal: Callable[[int, str], bytes], prefix: str = ""
) -> Iterator[None]:
    """Answers on a free port of this machine, and fills in the server's address.

    Args:
        running: what is told of requests, and says which fail.
        answer: gives the answers.
        refusal: the body of an HTTP status and a message, for faults.
        prefix: a pattern of what paths begin with that says nothing.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            path = re.sub(rf"\A/{prefix}", "", unquote(parts.path))
            said = f"{self.command} {path}"
            running.requests.append(said)
            if self.command != "GET":
                running.content_types.append(self.headers.get("Content-Type", ""))
            fault = running.next_fault(said)
            if fault is not None and not fault.after:
                return self._fault(fault)
            status, content = answer(self.command, path, dict(parse_qsl(parts.query)), body)
            if fault is not None:
                return self._fault(fault)
            return self._send(status, content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

        def _fault(self, fault: Fault) -> None:
            if fault.code == 0:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(fault.code, refusal(fault.code, fault.message))

        def _send(self, status: int, content: bytes | str) -> None:
            kind = "text/plain" if isinstance(content, str) else "application/json"
            encoded = content.encode() if isinstance(content, str) else content
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
