"""Google Cloud errors: translates errors of services and network to headrace's, with the command that fixes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import requests.exceptions  # type: ignore[import-untyped]
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from headrace.core.errors import PlatformError, UsageError

_DISABLED = re.compile(r"has not been used in project|it is disabled|API .*not enabled|SERVICE_DISABLED")
_SERVICE = re.compile(r"\b([a-z]+\.googleapis\.com)\b")
_REQUEST = re.compile(r"\A\d{3} (?:[A-Z]+ https?://\S+?: )?")
_PERMISSION = re.compile(r"[Pp]ermission '?([a-z]+\.[A-Za-z]+\.[A-Za-z]+)'?")
_BUCKET = re.compile(r"gs://([^/]+)")
_PROJECT = re.compile(r"\b(?:projects?[/ ]|bigquery://|pubsub://)([a-z][a-z0-9-]{4,28}[a-z0-9]|\d{5,})\b")

# What is not among them passes unchanged.
KNOWN = (api.GoogleAPIError, auth.GoogleAuthError, requests.exceptions.RequestException)


@contextmanager
def translate_errors(service: str, where: str, *roles: str) -> Iterator[None]:
    """Translates errors of `service` and of the network.

    Args:
        service: its name, for the message.
        where: what the request is about.
        roles: that an account needs, such as roles/storage.objectUser; the fix for one that lacks them grants them.

    Raises:
        google.api_core.exceptions.NotFound: passed on, as its meaning depends on the caller.
        UsageError: no credentials, access denied, or an invalid request.
        PlatformError: the service failed, or did not answer in time.
    """
    try:
        yield
    except api.NotFound:
        raise
    except KNOWN as error:
        raise translated(error, service, where, *roles) from error


def translated(
    error: Exception, service: str, where: str, *roles: str, project: str = "", member: str = ""
) -> UsageError | PlatformError:
    """The error of headrace for one of KNOWN.

    Args:
        error: of one of Google's clients, or of the network.
        service, where, roles: as of `translate_errors`.
        project: of the request; "" for the one that the error or `where` names.
        member: IAM principal of the account; "" where it is not known.
    """
    text = message_of(error)
    if isinstance(error, (api.Forbidden, api.Unauthorized)):
        missing = missing_permission(text)
        return project_error(error, project) or UsageError(
            "access is denied" + (f": the permission {missing} is missing" if missing else ""),
            where=where,
            received=text,
            fix=f"{_grant(roles, text, where, project, member)}, or use another account or project",
        )
    if isinstance(error, (auth.DefaultCredentialsError, auth.RefreshError)):
        return no_credentials(error, where)
    if isinstance(error, api.ClientError) and not isinstance(error, api.TooManyRequests):
        return UsageError(f"{service} rejected the request", where=where, received=text)
    return PlatformError(f"{service} failed or did not respond", where=where, received=text)


def missing_permission(text: str) -> str:
    """The permission that a message names, such as storage.objects.get; "" without one."""
    found = _PERMISSION.search(text)
    return found[1] if found else ""


def _grant(roles: Sequence[str], text: str, where: str, project: str, member: str) -> str:
    """The command that gives an account some roles, on a bucket where the request is about one."""
    bucket = _BUCKET.match(where)
    named = None if project else _PROJECT.search(text) or _PROJECT.search(where)
    project = project or (named[1] if named else "PROJECT")
    target = (
        f"storage buckets add-iam-policy-binding gs://{bucket[1]}"
        if bucket
        else (f"projects add-iam-policy-binding {project}")
    )
    first, *others = roles
    again = f" (and again with {', '.join(f'--role={role}' for role in others)})" if others else ""
    hint = "" if member else ", PRINCIPAL being user:EMAIL or serviceAccount:EMAIL"
    return f"Run: gcloud {target} --member={member or 'PRINCIPAL'} --role={first}{again}{hint}"


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
