"""Model sources: what scores the records of a bundle; one of each in a process, which its stages share."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from headrace.components.stream.records.score import RecordResult


class BatchScorer(Protocol):
    """Scores batches of records; safe to use from several threads at a time."""

    def look(self) -> None:
        """Looks for a newer model; called when a bundle begins.

        Raises:
            HeadraceError: there is no model, and records are held until there is one.
        """

    def score(self, values: Sequence[bytes]) -> tuple[str, list[RecordResult]]:
        """The version of the model that was in use, "" without one, and the result of each record, in order.

        Raises:
            PlatformError: the model failed for a reason that is not in the records.
        """

    def alarms(self) -> list[bytes]:
        """Alarm events since the last call."""


class ModelSource(Protocol):
    """Makes the scorer of a process; it is sent to workers, and equal ones share a scorer."""

    def make(self) -> BatchScorer:
        """Makes the scorer."""


# Beam makes stages anew for each thread, and on this machine for each bundle; a model takes seconds to load.
_SCORERS: dict[ModelSource, BatchScorer] = {}
_LOCK = threading.Lock()


def scorer_of(source: ModelSource) -> BatchScorer:
    """The scorer of this process, which is made at the first call."""
    with _LOCK:
        if source not in _SCORERS:
            _SCORERS[source] = source.make()
        return _SCORERS[source]
