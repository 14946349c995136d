"""Kubeflow errors: translates rejections of a cluster to one paragraph with the command that fixes them."""

from __future__ import annotations

import errno
import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3.exceptions
from kfp_server_api.exceptions import ApiException, OpenApiException

from headrace.core.errors import HeadraceError, UsageError
from headrace.core.retry import Transient

_USER = re.compile(r"[Uu]ser '([^']+)' is not authorized|User (\S+) is not authorized")
# Of an error of the server with status 500, which a retry meets again: the reading of the spec failed.
_OF_THE_SPEC = re.compile(r"Failed to compile job|InvalidInputError|Invalid input error|invalid pipeline job inputs")
# Instead of HTTP, another protocol's greeting. A connection that was closed is none of these.
_NO_HTTP = (http.client.BadStatusLine, http.client.UnknownProtocol, http.client.LineTooLong)
_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError, ConnectionError)
# Of the network on the way: the host, or the one in between, does not exist.
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED)
_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)
_FORWARD = "kubectl port-forward --namespace kubeflow service/ml-pipeline 8888:8888"


class KubeflowNotFound(UsageError):
    """The server responded "not found". Exit 2, unless the caller knows what it means."""


class Unreachable(Transient):
    """No connection: the port is closed, nothing answers, or names are not resolved at the moment. Exit 75."""


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
def explained(host: str, namespace: str, what: str, *, reached: bool) -> Iterator[None]:
    """Translates errors of the server and of the network.

    Args:
        host: of the server.
        namespace: of the request; "" on a cluster with a single user.
        what: subject of the request, for messages.
        reached: whether the server has responded before.

    Raises:
        KubeflowNotFound: its meaning depends on the caller.
        UsageError: a rejection, or the host is wrong; the message has the command that fixes it.
        Unreachable: no connection.
        Transient: a retry may succeed.
    """
    try:
        yield
    except ApiException as error:
        # Newer servers answer 500 for the log of a pod that does not exist.
        if error.status == 404 or (error.status == 500 and "ailed to read log" in message_of(error)):
            raise KubeflowNotFound(
                "Kubeflow Pipelines does not have it", where=what, received=message_of(error)
            ) from error
        raise _meaning(error, host, namespace, what) from error
    except (urllib3.exceptions.HTTPError, TimeoutError, OSError) as error:
        raise _no_response(error, host, reached=reached) from error
    except (OpenApiException, ValueError) as error:
        raise UsageError(
            "the server is not Kubeflow Pipelines 2, or it rejects the request",
            where=host,
            received=str(error).splitlines()[0][:300],
        ) from error


def _body_of(error: Any) -> str:
    return error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")


def message_of(error: Any) -> str:
    """The server's message, in one line."""
    body = _body_of(error)
    try:
        content = json.loads(body)
        body = content.get("error_message") or content.get("message") or content.get("error") or body
    except (ValueError, AttributeError):
        pass
    lines = str(body).strip().splitlines()
    return (lines[0] if lines else f"{error.status} {error.reason}")[:400].rstrip(".")


def _no_response(error: BaseException, host: str, *, reached: bool) -> HeadraceError:
    """The error of a request without a response of HTTP."""
    cause = _first_cause(error)
    no_answer = _timed_out(cause)
    # Of an error of urllib3 the connection is the first argument, and the message the last.
    received = (str(cause.args[-1] if no_answer else cause) or type(cause).__name__)[:300]
    check = f"Check --kubeflow-url; from outside the cluster: {_FORWARD}"
    number = cause.errno if isinstance(cause, OSError) else None
    resolving = isinstance(cause, socket.gaierror)
    if no_answer or resolving or number in _NO_ROUTE:
        unknown = resolving and number in _NO_SUCH_NAME
        kind: type[HeadraceError] = UsageError if unknown and not reached else Unreachable
        what = "the host's name does not exist" if unknown else "Kubeflow Pipelines does not respond"
        return kind(what, where=host, received=received, fix=check)
    wrong = ""
    if isinstance(cause, urllib3.exceptions.LocationValueError):
        wrong = "--kubeflow-url is not a URL"
    elif isinstance(cause, ssl.SSLError) and not isinstance(cause, _CUT_OFF):
        wrong = "the TLS connection to --kubeflow-url fails"
    elif isinstance(cause, _NO_HTTP) and not isinstance(cause, _CUT_OFF):
        wrong = "the server at --kubeflow-url does not use HTTP"
    if wrong:
        return UsageError(
            wrong, where=host, expected="the URL of the API, http://... or https://...", received=received, fix=check
        )
    return Transient("Kubeflow Pipelines does not respond", where=host, received=received, fix="Try again later")


def _first_cause(error: BaseException) -> BaseException:
    """The error within those of urllib3's retries, pool and connection."""
    if isinstance(error, urllib3.exceptions.LocationValueError) or _timed_out(error):
        return error
    inner = getattr(error, "reason", None)
    for candidate in (inner, *error.args, error.__cause__):
        if isinstance(candidate, BaseException):
            return _first_cause(candidate)
    return error


def _timed_out(error: BaseException) -> bool:
    """Whether nothing answered; urllib3 makes other failures of a connection a kind of this one."""
    kinds = urllib3.exceptions
    return isinstance(error, kinds.ConnectTimeoutError) and not isinstance(error, kinds.NewConnectionError)


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
    of_the_spec = error.status == 500 and _OF_THE_SPEC.search(_body_of(error))
    if error.status in (0, 408, 429) or (error.status >= 500 and not of_the_spec):
        return Transient("Kubeflow Pipelines failed or did not respond", where=host, received=text)
    return UsageError("Kubeflow Pipelines rejected the request", where=what, received=text)
