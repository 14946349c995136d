"""Messages trigger: the dynamic training of spans of messages, which the workers of the streaming job call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace.pipelines.dynamic import settings as dynamic
from headrace.pipelines.dynamic.arrivals import arrive
from headrace.pipelines.dynamic.tick import tick


@dataclass(frozen=True)
class DynamicTraining:
    """A dynamic training, whose settings are read at each call. It is serialized and sent to workers.

    Args:
        settings: URI of settings.json, or of its folder.
    """

    settings: str

    def arrive(self, span: str, data: str, reason: str, now: datetime) -> None:
        """Adds a span to the inbox. Raises the errors of `arrivals.arrive`."""
        arrive(dynamic.read(self.settings), data=data, span=span, reason=reason, event="", now=now)

    def pump(self, now: datetime) -> str:
        """Starts the run that is due, and returns what it did, as text. Raises the errors of `tick`."""
        return tick(dynamic.read(self.settings), now).why
