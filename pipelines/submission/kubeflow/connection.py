"""Connection to the API of Kubeflow Pipelines by kfp.Client: its errors become headrace's, its output is dropped."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from headrace.core.errors import PlatformError
from headrace.pipelines.submission.kubeflow.errors import Unreachable, checked_health, explained

# Before the server has responded once: a closed port is then rather a wrong address than a restart.
_FIRST_ATTEMPTS = 4
# Seconds until a connection is made, and between two parts of a response: kfp.Client has no limit of its own.
_TIMEOUTS_S = (10.0, 300.0)


class Connection:
    """Kubeflow Pipelines at one URL.

    Args:
        host: URL of its API; "" for the cluster of this pod, or of kubectl.
        namespace: of the requests, on a cluster with several users; "" otherwise.
        token: bearer token; "" for none.
    """

    def __init__(self, host: str, namespace: str, token: str) -> None:
        self._host, self._namespace, self._token = host, namespace, token
        self._reached, self._attempts = False, 0

    @cached_property
    def client(self) -> Any:
        """The kfp.Client. It is made, and the server's health checked, within `asking`."""
        with _quiet():
            import kfp

            class Client(kfp.Client):
                def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
                    # kfp.Client asks five times, whatever the answer is; retry() repeats what may pass.
                    del sleep_duration
                    _bound(self._healthz_api.api_client.rest_client)
                    return checked_health(self._healthz_api.healthz_service_get_healthz)

            client = Client(
                host=self._host or None,
                existing_token=self._token or None,
                **({"namespace": self._namespace} if self._namespace else {}),
            )
            if self._namespace:
                # kfp.Client does not ask then.
                client.get_kfp_healthz()
            return client

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Translates the errors of requests.

        Args:
            what: subject of the requests, for messages.

        Raises:
            HeadraceError: as of `errors.explained`. A server that never responded is not asked for long.
        """
        host = self._host or "the cluster"
        try:
            with explained(host, self._namespace, what, reached=self._reached), _quiet():
                yield
        except Unreachable as error:
            self._attempts += 1
            if self._reached or self._attempts < _FIRST_ATTEMPTS:
                raise
            raise PlatformError(error.what, where=host, received=error.received, fix=error.fix) from error
        self._reached = True

    def close(self) -> None:
        """Closes the connections."""
        if "client" in self.__dict__:
            self.client._run_api.api_client.rest_client.pool_manager.clear()


def _bound(rest_client: Any) -> None:
    """Sets timeouts for the requests of a kfp_server_api client, which all parts of kfp.Client share.

    A connection is tried once per request: whoever asks tries again, as often as the time is worth.
    """
    import urllib3

    request = rest_client.request

    def bounded(*arguments: Any, _request_timeout: Any = None, **more: Any) -> Any:
        return request(*arguments, _request_timeout=_request_timeout or _TIMEOUTS_S, **more)

    rest_client.request = bounded
    rest_client.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(3, connect=0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses kfp.Client's links, deprecation warnings, and tracebacks of requests that it retries."""
    disabled = logging.root.manager.disable
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(disabled)
