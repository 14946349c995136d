"""The way to BigQuery: a client, what is tried again, and what the service says turned into our errors.

BIGQUERY_EMULATOR_HOST, read at each call, names a server of one's own, without credentials.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core import exceptions as api

from headrace.core.cloud import errors
from headrace.core.errors import DataError

RETRY_SECONDS = 60.0


def client(project: str) -> Any:
    """A client that pays by `project`; whoever made it closes it."""
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
    """What each call tries again, and for how long."""
    from google.cloud.bigquery.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(RETRY_SECONDS)


@contextmanager
def translate_errors(uri: str, roles: str, missing: str = "there is no such table") -> Iterator[None]:
    """Turns what the service says about `uri` into one of our errors.

    Args:
        uri: what it is asked about.
        roles: what an account needs, to be told to one that lacks it.
        missing: what it means that something is not there.

    Raises:
        DataError: it is not there.
        UsageError: no credentials, not allowed, or a request that is wrong.
        PlatformError: the service failed, or did not answer in time.
    """
    try:
        with errors.translate_errors("BigQuery", uri, roles):
            yield
    except api.NotFound as error:
        raise DataError(missing, where=uri, received=errors.said(error)) from error
