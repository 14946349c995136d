"""The service over HTTP: its routes, who may use them, other sites, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.id_tokens import TokenIssuer, key_server
from support.trigger_service import TriggerService
from support.triggered import CountedRuns, settings_below

from headrace.core.errors import UsageError
from headrace.pipelines.triggers.service.app import TriggerServiceConfig
from headrace.pipelines.triggers.service.login import Login
from headrace.pipelines.triggers.service.origin import is_foreign

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


class Service(TriggerService):
    """The service for a folder with data and counted runs."""

    def __init__(self, root: Path, login: Login | None) -> None:
        self.data = root / "in"
        self.data.mkdir()
        self.counted = CountedRuns()
        super().__init__(settings_below(root), self.counted, login, [str(self.data)])


@pytest.fixture
def service(tmp_path: Path, issuer: TokenIssuer) -> Iterator[Service]:
    with key_server(issuer) as issuers:
        login = Login("https://trigger", ["ann@example.com"], iap_audience="/projects/1/apps/demo", issuers=issuers)
        found = Service(tmp_path, login)
        yield found
        found.stop()


@pytest.fixture
def ann(issuer: TokenIssuer) -> dict[str, str]:
    return {"authorization": f"Bearer {issuer.token()}"}


def span(service: Service, day: int) -> dict[str, str]:
    path = service.data / f"2026-11-{day}.csv"
    path.write_text(f"a\n{day}\n")
    return {"data": str(path), "span": path.stem}


def test_a_request_starts_a_run_and_answers_its_id_and_state(service: Service, ann: dict[str, str]) -> None:
    status, answer = service.post(span(service, 20), ann)
    assert status == 202
    (run_id,) = service.counted.started
    assert answer["run"] == {
        "id": run_id,
        "state": "started",
        "epoch": 1,
        "attempt": 1,
        "versions": [answer["arrival"]["version"]],
    }
    assert (answer["did"], answer["arrival"]["span"]) == ("started", "2026-11-20")
    assert service.post(span(service, 20), ann)[1]["did"] == "running"
    status, again = service.post(span(service, 21), ann)
    assert (status, again["run"]["id"]) == (202, run_id)
    _, _, body = service.send("GET", "/runs", headers=ann)
    found = json.loads(body)
    assert (found["name"], found["run"]["id"], found["waiting"]) == ("flights", run_id, [again["arrival"]["version"]])
    assert len(service.counted.started) == 1


def test_a_request_without_data_is_one_until_its_run_ended(service: Service, ann: dict[str, str]) -> None:
    first, second = (service.post({}, ann)[1] for _ in range(2))
    assert (first["did"], second["did"]) == ("started", "running")
    # A client that did not hear of the answer sends it again, and the page's button is pressed.
    assert second["arrival"] == first["arrival"]
    assert service.send("POST", "/runs", headers=ann)[0] == 202
    ledger = service.settings.ledger
    assert ledger.inbox.versions() == first["run"]["versions"]
    ledger.claim(first["run"]["id"], "holder")
    ledger.end(first["run"]["id"], 1, "kept")
    third = service.post({}, ann)[1]
    assert (third["did"], third["run"]["epoch"], len(ledger.inbox.versions())) == ("started", 2, 2)


@pytest.mark.parametrize(("method", "path"), [("POST", "/runs"), ("GET", "/runs"), ("GET", "/")])
def test_nobody_comes_in_without_a_token_or_with_anothers(
    service: Service, issuer: TokenIssuer, method: str, path: str
) -> None:
    for headers, expected in (
        ({}, 401),
        ({"authorization": "Bearer nonsense"}, 401),
        ({"authorization": f"Bearer {issuer.token(aud='https://other')}"}, 401),
        ({"authorization": f"Bearer {issuer.token(exp=1)}"}, 401),
        ({"authorization": f"Bearer {issuer.token('bob@example.com')}"}, 403),
        ({"x-goog-iap-jwt-assertion": issuer.assertion("bob@example.com")}, 403),
        # Without a signature, this header is what anybody may write.
        ({"x-goog-authenticated-user-email": "accounts.google.com:ann@example.com"}, 401),
    ):
        status, found, _ = service.send(method, path, headers=headers)
        assert status == expected
        assert (found["www-authenticate"] == "Bearer") == (expected == 401)
    assert service.settings.ledger.inbox.versions() == []


def test_the_page_shows_runs_and_its_button_starts_one(service: Service, issuer: TokenIssuer) -> None:
    browser = {"x-goog-iap-jwt-assertion": issuer.assertion(), "host": "trigger"}
    status, headers, body = service.send("GET", "/", headers=browser)
    page = body.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "You are ann@example.com." in page
    assert "No run is under way." in page
    assert "<script" not in page
    assert "script-src" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert re.search(r'<form method="post" action="/runs">.*<button>Train</button>', page, re.DOTALL)
    pressed = {**browser, **FORM, "origin": "https://trigger", "sec-fetch-site": "same-origin"}
    status, headers, _ = service.send("POST", "/runs", b"span=&data=", pressed)
    assert (status, headers["location"]) == (303, "/")
    (run_id,) = service.counted.started
    ledger = service.settings.ledger
    assert (
        f"Run <code>{run_id}</code> is started, for 1 data version."
        in service.send("GET", "/", headers=browser)[2].decode()
    )
    ledger.claim(run_id, "one")
    ledger.end(run_id, 1, "kept", model="m1", why="<b>worse</b> & older")
    page = service.send("GET", "/", headers=browser)[2].decode()
    assert "<td>kept</td><td><code>m1</code></td><td>1</td><td>&lt;b&gt;worse&lt;/b&gt; &amp; older</td>" in page


def test_a_page_of_another_site_starts_nothing(service: Service, issuer: TokenIssuer) -> None:
    browser = {"x-goog-iap-jwt-assertion": issuer.assertion(), **FORM}
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "https://other.example.com"},
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": "http://[broken"},
    ):
        status, _, body = service.send("POST", "/runs", b"", {**browser, **headers})
        assert (status, "another site" in body.decode()) == (403, True)
    assert service.settings.ledger.inbox.versions() == []


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin", "origin": "https://a", "host": "b"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "https://a:8080", "host": "a:8080"}, False),
        ({"origin": "https://a:8080", "host": "a"}, True),
        ({"origin": "https://a"}, True),
    ],
)
def test_origins(headers: dict[str, str], foreign: bool) -> None:
    assert is_foreign([(name.encode(), value.encode()) for name, value in headers.items()]) == foreign


@pytest.mark.parametrize(
    ("body", "kind", "status", "match"),
    [
        (b"{", "application/json", 400, "the body is not valid"),
        (b"[]", "application/json", 400, "not an object with data, span, event"),
        (b'{"span": "a"}', "application/json", 400, "data and span belong together"),
        (b'{"spam": "a"}', "application/json", 400, "not an object with data, span, event"),
        (b'{"event": 3}', "application/json", 400, "a value is not text"),
        (b'{"event": "a\\nb"}', "application/json", 400, "a value is not text"),
        (b"[" * 60_000, "application/json", 400, "the body is not valid"),
        (b"%ff=%ff&", "application/x-www-form-urlencoded", 400, "the body is not valid"),
        (b"{}", "text/plain", 415, "the content type is not supported"),
        (b" " * 70_000, "application/json", 413, "the body is too large"),
        (b'{"data": "/etc/passwd", "span": "a"}', "application/json", 403, "data from there is not allowed"),
        (b'{"data": "DIR/../secret.csv", "span": "a"}', "application/json", 403, "data from there is not allowed"),
        (b'{"data": "DIR-2/a.csv", "span": "a"}', "application/json", 403, "data from there is not allowed"),
        (b'{"data": "DIR/none.csv", "span": "a"}', "application/json", 400, "no file, folder or match"),
        (b'{"data": "DIR/none.csv", "span": "a b"}', "application/json", 400, "the span is not valid|no file"),
    ],
)
def test_what_is_not_valid_is_refused(
    service: Service, ann: dict[str, str], body: bytes, kind: str, status: int, match: str
) -> None:
    sent = body.replace(b"DIR", str(service.data).encode())
    found, _, answer = service.send("POST", "/runs", sent, {**ann, "content-type": kind})
    assert (found, bool(re.search(match, json.loads(answer)["error"]))) == (status, True)
    assert service.settings.ledger.inbox.versions() == []


def test_other_paths_and_methods_are_refused_and_health_needs_no_token(service: Service) -> None:
    assert service.send("GET", "/health")[::2] == (200, b'{"status":"ok"}')
    assert service.send("GET", "/other")[0] == 404
    assert service.send("DELETE", "/runs")[0] == 405
    assert service.send("POST", "/")[0] == 405
    assert service.send("HEAD", "/health")[::2] == (200, b"")


def test_a_platform_that_does_not_answer_is_a_503_and_nothing_is_lost(service: Service, ann: dict[str, str]) -> None:
    service.counted.silent = True
    status, answer = service.post(span(service, 20), ann)
    assert (status, answer["error"]) == (503, "the platform does not answer.")
    service.counted.silent = False
    assert service.post(span(service, 20), ann)[1]["did"] == "started"


def test_many_requests_at_once_are_one_run(service: Service, ann: dict[str, str]) -> None:
    given = span(service, 20)
    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda _: service.post(given, ann), range(60)))
    assert {status for status, _ in found} == {202}
    assert {answer["run"]["id"] for _, answer in found} == set(service.counted.started)
    assert len(service.counted.started) == 1


def test_without_a_login_only_this_machine_is_answered(tmp_path: Path) -> None:
    service = Service(tmp_path, None)
    try:
        assert service.post({}, {})[0] == 202
        assert service.post({}, {"host": f"localhost:{service.port}"})[0] == 202
        status, answer = service.post({}, {"host": f"evil.example.com:{service.port}"})
        assert (status, answer["error"]) == (403, "without a login, only 127.0.0.1 and localhost are answered")
    finally:
        service.stop()


@pytest.mark.parametrize("place", ["", "flights", "/", "gs://", "s3://a", "/a/../b"])
def test_places_of_data_are_whole(place: str) -> None:
    with pytest.raises(UsageError, match="the place of data is not valid"):
        TriggerServiceConfig(lambda: None, None, [place])  # type: ignore[arg-type,return-value]
