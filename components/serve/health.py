"""Health check of the serving image: whether the server in this container can predict."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from headrace.core import http

_TIMEOUT_S = 4.0
_MAX_BYTES = 1 << 20


def healthy(environment: Mapping[str, str]) -> bool:
    """Whether the server at AIP_HTTP_PORT and AIP_HEALTH_ROUTE has loaded its model."""
    port, route = environment.get("AIP_HTTP_PORT", "8080"), environment.get("AIP_HEALTH_ROUTE", "/health")
    with http.pool() as connections:
        try:
            address = f"http://127.0.0.1:{port}{route}"
            return http.send(connections, "GET", address, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES).status == 200
        except (http.RequestFailed, http.ResponseTooLarge):
            return False


if __name__ == "__main__":
    sys.exit(0 if healthy(os.environ) else 1)
