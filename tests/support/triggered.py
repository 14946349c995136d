"""Triggers without a platform: settings whose Problem nobody reads, and runs that are counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from headrace.core import storage
from headrace.core.errors import PlatformError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.pump import Status
from headrace.core.ledger.state import LedgerRun
from headrace.core.storage.compare_and_set import create_if_absent
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.submission.place import PlatformLocation

DIGESTS = dict.fromkeys(("problem_digest", "schema_digest", "training_digest", "evaluation_digest"), "0" * 16)


def settings_below(root: str | Path) -> DynamicSettings:
    """Settings of a dynamic training, written below a root: on Vertex AI, if that is on gs://."""
    remote = str(root).startswith("gs://")
    settings = DynamicSettings(
        "flights",
        f"{root}/flights.py",
        DIGESTS,
        str(root),
        f"{root}/registry",
        f"{root}/endpoint",
        platform="vertex" if remote else "local",
        place=PlatformLocation("vertex", project="demo-project", location="europe-west1") if remote else None,
    )
    settings.write()
    return settings


class CountedRuns:
    """Runs of a platform that takes each id once; none of them does anything.

    Attributes:
        started: the arrivals of each run, by id.
        silent: whether the platform does not answer.
    """

    def __init__(self) -> None:
        self.started: dict[str, list[Arrival]] = {}
        self.silent = False
        self._lock = threading.Lock()

    def status(self, run_id: str) -> Status:
        """Every run that was started is alive."""
        if self.silent:
            raise PlatformError("the platform does not answer")
        return "alive" if run_id in self.started else "absent"

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        """Starts a run once, whoever starts it again."""
        if self.silent:
            raise PlatformError("the platform does not answer")
        with self._lock:
            self.started.setdefault(run.id, list(arrivals))


class StoredRuns:
    """Runs that several processes start, each of which is an object; none of them does anything.

    Args:
        uri: of a folder.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def status(self, run_id: str) -> Status:
        """Every run that was started is alive."""
        return "alive" if storage.exists(storage.join(self._uri, run_id)) else "absent"

    def start(self, run: LedgerRun, arrivals: Sequence[Arrival]) -> None:
        """Starts a run once, whoever starts it again."""
        create_if_absent(storage.join(self._uri, run.id), " ".join(each.version for each in arrivals).encode())

    @property
    def started(self) -> list[str]:
        """The ids of the runs."""
        return list(storage.files_below(self._uri))
