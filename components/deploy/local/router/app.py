"""Router application: sends each request to a version by the traffic, counts it, and reports on the endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections.abc import Mapping
from typing import Any

from headrace.components.deploy.local.router.backend import Backend, BackendBusy, BackendUnreachable
from headrace.components.deploy.local.router.counts import labelled, prometheus
from headrace.components.deploy.local.router.front import Answer, error_response
from headrace.components.deploy.local.router.messages import Head, response
from headrace.components.deploy.local.router.split import choose, key_of
from headrace.components.deploy.local.router.versions import Versions
from headrace.components.deploy.state import EndpointState
from headrace.components.request_log.counts import VersionCounts
from headrace.core.errors import DataError

STATUS = b"/endpoint"
METRICS = b"/metrics"
_KEY = b"x-headrace-key"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
# The server responds within 30 s, if only with its own timeout error.
_TIMEOUT_S = 60.0
_METRICS_TIMEOUT_S = 2.0
_RETRY_AFTER_S = 1
# The version in a path of TensorFlow Serving's REST interface, or of the open inference protocol.
_VERSION = re.compile(rb"/v[12]/models/[^/:]+/versions/([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?=[/:]|\Z)")


class RouterApp:
    """Handles the requests of an endpoint.

    Args:
        versions: the processes of the endpoint.
        counts: counts by version of an earlier router of the endpoint; None begins at 0.
        draw: random number generator of the traffic split; None for a new one.
    """

    def __init__(
        self, versions: Versions, counts: Mapping[str, VersionCounts] | None = None, draw: random.Random | None = None
    ) -> None:
        self.versions = versions
        self.counts = dict(counts or {})
        self.unavailable = 0
        self._draw = draw or random.Random()  # noqa: S311 - it splits traffic
        self._started = time.time()

    async def answer(self, head: Head, body: bytes) -> Answer:
        """The response to a request."""
        path = head.target.partition(b"?")[0]
        if path in (STATUS, METRICS):
            if head.method not in (b"GET", b"HEAD"):
                return error_response(405, "the method is not allowed here. Expected GET, HEAD.")
            if path == METRICS:
                return response(200, (await self.metrics()).encode(), _TEXT)
            return response(200, json.dumps(self.report()).encode())
        state = self.versions.state
        if state is None:
            return self._none("no version is live")
        named = _VERSION.match(path)
        if named is not None and (version := named[1].decode()) in state.traffic:
            return await self._first([version], head, body)
        if head.method != b"POST" or named is not None:
            return await self._first([state.live], head, body)
        key = None if len(state.traffic) == 1 else key_of(head.get(_KEY), body)
        version = choose(state.traffic, state.live, key, self._draw)
        # If the canary does not respond, the stable version does.
        return await self._first([version] if version == state.live else [version, state.live], head, body)

    async def _first(self, order: list[str], head: Head, body: bytes) -> Answer:
        """The response of the first version that responds; an error if none does."""
        why, status = "", 503
        for version in order:
            counts = self.counts.setdefault(version, VersionCounts())
            counted = head.method == b"POST"
            backend = self.versions.backends.get(version)
            if backend is None:
                counts.failed += counted
                why, status = f"version {version} is being started", 503
                continue
            begun = time.perf_counter()
            try:
                content = await backend.ask(head, body, _TIMEOUT_S)
            except BackendBusy:
                counts.failed += counted
                why, status = f"too many requests wait for version {version}", 503
            except BackendUnreachable as error:
                counts.failed += counted
                self.versions.lost(backend)
                why, status = f"version {version} did not answer: {error}", 502 if error.connected else 503
            except TimeoutError:
                counts.failed += counted
                return error_response(504, f"version {version} did not answer within {_TIMEOUT_S:g} s")
            else:
                if counted:
                    counts.answered(content[0].status, time.perf_counter() - begun)
                return content
        return self._none(why, status)

    def _none(self, why: str, status: int = 503) -> Answer:
        self.unavailable += 1
        return error_response(status, why, _RETRY_AFTER_S)

    async def metrics(self) -> str:
        """The router's counts, and the metrics of each version's process with the label `version`."""
        state = self.versions.state
        own = prometheus(self.counts, {} if state is None else state.traffic)
        backends = sorted(self.versions.backends.values(), key=lambda one: one.version)
        texts = await asyncio.gather(*map(_metrics_of, backends))
        return own + labelled((one.version, text) for one, text in zip(backends, texts, strict=True))

    def report(self) -> dict[str, Any]:
        """The state, the processes and the counts of this router, by version, as JSON values."""
        state: EndpointState | None = self.versions.state
        shown = sorted({*self.counts, *({} if state is None else state.traffic)})
        return {
            "folder": str(self.versions.folder.path),
            "pid": os.getpid(),
            "started": self._started,
            "epoch": 0 if state is None else state.epoch,
            "live": None if state is None else state.live,
            "traffic": {} if state is None else dict(state.traffic),
            "unavailable": self.unavailable,
            "versions": {v: {**self.versions.to_json(v), **self._counts(v).to_json()} for v in shown},
        }

    def _counts(self, version: str) -> VersionCounts:
        return self.counts.get(version) or VersionCounts()


def counts_in(report: Any) -> dict[str, VersionCounts]:
    """The counts in a report.

    Raises:
        DataError: the counts are damaged.
    """
    try:
        return {version: VersionCounts.from_json(one) for version, one in report["versions"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError("the router's counts are damaged", received=repr(error)) from error


async def _metrics_of(backend: Backend) -> str:
    try:
        head, body = await backend.ask(Head(method=b"GET", target=METRICS), b"", _METRICS_TIMEOUT_S)
    except (BackendUnreachable, BackendBusy, TimeoutError):
        return ""
    return body.decode(errors="replace") if head.status == 200 else ""
