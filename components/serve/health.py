"""Asks the server of this machine whether it can predict: the health check of the serving image."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping

_TIMEOUT_S = 4.0


def healthy(environment: Mapping[str, str]) -> bool:
    """Whether the server that AIP_HTTP_PORT and AIP_HEALTH_ROUTE name has loaded its model."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(environment.get("AIP_HTTP_PORT", "8080")), timeout=_TIMEOUT_S
    )
    try:
        connection.request("GET", environment.get("AIP_HEALTH_ROUTE", "/health"))
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(os.environ) else 1)
