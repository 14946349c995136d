"""Access log: one JSON line per request, without payload, written in blocks by a thread that delays no request."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TextIO

from headrace.components.serve.protocols.call import CallResponse
from headrace.core.json_body import encode

_FLUSH_S = 0.5
_MAX_LINES = 1000
# Lines that wait while whoever reads the output does not; some 50 MB.
_MAX_WAITING = 200_000

_log = logging.getLogger("headrace.serve")


class AccessLog:
    """Collects lines and writes them twice a second, or when there are many; for the event loop's thread.

    A reader of the output that is slow, such as a full pipe, stops the thread that writes, not the requests. Lines
    beyond a bound are dropped, oldest first, and counted.

    Args:
        stream: it writes to; the process's standard output by default.
        maximum: number of lines that wait.
    """

    def __init__(self, stream: TextIO | None = None, *, maximum: int = _MAX_WAITING) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._lines: deque[bytes] = deque(maxlen=maximum)
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="access-log")
        self._writing: Future[None] | None = None

    def add(self, scope: Mapping[str, Any], response: CallResponse, rows: int, seconds: float) -> None:
        """Records a request: time, client, method, path, status, bytes, rows, duration and model version."""
        version = next((value.decode() for name, value in response.headers if name == b"x-model-version"), "")
        client = scope.get("client")
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": client[0] if client else "",
            "method": scope["method"],
            "path": scope["path"],
            "status": response.status,
            "bytes": len(response.body),
            "rows": rows,
            "ms": round(1000 * seconds, 3),
            "model_version": version,
        }
        self._dropped += len(self._lines) == self._lines.maxlen
        self._lines.append(encode(line))
        if len(self._lines) >= _MAX_LINES and not self._busy:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush_later)

    def flush(self) -> None:
        """Begins to write all collected lines, unless earlier ones are still being written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._busy:
            return
        lines, dropped = list(self._lines), self._dropped
        self._lines.clear()
        self._dropped = 0
        if lines:
            self._writing = self._thread.submit(self._write, lines, dropped)

    def close(self, timeout_s: float = 5.0) -> None:
        """Writes all collected lines.

        Args:
            timeout_s: maximum time to wait, in seconds; a reader that does not read loses the rest.
        """
        for _ in range(2):
            if self._writing is not None:
                try:
                    self._writing.result(timeout_s)
                except TimeoutError:
                    break
            self.flush()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def _busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def _flush_later(self) -> None:
        self._timer = None
        self.flush()
        if self._lines:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush_later)

    def _write(self, lines: Sequence[bytes], dropped: int) -> None:
        if dropped:
            _log.warning("the access log dropped %d lines: its output was not read", dropped)
        try:
            self._stream.write(b"\n".join(lines).decode() + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            _log.error("the access log cannot be written: %s", error)
