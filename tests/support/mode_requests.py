"""Rows of the tiny model with keys, and requests to an application."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from headrace.components.serve.app import ServerApp

ROWS: list[dict[str, Any]] = [
    {
        "record_id": f"k{i}",
        "mother_age": 20.0 + i % 23 + 0.1 * (i % 7),
        "gestation_weeks": None if i % 5 == 0 else 30.0 + i % 11,
        "plurality": str(1 + i % 2),
        "mother_smokes": ("true", "false", None)[i % 3],
    }
    for i in range(40)
]


def instances(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as requests have them."""
    return [{"key" if name == "record_id" else name: value for name, value in row.items()} for row in rows]


def text_of(body: Any) -> bytes:
    return json.dumps(body).encode()


def post(app: ServerApp, path: str, body: Any, *, method: str = "POST") -> httpx.Response:
    """Sends one request to the application."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, content=None if body is None else text_of(body))

    return asyncio.run(send())
