"""What Google Cloud's services and the way to them may answer, turned into our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests.exceptions  # type: ignore[import-untyped]
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.resumable_media import common as media

from headrace.core.errors import PlatformError, UsageError


@contextmanager
def translate_errors(service: str, where: str, role: str) -> Iterator[None]:
    """Turns what `service` or the network says about `where` into one of our errors.

    Args:
        service: its name, for a reader.
        where: what it is asked about.
        role: what an account needs, to be told to one that lacks it.

    Raises:
        google.api_core.exceptions.NotFound: there is no such thing; what that means, the caller knows.
        UsageError: no credentials, not allowed, or a request that is wrong.
        PlatformError: the service failed, or did not answer in time.
    """
    try:
        yield
    except api.NotFound:
        raise
    except (api.Forbidden, api.Unauthorized) as error:
        raise UsageError(
            "access is not allowed",
            where=where,
            received=said(error),
            fix=f"Give this account {role}, or use another account",
        ) from error
    except (auth.DefaultCredentialsError, auth.RefreshError) as error:
        raise UsageError(
            "there are no credentials for Google Cloud that work",
            where=where,
            received=said(error),
            fix="Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
        ) from error
    except (api.TooManyRequests, api.ServerError, api.RetryError, requests.exceptions.RequestException) as error:
        raise PlatformError(f"{service} did not answer as it should", where=where, received=said(error)) from error
    except api.ClientError as error:
        raise UsageError(f"{service} refused the request", where=where, received=said(error)) from error
    except (api.GoogleAPIError, auth.GoogleAuthError, media.DataCorruption) as error:
        raise PlatformError(f"{service} did not answer as it should", where=where, received=said(error)) from error


def said(error: Exception) -> str:
    """The first line of an error, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300].rstrip(".") if lines else type(error).__name__
