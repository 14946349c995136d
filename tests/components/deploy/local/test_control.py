"""The port of an endpoint's router."""

from __future__ import annotations

import random
import socket

from headrace.components.deploy.local import control


def test_a_free_port_does_not_follow_from_the_seed_of_the_process() -> None:
    before = random.getstate()
    port = control.free_port()
    assert random.getstate() == before
    with socket.create_server((control.HOST, port)):
        assert control.something_answers(port)
