"""Where the bearer token of an endpoint comes from: each process finds its own, and shows it to nobody else."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any, Protocol

import urllib3

from headrace.core.errors import UsageError

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Tokens(Protocol):
    """Where a bearer token comes from. Safe to use from several threads at a time."""

    def get(self) -> str:
        """A token, or "" for none."""

    def renew(self, refused: str) -> bool:
        """Whether there is another one than that which was refused."""


class FixedToken:
    """The token of an environment variable, which is read once; or none."""

    def __init__(self, variable: str) -> None:
        """Reads it.

        Args:
            variable: its name, or "".

        Raises:
            UsageError: it is not set, or holds what no token is.
        """
        self._token = os.environ.get(variable, "").strip() if variable else ""
        if variable and not (self._token.isascii() and self._token.isprintable() and self._token):
            raise UsageError(
                "the endpoint's token is not there",
                where=variable,
                expected="an environment variable that holds it, on one line",
                received="nothing" if not self._token else "characters that no token has",
            )

    def get(self) -> str:
        """The token, or ""."""
        return self._token

    def renew(self, refused: str) -> bool:
        """There is no other."""
        return False


class GoogleTokens:
    """Access tokens of Google Cloud's credentials, each for as long as it is valid."""

    def __init__(self, where: str, credentials: Any = None) -> None:
        """Finds the credentials.

        Args:
            where: what they are for, for messages.
            credentials: of google.auth; by default those of this account.

        Raises:
            UsageError: there are none.
        """
        from headrace.core.cloud import errors

        self._lock = threading.Lock()
        self._asking = partial(errors.translate_errors, "Google Cloud", where, "the role Vertex AI User")
        if credentials is None:
            import google.auth

            with self._asking():
                credentials, _ = google.auth.default(scopes=[_SCOPE])
        self._credentials = credentials

    def get(self) -> str:
        """A token that is valid.

        Raises:
            UsageError: the credentials do not work.
            PlatformError: the service that gives tokens failed.
        """
        with self._lock:
            if not self._credentials.valid:
                self._refresh()
            return str(self._credentials.token)

    def renew(self, refused: str) -> bool:
        """Whether there is another one than that which was refused; it may have been revoked before its time."""
        with self._lock:
            if self._credentials.token == refused:
                self._refresh()
            return bool(self._credentials.token != refused)

    def _refresh(self) -> None:
        from google.auth.transport.urllib3 import Request

        with self._asking():
            self._credentials.refresh(Request(urllib3.PoolManager()))  # type: ignore[no-untyped-call]
