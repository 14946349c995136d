"""BigQuery client, its retry policy, and the translation of its errors.

BIGQUERY_EMULATOR_HOST, read at each call, names another server, which needs no credentials.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from google.api_core import exceptions as api

from headrace.core.cloud import errors
from headrace.core.errors import DataError

RETRY_SECONDS = 60.0


def client(project: str) -> Any:
    """Creates a client that bills `project`; the caller closes it."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    emulator = os.environ.get("BIGQUERY_EMULATOR_HOST")
    if not emulator:
        return bigquery.Client(project=project)
    return bigquery.Client(
        project=project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": emulator},
    )


def retry() -> Any:
    """The retry policy of every call."""
    from google.cloud.bigquery.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(RETRY_SECONDS)


@contextmanager
def translate_errors(uri: str, roles: Sequence[str], missing: str = "the table does not exist") -> Iterator[None]:
    """Translates the service's errors about `uri`.

    Args:
        uri: what the request is about.
        roles: that an account needs; the fix for one that lacks them grants them.
        missing: the message where the table was not found.

    Raises:
        DataError: the table was not found.
        UsageError: no credentials, access denied, or an invalid request.
        PlatformError: the service failed, or did not answer in time.
    """
    try:
        with errors.translate_errors("BigQuery", uri, *roles):
            yield
    except api.NotFound as error:
        raise DataError(missing, where=uri, received=errors.message_of(error)) from error
