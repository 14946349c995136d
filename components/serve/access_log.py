"""Access log: one JSON line per request, without payload, written in blocks so that it costs little."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from headrace.components.serve.protocols.call import Response
from headrace.components.serve.protocols.json_body import encode

_FLUSH_S = 0.5
_MAX_LINES = 1000


class AccessLog:
    """Collects lines and writes them twice a second, or when there are many; for the event loop's thread.

    Args:
        stream: it writes to; the process's standard output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, scope: Mapping[str, Any], response: Response, rows: int, seconds: float) -> None:
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
        self._lines.append(encode(line))
        if len(self._lines) >= _MAX_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Writes all collected lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write(b"\n".join(lines).decode() + "\n")
            self._stream.flush()
