"""A webhook is bounded by its limit, also while its name is resolved and while its addresses do not answer."""

import socket
import threading
from collections.abc import Iterator

import pytest
from urllib3.util import connection

from headrace.core import webhook
from headrace.core.errors import PlatformError


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Ends what hangs when the test has ended."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("waits_for", ["a name", "an address"])
def test_a_webhook_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event, waits_for: str
) -> None:
    hung = threading.Event()

    def hangs(*_: object, **__: object) -> None:
        hung.set()
        released.wait(600)
        raise OSError("released")

    monkeypatch.setattr(webhook, "_SECONDS", 0.05)
    if waits_for == "a name":
        monkeypatch.setattr(socket, "getaddrinfo", hangs)
    else:
        monkeypatch.setattr(connection, "create_connection", hangs)
    with pytest.raises(PlatformError) as caught:
        webhook.post("http://hook.invalid/SECRET", b"{}")
    assert caught.value.paragraph == "hook.invalid could not be notified. Received: TimeoutError."
    assert hung.wait(600)
    assert not released.is_set()
