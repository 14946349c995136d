"""Who may use the service: true, forged, expired and foreign tokens, against keys that change."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.id_tokens import TokenIssuer, encoded, forged, key_server, unsigned

from headrace.core.errors import PlatformError, UsageError
from headrace.pipelines.triggers.service.login import Forbidden, Issuer, Keys, Login, Unauthenticated

AUDIENCE, PROXY = "https://trigger", "/projects/1/apps/demo"


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture(scope="module")
def issuers(issuer: TokenIssuer) -> Iterator[tuple[Issuer, Issuer]]:
    with key_server(issuer) as found:
        yield found


@pytest.fixture(scope="module")
def login(issuers: tuple[Issuer, Issuer]) -> Login:
    return Login(AUDIENCE, ["Ann@example.com"], iap_audience=PROXY, issuers=issuers)


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"trigger"), (b"authorization", f"Bearer {token}".encode())]


def asserted(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-goog-iap-jwt-assertion", token.encode())]


def test_a_true_token_of_an_allowed_account_is_accepted(login: Login, issuer: TokenIssuer) -> None:
    assert login.account(bearer(issuer.token())) == "ann@example.com"
    assert login.account(bearer(issuer.token("ANN@example.com", iss="accounts.google.com"))) == "ann@example.com"
    assert login.account([(b"authorization", f"bearer  {issuer.token()} ".encode())]) == "ann@example.com"
    assert login.account(asserted(issuer.assertion())) == "ann@example.com"
    # The proxy passes on the token by which a program logged in to it.
    both = [*bearer(issuer.token(aud="client.apps.googleusercontent.com")), *asserted(issuer.assertion())]
    assert login.account(both) == "ann@example.com"


def test_an_account_that_is_not_on_the_list_is_forbidden(login: Login, issuer: TokenIssuer) -> None:
    for headers in (bearer(issuer.token("bob@example.com")), asserted(issuer.assertion("bob@example.com"))):
        with pytest.raises(Forbidden, match=r"bob@example\.com is not on the allow-list"):
            login.account(headers)


def wrong_tokens(issuer: TokenIssuer) -> dict[str, str]:
    now = int(time.time())
    true = issuer.token()
    return {
        "another account, the old signature": forged(issuer.token("bob@example.com"), email="ann@example.com"),
        "a longer time, the old signature": forged(issuer.token(exp=now - 60), exp=now + 999),
        "no signature": unsigned(true),
        "a symmetric algorithm": unsigned(true, "HS256"),
        "the proxy's algorithm and key": issuer.token(key_id="proxy"),
        "expired": issuer.token(iat=now - 999, exp=now - 60),
        "not valid yet": issuer.token(iat=now + 60, exp=now + 999),
        "no end": issuer.token(exp=None),
        "an end that is no number": issuer.token(exp="tomorrow"),
        "another audience": issuer.token(aud="https://other"),
        "no audience": issuer.token(aud=None),
        "an audience among others": issuer.token(aud=[AUDIENCE]),
        "another issuer": issuer.token(iss="https://evil.example.com"),
        "no issuer": issuer.token(iss=None),
        "no address": issuer.token(email=None),
        "an address that is not verified": issuer.token(email_verified=False),
        "verification as text": issuer.token(email_verified="true"),
        "no claims": ".".join([true.split(".")[0], encoded({}), true.split(".")[2]]),
        "cut": true[:-20],
        "nothing": "",
        "two parts": "a.b",
        "not base64": "é.é.é",
        "Google's mark of a removed signature": ".".join([*true.split(".")[:2], "SIGNATURE_REMOVED_BY_GOOGLE"]),
    }


def test_no_wrong_token_is_accepted(login: Login, issuer: TokenIssuer) -> None:
    for what, token in wrong_tokens(issuer).items():
        with pytest.raises(Unauthenticated):
            login.account(bearer(token))
            pytest.fail(what)


def test_a_token_for_one_place_is_not_good_for_the_other(login: Login, issuer: TokenIssuer) -> None:
    for headers in (
        asserted(issuer.token()),
        asserted(issuer.token(aud=PROXY, iss="https://cloud.google.com/iap")),
        asserted(issuer.assertion(aud=AUDIENCE)),
        asserted(issuer.assertion(iss="https://accounts.google.com")),
        bearer(issuer.assertion()),
        [],
        [(b"authorization", b"Basic YW5uOmFubg==")],
        [(b"authorization", issuer.token().encode())],
        [*bearer(issuer.token()), *bearer(issuer.token())],
    ):
        with pytest.raises(Unauthenticated):
            login.account(headers)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_login(login: Login, value: bytes) -> None:
    for headers in ([(b"authorization", b"Bearer " + value)], [(b"x-goog-iap-jwt-assertion", value)]):
        with pytest.raises(Unauthenticated):
            login.account(headers)


def test_keys_are_read_once_and_again_when_they_change() -> None:
    issuer, now = TokenIssuer(), 0.0
    with key_server(issuer) as (google, _):
        keys = Keys(google.keys_url, lambda: now)
        assert keys.find("one") == keys.find("one") == issuer.keys["one"]
        assert issuer.requests == 1
        issuer.rotate("two")
        # Forged tokens with keys of their own send no requests to the issuer.
        assert [keys.find(str(number)) for number in range(20)] == [None] * 20
        assert (keys.find("two"), issuer.requests) == (None, 1)
        now = 31.0
        assert keys.find("two") == issuer.keys["two"]
        issuer.keys.pop("one")
        now += 3601.0
        assert (keys.find("one"), keys.find("two"), issuer.requests) == (None, issuer.keys["two"], 3)
        # The keys that are known are good while the issuer does not answer.
        issuer.broken = True
        now += 3601.0
        assert keys.find("two") == issuer.keys["two"]
        now += 31.0
        with pytest.raises(PlatformError, match=r"the keys of ID tokens cannot be read.*HTTP status 503"):
            keys.find("three")


def test_an_issuer_that_never_answered_is_the_platforms_fault(issuers: tuple[Issuer, Issuer]) -> None:
    with pytest.raises(PlatformError, match="the keys of ID tokens cannot be read"):
        Keys("http://127.0.0.1:9/certs").find("one")


@pytest.mark.parametrize(
    ("audience", "allow", "match"),
    [
        ("", ["ann@example.com"], "whom tokens are made for"),
        (AUDIENCE, [], "the allow-list is wrong"),
        (AUDIENCE, ["ann"], "the allow-list is wrong"),
        (AUDIENCE, ["@example.com"], "the allow-list is wrong"),
        (AUDIENCE, ["ann@example.com", "ann@example.com"], "the allow-list is wrong"),
    ],
)
def test_a_login_that_would_let_nobody_or_everybody_in_is_refused(audience: str, allow: list[str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Login(audience, allow)
