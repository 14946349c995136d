"""Google Cloud errors: translates errors of services and network to headrace's, with the command that fixes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests.exceptions  # type: ignore[import-untyped]
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.resumable_media import common as media

from headrace.core.errors import PlatformError, UsageError

_DISABLED = re.compile(r"has not been used in project|it is disabled|API .*not enabled|SERVICE_DISABLED")
_SERVICE = re.compile(r"\b([a-z]+\.googleapis\.com)\b")
_REQUEST = re.compile(r"\A\d{3} (?:[A-Z]+ https?://\S+?: )?")
_PROJECT = re.compile(r"\bprojects?[/ ]([a-z][a-z0-9-]{4,28}[a-z0-9]|\d{5,})\b")


@contextmanager
def translate_errors(service: str, where: str, role: str) -> Iterator[None]:
    """Translates errors of `service` and of the network.

    Args:
        service: its name, for the message.
        where: what the request is about.
        role: that an account needs, named in the error for one that lacks it.

    Raises:
        google.api_core.exceptions.NotFound: passed on, as its meaning depends on the caller.
        UsageError: no credentials, access denied, or an invalid request.
        PlatformError: the service failed, or did not answer in time.
    """
    try:
        yield
    except api.NotFound:
        raise
    except (api.Forbidden, api.Unauthorized) as error:
        of_project = project_error(error)
        if of_project is not None:
            raise of_project from error
        raise UsageError(
            "access is denied",
            where=where,
            received=message_of(error),
            fix=f"Give this account {role}, or use another account",
        ) from error
    except (auth.DefaultCredentialsError, auth.RefreshError) as error:
        raise no_credentials(error, where) from error
    except (api.TooManyRequests, api.ServerError, api.RetryError, requests.exceptions.RequestException) as error:
        raise PlatformError(f"{service} failed or did not respond", where=where, received=message_of(error)) from error
    except api.ClientError as error:
        raise UsageError(f"{service} rejected the request", where=where, received=message_of(error)) from error
    except (api.GoogleAPIError, auth.GoogleAuthError, media.DataCorruption) as error:
        raise PlatformError(f"{service} failed or did not respond", where=where, received=message_of(error)) from error


def no_credentials(error: Exception, where: str) -> UsageError:
    """The error for credentials that are missing or no longer valid."""
    return UsageError(
        "no valid credentials for Google Cloud were found",
        where=where,
        received=message_of(error),
        fix="Run: gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    )


def project_error(error: Exception, project: str = "", service: str = "") -> UsageError | None:
    """The error for a project that has not enabled the API or has no billing account; None for another error.

    Args:
        error: of one of Google's clients.
        project: its ID; "" for the one that the error names.
        service: the API, such as aiplatform.googleapis.com, where the error names none.
    """
    text, reason = message_of(error), getattr(error, "reason", None) or ""
    if not project:
        named = _PROJECT.search(text)
        project = named[1] if named else "PROJECT"
    if reason == "SERVICE_DISABLED" or _DISABLED.search(text):
        metadata = getattr(error, "metadata", None) or {}
        found = _SERVICE.search(text)
        service = metadata.get("service") or (found[1] if found else service or "SERVICE.googleapis.com")
        return UsageError(
            f"the API {service} is not enabled",
            where=f"project {project}",
            received=text,
            fix=f"Run: gcloud services enable {service} --project={project}",
        )
    if reason == "BILLING_DISABLED" or "billing account" in text.lower():
        return UsageError(
            "the project has no billing account",
            where=f"project {project}",
            received=text,
            fix=f"Run: gcloud billing projects link {project} --billing-account=ACCOUNT_ID",
        )
    return None


def message_of(error: Exception) -> str:
    """The first line of an error's message without the request, or the name of its class where it is empty."""
    text = str(error).strip()
    # The class of an API error implies its status; of a network error the status is the only information.
    lines = (_REQUEST.sub("", text) if isinstance(error, api.GoogleAPICallError) else text).splitlines()
    return lines[0][:400].rstrip(".") if lines else type(error).__name__
