"""Load on an endpoint: requests one after another, and the failures among them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from support.tiny_model import INSTANCES

from headrace.core import http

_ROW = json.dumps({"instances": [{name: value for name, value in INSTANCES[0].items() if name != "key"}]}).encode()


class Load:
    """Requests to the endpoint, one after another, as long as the block lasts.

    Args:
        url: of the endpoint; a function returns "" as long as it is not known.
        row: that is asked for.
        pause_s: between two requests, in seconds.

    Attributes:
        failed: responses other than 200, and requests without one.
        latencies: of the requests, in seconds.
        versions: the versions that answered, each when it first did.
    """

    def __init__(self, url: str | Callable[[], str], row: bytes = _ROW, pause_s: float = 0.01) -> None:
        self._url = url if callable(url) else lambda: url
        self._row = row
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failed: list[object] = []
        self.latencies: list[float] = []
        self.versions: list[str] = []

    def _run(self) -> None:
        while not (url := self._url()) and not self._ended.wait(self._pause_s):
            pass
        with http.pool() as pool:
            while not self._ended.wait(self._pause_s):
                begun = time.perf_counter()
                try:
                    response = http.send(
                        pool, "POST", f"{url}/predict", body=self._row, headers={}, timeout_s=300.0, max_bytes=1 << 20
                    )
                except http.RequestFailed as error:
                    self.failed.append(error)
                    continue
                self.latencies.append(time.perf_counter() - begun)
                if response.status != 200:
                    self.failed.append(response)
                if (version := response.headers["x-model-version"]) not in self.versions:
                    self.versions.append(version)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def wait_for(condition: Callable[[], bool], timeout_s: float = 600.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.05)
