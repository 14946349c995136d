"""Model candidates: the event of an application to load next, whatever the order in which events arrive.

The newest event that is not refused is used. The final choice depends on the set of events, not on their order. So a
restart chooses the same older version again if the newest one is bad.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from headrace.core.model_events.event import ModelEvent

Added = Literal["new", "repeated", "older", "conflicting"]

# Number of events stored for a fallback; older ones are dropped.
KEPT = 64


@dataclass
class Candidates:
    """The events of one application. Not thread-safe.

    Attributes:
        in_use: event whose model is in use; None before the first.
        attempts: number of failed attempts to read a model, by epoch.
    """

    in_use: ModelEvent | None = None
    attempts: dict[int, int] = field(default_factory=dict)
    _events: dict[int, ModelEvent] = field(default_factory=dict)
    _refused: set[int] = field(default_factory=set)
    _due: dict[int, float] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        """The newest known epoch; 0 without an event."""
        return max(self._events, default=0)

    def add(self, event: ModelEvent) -> Added:
        """Adds an event.

        Returns:
            "new", "older" than the newest event, "repeated", or "conflicting" with a different event of the same epoch,
            which is not replaced.
        """
        known = self._events.get(event.epoch)
        if known is not None:
            same = (event.version, event.digest, event.model) == (known.version, known.digest, known.model)
            return "repeated" if same else "conflicting"
        newest = self.newest
        self._events[event.epoch] = event
        if len(self._events) > KEPT:
            del self._events[min(self._events)]
        return "new" if event.epoch > newest else "older"

    def next(self, now: float) -> ModelEvent | None:
        """The event to load: the newest that is newer than the one in use, not refused and due; None if there is none.

        Args:
            now: current time in seconds, of any clock.
        """
        used = 0 if self.in_use is None else self.in_use.epoch
        for epoch in sorted(self._events, reverse=True):
            if epoch <= used:
                return None
            if epoch not in self._refused and self._due.get(epoch, now) <= now:
                return self._events[epoch]
        return None

    def overtaken(self, event: ModelEvent) -> bool:
        """Whether a newer event is known that is not refused or waiting for a retry, so this one must not be used."""
        return any(
            epoch > event.epoch and epoch not in self._refused and epoch not in self._due for epoch in self._events
        )

    def use(self, event: ModelEvent) -> None:
        """Records that the model of an event is in use."""
        self.in_use = event
        self.attempts.pop(event.epoch, None)
        self._due.pop(event.epoch, None)

    def refuse(self, event: ModelEvent) -> None:
        """Records that the model of an event is bad: it is never tried again."""
        self._refused.add(event.epoch)
        self.attempts.pop(event.epoch, None)
        self._due.pop(event.epoch, None)

    def retry(self, event: ModelEvent, at: float) -> int:
        """Records that the model of an event could not be read, and is retried.

        Args:
            event: event of the model.
            at: time of the next attempt in seconds, of the same clock as for `next`.

        Returns:
            The number of failed attempts.
        """
        self.attempts[event.epoch] = self.attempts.get(event.epoch, 0) + 1
        self._due[event.epoch] = at
        return self.attempts[event.epoch]
