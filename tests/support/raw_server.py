"""A server that answers each connection with given bytes, which need not be HTTP."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def answering(pieces: Iterable[bytes]) -> Iterator[int]:
    """Answers one connection with the pieces, closes it, and yields the server's port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            client, _ = listening.accept()
            with contextlib.suppress(OSError), client:
                client.recv(1 << 16)
                for piece in pieces:
                    client.sendall(piece)

        thread = threading.Thread(target=run)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join()
