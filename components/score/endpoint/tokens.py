"""Bearer tokens of an endpoint. Each process reads its own token, which is never logged or passed on."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any, Protocol

import urllib3

from headrace.core.errors import UsageError

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Tokens(Protocol):
    """A source of bearer tokens. Safe to use from several threads at a time."""

    def get(self) -> str:
        """A token, or "" if no token is configured."""

    def renew(self, refused: str) -> bool:
        """Whether a token other than the refused one is available."""


class FixedToken:
    """The token of an environment variable, which is read once; or no token."""

    def __init__(self, variable: str) -> None:
        """Reads the variable.

        Args:
            variable: its name, or "".

        Raises:
            UsageError: the variable is not set, or its value is not a token.
        """
        self._token = os.environ.get(variable, "").strip() if variable else ""
        if variable and not (self._token.isascii() and self._token.isprintable() and self._token):
            raise UsageError(
                "the endpoint's token is missing",
                where=variable,
                expected="an environment variable that holds it, on one line",
                received="nothing" if not self._token else "characters that are not allowed in a token",
            )

    def get(self) -> str:
        """The token, or ""."""
        return self._token

    def renew(self, refused: str) -> bool:
        """False: there is one token only."""
        return False


class GoogleTokens:
    """Access tokens of Google Cloud credentials, renewed when they expire."""

    def __init__(self, where: str, credentials: Any = None) -> None:
        """Reads the credentials.

        Args:
            where: the endpoint, for messages.
            credentials: of google.auth; by default those of this account.

        Raises:
            UsageError: the credentials are missing.
        """
        from headrace.core.cloud import errors

        self._lock = threading.Lock()
        self._asking = partial(errors.translate_errors, "Google Cloud", where, "roles/aiplatform.user")
        if credentials is None:
            import google.auth

            with self._asking():
                credentials, _ = google.auth.default(scopes=[_SCOPE])
        self._credentials = credentials

    def get(self) -> str:
        """A valid token.

        Raises:
            UsageError: the credentials are not valid.
            PlatformError: the token service failed.
        """
        with self._lock:
            if not self._credentials.valid:
                self._refresh()
            return str(self._credentials.token)

    def renew(self, refused: str) -> bool:
        """Whether a token other than the refused one is available; a token may be revoked before it expires."""
        with self._lock:
            if self._credentials.token == refused:
                self._refresh()
            return bool(self._credentials.token != refused)

    def _refresh(self) -> None:
        from google.auth.transport.urllib3 import Request

        with self._asking():
            self._credentials.refresh(Request(urllib3.PoolManager()))  # type: ignore[no-untyped-call]
