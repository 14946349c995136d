"""Model pointer: a folder of announced model events, one file per change of the champion, or a registry."""

from __future__ import annotations

import re
from collections.abc import Callable

from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.errors import HeadraceError, PlatformError

Read = Callable[[bytes, str], None]


class ModelPointer:
    """Reads the events that are new since the last read.

    Args:
        uri: URI of a folder of events, or of a registry.
        app: name of the application; events of others are not read.
        read: called with each new message and its URI.
    """

    def __init__(self, uri: str, app: str, read: Read) -> None:
        self._uri = uri
        self._app = app
        self._read = read
        self._name = re.compile(rf"{re.escape(app)}-[0-9]{{10}}\.json\Z")
        self._seen: set[str] = set()
        self._registry = uri.startswith("projects/") or storage.exists(storage.join(uri, REGISTRY.state))

    def look(self) -> None:
        """Reads new events.

        Raises:
            UsageError: access is denied.
            DataError: the registry is damaged.
            PlatformError: the disk or the service failed; calling again is safe.
        """
        if self._registry:
            self._look_at_registry()
            return
        try:
            names = [name for name in storage.files_below(self._uri) if self._name.match(name)]
            for name in names:
                if name in self._seen:
                    continue
                uri = storage.join(self._uri, name)
                self._read(storage.read_bytes(uri), uri)
                self._seen.add(name)
        except HeadraceError:
            raise
        except OSError as error:
            raise PlatformError("the model events cannot be read", where=self._uri, received=str(error)) from error

    def _look_at_registry(self) -> None:
        from headrace.components.announce.events import event_of
        from headrace.components.registry.open import open_registry

        event = event_of(open_registry(self._uri), self._app)
        if event is None or str(event.epoch) in self._seen:
            return
        self._read(event.encode(), self._uri)
        self._seen.add(str(event.epoch))
