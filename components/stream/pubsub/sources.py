"""Model sources: create the scorer of a process, which its stages share."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from headrace.components.stream.records.score import RecordResult


class BatchScorer(Protocol):
    """Scores batches of records. Thread-safe."""

    def look(self) -> None:
        """Checks for a newer model. It is called when a bundle begins.

        Raises:
            HeadraceError: there is no model, and records are held.
        """

    def score(self, values: Sequence[bytes]) -> tuple[str, list[RecordResult]]:
        """The version of the model in use, "" without one, and the result of each record, in order.

        Raises:
            PlatformError: the model failed for a reason other than its records.
        """

    def alarms(self) -> list[bytes]:
        """Alarm events since the last call."""


class ModelSource(Protocol):
    """Creates the scorer of a process. It is serialized and sent to workers; equal sources share a scorer."""

    def make(self) -> BatchScorer:
        """Creates the scorer."""


# Shared, because Beam creates stages per thread, and on this machine per bundle, and a model takes seconds to load.
_SCORERS: dict[ModelSource, BatchScorer] = {}
_LOCK = threading.Lock()


def scorer_of(source: ModelSource) -> BatchScorer:
    """The scorer of a source in this process, which the first call creates."""
    with _LOCK:
        if source not in _SCORERS:
            _SCORERS[source] = source.make()
        return _SCORERS[source]
