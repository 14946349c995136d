"""Login: verifies the signature, issuer, audience and time of an ID token, and that its account is allowed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from headrace.core import http
from headrace.core.checks import check_texts
from headrace.core.errors import PlatformError, UsageError

Headers = Sequence[tuple[bytes, bytes]]

_KEYS_FOR_S = 3600.0
# Minimum time between reads because of an unknown key, so that forged tokens do not cause a request each.
_UNKNOWN_KEY_S = 30.0
_TIMEOUT_S = 10.0
_MAX_BYTES = 1 << 20
# Tolerance for differences between the clocks of machines.
_SKEW_S = 10


class Unauthenticated(Exception):
    """The request has no valid token: HTTP status 401."""


class Forbidden(Exception):
    """The account is not allowed: HTTP status 403."""


@dataclass(frozen=True)
class Issuer:
    """An issuer of tokens, and the header that contains them.

    Attributes:
        names: valid values of the claim `iss`.
        keys_url: URL of its public keys, a JSON object of PEM by key id.
        header: name of the request header, in lower case.
        scheme: text before the token in the header, including its space.
        algorithm: algorithm of its signatures.
    """

    names: frozenset[str]
    keys_url: str
    header: bytes
    scheme: str
    algorithm: str


# https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
GOOGLE = Issuer(
    frozenset({"accounts.google.com", "https://accounts.google.com"}),
    "https://www.googleapis.com/oauth2/v1/certs",
    b"authorization",
    "Bearer ",
    "RS256",
)
# https://cloud.google.com/iap/docs/signed-headers-howto: requests of browsers to Cloud Run and App Engine.
IAP = Issuer(
    frozenset({"https://cloud.google.com/iap"}),
    "https://www.gstatic.com/iap/verify/public_key",
    b"x-goog-iap-jwt-assertion",
    "",
    "ES256",
)


class Keys:
    """Public keys of an issuer, read again after an hour, and for an unknown key. Thread-safe.

    Args:
        url: URL of the keys.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._pool = http.pool(proxies=urlsplit(url).scheme == "https")
        self._keys: Mapping[str, str] = {}
        self._read = self._tried = float("-inf")

    def find(self, key_id: str) -> str | None:
        """The key in PEM; None if the issuer does not have it.

        Raises:
            PlatformError: the key is unknown, and the keys cannot be read.
        """
        with self._lock:
            now = self._clock()
            known = key_id in self._keys
            stale = not known or now - self._read > _KEYS_FOR_S
            if stale and (not self._keys or now - self._tried > _UNKNOWN_KEY_S):
                # A known key remains valid while the issuer does not respond.
                self._tried = now
                try:
                    self._keys = self._fetch()
                    self._read = now
                except PlatformError:
                    if not known:
                        raise
            return self._keys.get(key_id)

    def _fetch(self) -> Mapping[str, str]:
        try:
            found = http.send(self._pool, "GET", self._url, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES)
            keys = json.loads(found.content) if found.status == 200 else None
        except (http.RequestFailed, http.ResponseTooLarge, ValueError) as error:
            raise PlatformError("the keys of ID tokens cannot be read", where=self._url, received=str(error)) from error
        if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
            raise PlatformError(
                "the keys of ID tokens cannot be read", where=self._url, received=f"HTTP status {found.status}"
            )
        return keys


class Login:
    """Verifies the tokens of requests.

    Args:
        audience: audience of tokens in `Authorization: Bearer`, such as the service's URL; "" accepts none.
        allow: e-mail addresses of the accounts that may use the service, one or more.
        iap_audience: audience of assertions of Identity-Aware Proxy; "" accepts no assertion.
        issuers: issuers of tokens for `audience` and `iap_audience`.

    Raises:
        UsageError: there is no audience, or the allow-list is empty or not valid.
    """

    def __init__(
        self,
        audience: str,
        allow: Sequence[str],
        *,
        iap_audience: str = "",
        issuers: tuple[Issuer, Issuer] = (GOOGLE, IAP),
    ) -> None:
        if not audience and not iap_audience:
            raise UsageError(
                "the service does not know whom tokens are made for",
                where="--audience",
                expected="--audience URL, --iap-audience NAME, or both",
            )
        allowed = check_texts([each.lower() for each in allow], "the allow-list", where="--allow")
        if not allowed or not all("@" in each.strip("@") for each in allowed):
            raise UsageError(
                "the allow-list is wrong",
                where="--allow",
                expected="e-mail addresses of accounts",
                received=", ".join(allowed) or "nobody",
            )
        self._allow = frozenset(allowed)
        # The proxy's assertion is first, because the proxy also forwards the token by which a program logged in to it.
        self._accepted = [
            (issuer, named, Keys(issuer.keys_url))
            for issuer, named in ((issuers[1], iap_audience), (issuers[0], audience))
            if named
        ]

    def account(self, headers: Headers) -> str:
        """The e-mail address of the account of a request, in lower case.

        Args:
            headers: headers of the request, with names in lower case.

        Raises:
            Unauthenticated: there is no token, or it is forged, expired, or has another audience.
            Forbidden: the account is not on the allow-list.
            PlatformError: the issuer's keys cannot be read.
        """
        for issuer, audience, keys in self._accepted:
            found = [value for name, value in headers if name == issuer.header]
            if not found:
                continue
            if len(found) > 1:
                raise Unauthenticated("there is more than one token")
            claims = _verified(found[0], issuer, audience, keys)
            email = claims.get("email")
            # Identity-Aware Proxy asserts only verified addresses, without the claim `email_verified`.
            if not isinstance(email, str) or not (issuer.scheme == "" or claims.get("email_verified") is True):
                raise Unauthenticated("the token has no verified e-mail address")
            if email.lower() not in self._allow:
                raise Forbidden(f"{email} is not on the allow-list")
            return email.lower()
        raise Unauthenticated("the ID token is missing")


def _verified(value: bytes, issuer: Issuer, audience: str, keys: Keys) -> Mapping[str, object]:
    from google.auth import jwt

    text = value.decode("latin-1")
    if text[: len(issuer.scheme)].lower() != issuer.scheme.lower():
        raise Unauthenticated(f"the {issuer.scheme.strip()} token is missing")
    token = text[len(issuer.scheme) :].strip()
    try:
        header = jwt.decode_header(token)  # type: ignore[no-untyped-call]
        key_id = header.get("kid")
        # Only the issuer's algorithm, because a public key must never be used as the secret of a symmetric algorithm.
        key = keys.find(key_id) if isinstance(key_id, str) and header.get("alg") == issuer.algorithm else None
        if key is None:
            raise Unauthenticated("the token is not signed by a key of the issuer")
        claims: Mapping[str, object] = jwt.decode(  # type: ignore[no-untyped-call]
            token, certs={key_id: key}, audience=audience, clock_skew_in_seconds=_SKEW_S
        )
    except (Unauthenticated, PlatformError):
        raise
    except Exception as error:
        # The library raises errors of many classes for malformed tokens.
        raise Unauthenticated(f"the token is not valid: {str(error)[:200]}") from error
    if claims.get("iss") not in issuer.names:
        raise Unauthenticated("the token is of another issuer")
    return claims
