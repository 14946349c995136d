"""Vertex AI errors: translates rejections of the service to one paragraph with the command that fixes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions as api

from headrace.core.cloud import errors as cloud_errors
from headrace.core.errors import HeadraceError, PlatformError, UsageError
from headrace.core.retry import Transient

_ACT_AS = re.compile(r"act as service[_ ]account:?\s*'?([^\s'(]+)|iam\.serviceAccounts\.actAs")
_QUOTA = re.compile(r"[Qq]uota (metric|limit|exceeded)|quota metrics exceed|exceed quota")
_METRIC = re.compile(r"aiplatform\.googleapis\.com/([a-z0-9_]+)")
_REGION = re.compile(
    r"[Uu]nsupported region|[Ll]ocation [^ ]+ (is not|was not)|not (available|supported) in (region|location)"
)

# The role that an account needs, by the service of the missing permission.
_ROLES = {
    "aiplatform": "roles/aiplatform.user",
    "logging": "roles/logging.viewer",
    "storage": "roles/storage.objectAdmin",
    "artifactregistry": "roles/artifactregistry.reader",
}


@dataclass(frozen=True)
class Account:
    """Account and location of requests.

    Attributes:
        project, location: of the requests.
        member: IAM principal, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com.
        service_account: of the run, or "".
    """

    project: str
    location: str
    member: str
    service_account: str = ""


@contextmanager
def explained(account: Account, what: str) -> Iterator[None]:
    """Translates errors of Google Cloud and of the network.

    Args:
        account: of the requests.
        what: subject of the request, for messages.

    Raises:
        google.api_core.exceptions.NotFound, Conflict: passed on, as their meaning depends on the caller.
        UsageError: a rejection; the message has the command that fixes it.
        Transient: a retry may succeed.
    """
    try:
        yield
    except (api.NotFound, api.Conflict):
        raise
    except (*cloud_errors.KNOWN, OSError) as error:
        raise meaning(error, account, what) from error


def meaning(error: Any, account: Account, what: str) -> HeadraceError:
    """Translates an error of Google Cloud's clients; arguments as of `explained`."""
    text = cloud_errors.message_of(error)
    of_project = cloud_errors.project_error(error, account.project, "aiplatform.googleapis.com")
    if of_project is not None:
        return of_project
    if isinstance(error, (api.Forbidden, api.BadRequest)) and (acting := _ACT_AS.search(text)):
        return _no_act_as(acting[1] or account.service_account, account, what, text)
    if isinstance(error, (api.TooManyRequests, api.ResourceExhausted)) and _QUOTA.search(text):
        metric = _METRIC.search(text)
        quota = f" {metric[1]}" if metric else ""
        return PlatformError(
            f"the quota{quota} is used up in {account.location}",
            where=f"project {account.project}",
            received=text,
            fix=f"Wait until other jobs have ended, or request more: gcloud beta quotas info list"
            f" --service=aiplatform.googleapis.com --project={account.project} shows the limits, and"
            " gcloud beta quotas preferences create raises one",
        )
    permission = cloud_errors.missing_permission(text)
    role = _ROLES.get(permission.partition(".")[0], "roles/aiplatform.user")
    found = cloud_errors.translated(error, "Vertex AI", what, role, project=account.project, member=account.member)
    refused = isinstance(error, api.ClientError) and not isinstance(error, api.Forbidden | api.Unauthorized)
    if _REGION.search(text) if refused else isinstance(found, PlatformError) and _unknown_host(error):
        return _no_region(account, text)
    if isinstance(found, PlatformError):
        return Transient(found.what, where=what, received=text, fix="Try again later")
    return found


def _no_act_as(service_account: str, account: Account, what: str, text: str) -> UsageError:
    name = service_account.rstrip(".") or "SERVICE_ACCOUNT"
    return UsageError(
        f"this account is not allowed to submit runs as {name}",
        where=what,
        received=text,
        fix=f"Run: gcloud iam service-accounts add-iam-policy-binding {name} --project={account.project}"
        f" --member={account.member} --role=roles/iam.serviceAccountUser",
    )


def _no_region(account: Account, text: str) -> UsageError:
    return UsageError(
        f"Vertex AI is not available in {account.location!r}",
        where="--region",
        expected="a region such as us-central1 or europe-west1",
        received=text,
        fix="Choose another --region, and a bucket in the same region; gcloud compute regions list names them",
    )


def _unknown_host(error: Exception) -> bool:
    return "Name or service not known" in str(error) or "NameResolutionError" in str(error)
