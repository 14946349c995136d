"""examples/serving: its traffic against a server that answers and closes, and its page."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from support.html_page import Page

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "serving"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The example's modules, which import each other by their short names."""
    found = {}
    for name in ("shared", "traffic", "page"):
        folder = EXAMPLE.parent if name == "shared" else EXAMPLE
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = found[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    yield found
    for name in found:
        del sys.modules[name]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number = body["instances"][0]["number"]
        self.send_response(503 if number == 3 else 200)
        self.send_header("Content-Length", "2")
        self.send_header("X-Model-Version", "v1")
        if number % 5 == 0:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_every_request_has_an_outcome(modules: dict[str, ModuleType]) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    numbers = itertools.count()
    traffic = modules["traffic"].Traffic(
        f"http://127.0.0.1:{server.server_port}/predict", lambda: {"number": next(numbers)}, 200.0
    )
    deadline = time.monotonic() + 600
    while len(traffic.outcomes) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    traffic.stop()
    server.shutdown()
    server.server_close()
    assert len(traffic.outcomes) == next(numbers)
    assert sorted({outcome.status for outcome in traffic.outcomes}) == [200, 503]
    assert {outcome.version for outcome in traffic.outcomes} == {"v1"}
    assert all(outcome.seconds > 0 for outcome in traffic.outcomes)


def test_the_page_has_requests_events_canaries_and_modes(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    page, outcome = modules["page"], modules["traffic"].Outcome
    outcomes = [outcome(100.0 + n / 10, 200, "v1" if n < 50 else "v2", 0.001 * (n + 1)) for n in range(100)]
    outcomes.append(outcome(109.9, 0, "", 1.0))
    events = [page.Event(105.0, "version 2 is <staged>"), page.Event(100.0, "version 1 is live")]
    modes = [page.Mode("hybrid", 4, 4, 0, {"table": 3, "model": 1}, [0.001, 0.002, 0.003, 0.004])]
    canaries = [("version 2", "promoted", ("Good & well.",))]
    path = page.write_page(tmp_path / "page.html", outcomes, events, canaries, modes)
    text = path.read_text()
    # Every element is closed in order.
    Page(text)
    assert "101 requests, <b>1 failed</b>" in text
    assert "<td>version 2 is &lt;staged&gt;</td>" in text
    assert text.index("version 1 is live") < text.index("version 2 is")
    assert "<li>Good &amp; well.</li>" in text
    assert "<td>hybrid</td><td class=n>4</td><td class=n>3</td><td class=n>1</td>" in text
    assert text.count("<svg") == 2
    # Nothing is loaded from elsewhere.
    assert "http" not in text.replace("http://www.w3.org", "")
    assert modes[0].text.startswith("hybrid: 4 of 4 requests answered (1 by the model, 3 by the table), 0 unknown keys")


def test_percentiles_of_few_values_and_none(modules: dict[str, ModuleType]) -> None:
    percentile = modules["shared"].percentile
    assert [percentile([1.0, 2.0, 3.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
    assert str(percentile([], 0.5)) == "nan"
