"""Table follower: looks for a newly published table every few seconds, and switches to it between two batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from headrace.components.serve.tables.place import ServedTable, current_version, open_table
from headrace.core.errors import HeadraceError, PlatformError

_log = logging.getLogger("headrace.serve")


class User(Protocol):
    """An answerer with a table."""

    @property
    def table(self) -> ServedTable:
        """The table in use."""

    def use(self, table: ServedTable) -> None:
        """Uses another table from the next batch on."""


class TableFollower:
    """Opens, verifies and uses each newly published table; a table that is damaged is refused once.

    Args:
        uri: the published folder.
        seconds: between two looks.
        user: of the table.
        count: called with "switched", "refused" or "failed" (the platform failed; it is tried again).
    """

    def __init__(self, uri: str, seconds: float, user: User, *, count: Callable[[str], None] = lambda _: None) -> None:
        self._uri = uri
        self._seconds = seconds
        self._user = user
        self._count = count
        self._refused = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-table", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more; a table that is being opened is not waited for."""
        self._end.set()

    def look(self) -> bool:
        """Looks once.

        Returns:
            Whether the table was switched.
        """
        version = ""
        present = self._user.table.version
        try:
            version = current_version(self._uri)
            if version in (present, self._refused):
                return False
            new = open_table(self._uri, version)
        except PlatformError as error:
            self._count("failed")
            _log.error("table %s stays; it is tried again: %s", present, error.paragraph)
            return False
        except HeadraceError as error:
            self._refused = version
            self._count("refused")
            _log.error("table %s is refused, and %s stays: %s", version or "there", present, error.paragraph)
            return False
        self._refused = ""
        self._user.use(new)
        self._count("switched")
        _log.info("table %s of model version %s is in use, with %d keys", version, new.model_version, len(new.table))
        return True

    def _follow(self) -> None:
        while not self._end.wait(self._seconds):
            try:
                self.look()
            except Exception:
                self._count("failed")
                _log.exception("unexpected internal error while looking for a new table")
