"""Follower: looks for a newer version every few seconds, and switches to it between two batches."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from headrace.core.errors import HeadraceError, PlatformError

_log = logging.getLogger("headrace.serve")

Found = TypeVar("Found")


class Follower(ABC, Generic[Found]):
    """Looks in a thread of its own; a version that fails its checks is refused once, and the present one stays.

    Args:
        what: what has versions, for the log: "version" of a model, or "table".
        seconds: between two looks.
        count: called with "switched", "refused" or "failed" (the platform failed; it is tried again).
    """

    def __init__(self, what: str, seconds: float | None, count: Callable[[str], None]) -> None:
        self._what = what
        self._seconds = seconds
        self._count = count
        self._refused = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"follow-{what}", daemon=True)

    @property
    @abstractmethod
    def present(self) -> str:
        """The version in use."""

    @abstractmethod
    def newest(self) -> tuple[str, Found]:
        """The newest version, and where it was found.

        Raises:
            HeadraceError: there is none, or it cannot be read.
        """

    @abstractmethod
    def switch(self, found: Found) -> str:
        """Loads and checks a version, and uses it from the next batch on.

        Returns:
            What is in use now, for the log.

        Raises:
            HeadraceError: it fails a check, or the platform failed; the present version stays.
        """

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more; a version that is being loaded is not waited for."""
        self._end.set()

    def look(self) -> bool:
        """Looks once.

        Returns:
            Whether there was a switch.
        """
        version, present = "", self.present
        try:
            version, found = self.newest()
            if version in (present, self._refused):
                return False
            _log.info("%s %s replaces %s: loading and checking it", self._what, version, present)
            used = self.switch(found)
        except PlatformError as error:
            self._count("failed")
            _log.error("%s %s stays; it is tried again: %s", self._what, present, error.paragraph)
            return False
        except HeadraceError as error:
            # Without a version, what is refused may be another one at the next look.
            self._refused = version or self._refused
            self._count("refused")
            _log.error("%s %s is refused, and %s stays: %s", self._what, version or "there", present, error.paragraph)
            return False
        self._refused = ""
        self._count("switched")
        _log.info("%s %s is in use", self._what, used)
        return True

    def _follow(self) -> None:
        while not self._end.wait(self._seconds):
            try:
                self.look()
            except Exception:
                self._count("failed")
                _log.exception("unexpected internal error while looking for a new %s", self._what)
