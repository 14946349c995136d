"""Spans of labelled flights: what a dynamic training reads when an alarm starts it."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from replay import Row

COLUMNS = ("flight", "air_time", "distance", "hour", "origin", "carrier")


def add_span(settings: Any, folder: Path, span: str, rows: Sequence[Row]) -> None:
    """Writes labelled flights to a file, and adds it to the inbox of a dynamic training, which starts no run."""
    from headrace.pipelines.dynamic.arrivals import arrive

    folder.mkdir(exist_ok=True)
    data = folder / f"{span}.csv"
    with data.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for row in rows if row["air_time"] is not None)
    arrive(settings, data=str(data), span=span, reason="file", event="", now=datetime.now(UTC))


class Spans(threading.Thread):
    """Makes a span of the labels that have come every so many seconds since the start, until a run has begun.

    Later ones would be trained with by a run of their own as soon as that run ends.

    Args:
        settings: of the dynamic training.
        folder: of the files.
        labelled: flights with labels, which grow.
        every_s: length of a span, in seconds.
    """

    def __init__(self, settings: Any, folder: Path, labelled: Sequence[Row], every_s: float) -> None:
        super().__init__(name="spans", daemon=True)
        self._settings = settings
        self._folder = folder
        self._labelled = labelled
        self._every = every_s
        self._ended = threading.Event()
        self.rows: list[int] = []

    def run(self) -> None:
        """Adds spans."""
        at = len(self._labelled)
        while not self._ended.wait(self._every) and not self._begun():
            end = len(self._labelled)
            if end > at:
                add_span(self._settings, self._folder, f"labels-{len(self.rows) + 1:04}", self._labelled[at:end])
                self.rows.append(end - at)
            at = end

    def stop(self) -> None:
        """Adds no more."""
        self._ended.set()
        self.join()

    def _begun(self) -> bool:
        return self._settings.ledger.state().run is not None


def wait_until(true: Callable[[], bool], seconds: float, pause_s: float = 0.5) -> bool:
    """Whether something becomes true in a time."""
    ended = threading.Event()
    for _ in range(int(seconds / pause_s)):
        if true():
            return True
        ended.wait(pause_s)
    return true()
