"""Monitoring port of a scorer: health, readiness and metrics over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from headrace.components.stream.metrics import StreamMetrics
from headrace.core.errors import UsageError

# A loop that hangs for this long is not healthy. Loading a model does not block it.
_HANGING_S = 60.0
_TIMEOUT_S = 10.0


@contextmanager
def monitor_port(host: str, port: int, metrics: StreamMetrics) -> Iterator[str]:
    """Serves GET /health, /ready and /metrics in a thread, and yields the URL.

    /health returns 200 while the loop is alive, and 503 if it hangs for 60 s. /ready returns 200 while the scorer reads
    records and each application has a model, and 503 otherwise.

    Args:
        host: address to listen on.
        port: port to listen on; 0 for any free one.
        metrics: metrics of the scorer.

    Raises:
        UsageError: the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, metrics.text(), "text/plain; version=0.0.4; charset=utf-8")
            elif path == "/health":
                alive = metrics.idle_s < _HANGING_S
                self._answer(200 if alive else 503, "ok\n" if alive else "the loop hangs\n")
            elif path == "/ready":
                self._answer(200 if metrics.ready else 503, "ready\n" if metrics.ready else "not ready\n")
            else:
                self._answer(404, "GET /health, /ready or /metrics\n")

        def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server calls it
            """Logs nothing, because probes send requests every few seconds."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise UsageError(
            "the port for health and metrics cannot be opened",
            where=f"{host}:{port}",
            expected="a free port that you are allowed to use",
            received=str(error),
            fix="Use port 0 for a free port",
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="monitor-port", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
