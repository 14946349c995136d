"""Kubeflow errors: translates rejections of a cluster to one paragraph with the command that fixes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3.exceptions
from kfp_server_api.exceptions import ApiException, OpenApiException

from headrace.core.errors import HeadraceError, UsageError
from headrace.core.retry import Transient

_USER = re.compile(r"[Uu]ser '([^']+)' is not authorized|User (\S+) is not authorized")
_FORWARD = "kubectl port-forward --namespace kubeflow service/ml-pipeline 8888:8888"


class NotThere(UsageError):
    """The server responded "not found". Exit 2, unless the caller knows what it means."""


def checked_health(ask: Callable[[], Any]) -> Any:
    """The server's health, which only Kubeflow Pipelines reports in this way.

    Args:
        ask: requests it.

    Raises:
        UsageError: another server responded.
        ApiException: a rejection of another kind.
    """
    try:
        health = ask()
    except ApiException as error:
        if error.status not in (404, 405):
            raise
        received = f"{error.status} {message_of(error)}"
    else:
        # Every version reports it; a web page that is served at any path does not.
        if health.multi_user is not None:
            return health
        received = "a response without multi_user"
    raise UsageError(
        "no Kubeflow Pipelines API responds at --kubeflow-url",
        where="/apis/v2beta1/healthz",
        expected="the health of Kubeflow Pipelines 2",
        received=received,
        fix=f"Give the API's URL; from outside the cluster: {_FORWARD}",
    )


@contextmanager
def explained(host: str, namespace: str, what: str) -> Iterator[None]:
    """Translates errors of the server and of the network.

    Args:
        host: of the server.
        namespace: of the request; "" on a cluster with a single user.
        what: subject of the request, for messages.

    Raises:
        NotThere: its meaning depends on the caller.
        UsageError: a rejection; the message has the command that fixes it.
        Transient: a retry may succeed.
    """
    try:
        yield
    except ApiException as error:
        # Newer servers answer 500 for the log of a pod that does not exist.
        if error.status == 404 or (error.status == 500 and "ailed to read log" in message_of(error)):
            raise NotThere("Kubeflow Pipelines does not have it", where=what, received=message_of(error)) from error
        raise _meaning(error, host, namespace, what) from error
    except (urllib3.exceptions.HTTPError, TimeoutError, OSError) as error:
        refused = "Connection refused" in str(error) or "NameResolutionError" in str(error)
        raise Transient(
            "Kubeflow Pipelines does not respond",
            where=host,
            received=str(error)[:300],
            fix=f"Check --kubeflow-url; from outside the cluster: {_FORWARD}" if refused else "Try again later",
        ) from error
    except (OpenApiException, ValueError) as error:
        raise UsageError(
            "the server is not Kubeflow Pipelines 2, or it rejects the request",
            where=host,
            received=str(error).splitlines()[0][:300],
        ) from error


def message_of(error: Any) -> str:
    """The server's message, in one line."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        content = json.loads(body)
        body = content.get("error_message") or content.get("message") or content.get("error") or body
    except (ValueError, AttributeError):
        pass
    lines = str(body).strip().splitlines()
    return (lines[0] if lines else f"{error.status} {error.reason}")[:400].rstrip(".")


def _meaning(error: Any, host: str, namespace: str, what: str) -> HeadraceError:
    text = message_of(error)
    if error.status == 401:
        return UsageError(
            "the cluster does not accept these credentials",
            where=host,
            received=text,
            fix="Set --token-file token after: kubectl create token SERVICE_ACCOUNT"
            f" --namespace {namespace or 'kubeflow'} --audience pipelines.kubeflow.org > token",
        )
    if error.status == 403:
        found = _USER.search(text)
        user = (found[1] or found[2]) if found else "ACCOUNT"
        return UsageError(
            "access is denied",
            where=what,
            received=text,
            fix=f"Run: kubectl create rolebinding headrace --clusterrole=kubeflow-edit --user={user}"
            f" --namespace={namespace or 'kubeflow'}",
        )
    if error.status in (0, 408, 429) or error.status >= 500:
        return Transient("Kubeflow Pipelines failed or did not respond", where=host, received=text)
    return UsageError("Kubeflow Pipelines rejected the request", where=what, received=text)
