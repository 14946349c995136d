"""Webhook: JSON that is posted to a URL, bounded in time and in the size of the answer; redirects are not followed.

A webhook's URL often contains its secret, so no message and no log has more of it than the host.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from urllib.parse import urlsplit

from headrace.core import http
from headrace.core.errors import PlatformError, UsageError

_SECONDS = 10.0
_MAX_BYTES = 1 << 20


def check_webhook(url: str, *, option: str = "--notify") -> None:
    """Refuses a URL that nothing can be posted to.

    Args:
        url: of the webhook.
        option: that it was given by, for the message.

    Raises:
        UsageError: the URL is not valid, or contains credentials.
    """
    try:
        http.check_url(url)
        valid = "@" not in urlsplit(url).netloc
    except ValueError:
        valid = False
    if not valid:
        # Without the URL: its path is its secret.
        raise UsageError("the webhook URL is not valid", where=option, expected="https://HOST/...")


def post(url: str, body: bytes) -> None:
    """Posts JSON to a webhook, for 10 s at most.

    Raises:
        PlatformError: the webhook did not accept it, or whether it did is not known; the message has its host alone.
    """
    answer: Future[str] = Future()

    def send() -> None:
        try:
            answer.set_result(_sent(url, body))
        except BaseException as error:
            answer.set_exception(error)

    # Names are resolved without a limit, and each address of a name is tried for the whole of it. A thread that is
    # still waiting for them does not keep the process from ending.
    threading.Thread(target=send, daemon=True, name="webhook").start()
    try:
        failed = answer.result(_SECONDS)
    except TimeoutError as error:
        failed = type(error).__name__
    if failed:
        host = urlsplit(url).hostname or "the webhook"
        raise PlatformError(f"{host} could not be notified", received=failed)


def _sent(url: str, body: bytes) -> str:
    """Posts JSON once; returns why it failed, or ""."""
    try:
        with http.pool(proxies=True) as connections:
            headers = {"Content-Type": "application/json"}
            response = http.send(
                connections, "POST", url, body=body, headers=headers, timeout_s=_SECONDS, max_bytes=_MAX_BYTES
            )
    except (http.RequestFailed, http.ResponseTooLarge, ValueError) as error:
        # The client's message may hold the URL.
        return type(error).__name__
    return "" if 200 <= response.status < 300 else f"status {response.status}"
