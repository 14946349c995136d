"""What a Kubeflow cluster refuses, as one paragraph with the command that mends it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3.exceptions
from kfp_server_api.exceptions import ApiException, OpenApiException

from headrace.core.errors import HeadraceError, UsageError
from headrace.core.retry import Transient

_USER = re.compile(r"[Uu]ser '([^']+)' is not authorized|User (\S+) is not authorized")
_FORWARD = "kubectl port-forward --namespace kubeflow service/ml-pipeline 8888:8888"


class NotThere(Exception):
    """The server knows no such thing."""


@contextmanager
def explained(host: str, namespace: str, what: str) -> Iterator[None]:
    """Turns what the server or the way to it says into our errors.

    Args:
        host: of the server.
        namespace: that is asked about; "" where there is one only.
        what: the thing that it is about.

    Raises:
        NotThere: the caller knows what it means.
        UsageError: with the command that mends it.
        Transient: asked again, it may answer.
    """
    try:
        yield
    except ApiException as error:
        if error.status == 404:
            raise NotThere(said(error)) from error
        raise _meaning(error, host, namespace, what) from error
    except (urllib3.exceptions.HTTPError, TimeoutError, OSError) as error:
        refused = "Connection refused" in str(error) or "NameResolutionError" in str(error)
        raise Transient(
            "Kubeflow Pipelines does not answer",
            where=host,
            received=str(error)[:300],
            fix=f"Look at --host; from outside the cluster: {_FORWARD}" if refused else "Try again later",
        ) from error
    except (OpenApiException, ValueError) as error:
        raise UsageError(
            "this is no Kubeflow Pipelines of version 2, or it refuses the request",
            where=host,
            received=str(error).splitlines()[0][:300],
        ) from error


def said(error: Any) -> str:
    """What the server says, in one line."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        told = json.loads(body)
        body = told.get("error_message") or told.get("message") or told.get("error") or body
    except (ValueError, AttributeError):
        pass
    lines = str(body).strip().splitlines()
    return (lines[0] if lines else f"{error.status} {error.reason}")[:400].rstrip(".")


def _meaning(error: Any, host: str, namespace: str, what: str) -> HeadraceError:
    text = said(error)
    if error.status == 401:
        return UsageError(
            "this account is not known to the cluster",
            where=host,
            received=text,
            fix="Give --token-file token after: kubectl create token SERVICE_ACCOUNT"
            f" --namespace {namespace or 'kubeflow'} --audience pipelines.kubeflow.org > token",
        )
    if error.status == 403:
        found = _USER.search(text)
        user = (found[1] or found[2]) if found else "ACCOUNT"
        return UsageError(
            "access is not allowed",
            where=what,
            received=text,
            fix=f"Run: kubectl create rolebinding headrace --clusterrole=kubeflow-edit --user={user}"
            f" --namespace={namespace or 'kubeflow'}",
        )
    if error.status in (0, 408, 429) or error.status >= 500:
        return Transient("Kubeflow Pipelines did not answer as it should", where=host, received=text)
    return UsageError("Kubeflow Pipelines refused the request", where=what, received=text)
