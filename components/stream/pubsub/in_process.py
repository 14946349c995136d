"""Models in the worker's process, which follow the model pointer between two bundles."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.components.stream.models.fold import StreamModels
from headrace.components.stream.models.load import load_model
from headrace.components.stream.models.outcome import member_name
from headrace.components.stream.pubsub.pointer import ModelPointer
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import RecordResult, no_model, score_records
from headrace.components.stream.without_model import WithoutModel, check_without_model
from headrace.core.checks import is_finite
from headrace.core.errors import HeadraceError, PlatformError, UsageError
from headrace.core.model_events.event import ModelEvent
from headrace.core.rules.mode import Mode, check_mode
from headrace.core.scoring.online.model import OnlineModel

_log = logging.getLogger("headrace.stream")
# Maximum wait for the first model of a process, because records without a model become dead letters.
_FIRST_MODEL_S = 120.0
_PAUSE_S = 0.2


@dataclass(frozen=True)
class InProcessModels:
    """The models of an application, loaded in this process.

    Args:
        app: name of the application.
        models: URI of a folder of model events from `headrace registry promote --announce`, or of a registry.
        look_seconds: minimum time between two reads of the pointer, in seconds, 0 or more.
        without_model: while there is no model, "skip" turns records into dead letters; "hold" makes their bundle fail
            after `hold_seconds`, so that Beam retries it.
        hold_seconds: maximum time that a bundle waits for a model, in seconds, 0 or more.
        rules: "enforce" refuses rows that break the Model's rules; "warn" predicts and counts those whose values are
            out of bounds or unknown.
        model_roots: folders that Models may be in; if empty, any folder.

    Raises:
        UsageError: a value is not valid.
    """

    app: str
    models: str
    look_seconds: float = 1.0
    without_model: WithoutModel = "skip"
    hold_seconds: float = 60.0
    rules: Mode = "enforce"
    model_roots: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError(
                "the folder of model events is missing",
                where="--models",
                expected="a folder of model events, or a registry",
            )
        check_without_model(self.without_model)
        check_mode(self.rules)
        for name in ("look_seconds", "hold_seconds"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0:
                raise UsageError(f"{name} is wrong", where="stream", expected="0 or more", received=repr(value))

    def make(self) -> FollowedModels:
        """Creates the scorer. It loads its first model when a bundle begins."""
        return FollowedModels(self)


class FollowedModels:
    """The models of an application, which follow the pointer when a bundle begins; see `sources.BatchScorer`."""

    def __init__(self, options: InProcessModels) -> None:
        # TensorFlow reads this at import; it suppresses notes on CPU instructions.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._options = options
        self._codec = JsonCodec()
        self._models = StreamModels([options.app], self._load)
        self._pointer = ModelPointer(options.models, options.app, self._models.read)
        self._lock = threading.Lock()
        self._looked = -float("inf")
        self._begun = False

    def _load(self, event: ModelEvent, present: OnlineModel | None) -> OnlineModel:
        return load_model(event, present, rules=self._options.rules, roots=self._options.model_roots)

    def look(self) -> None:
        """Reads the pointer. It waits for the first model, and loads newer models in a thread.

        Raises:
            PlatformError: there is no model, and records are held.
        """
        # A concurrent bundle does not read the pointer as well.
        if self._lock.acquire(blocking=not self._begun):
            try:
                self._look()
                if not self._begun:
                    self._models.settle(_FIRST_MODEL_S)
                    self._begun = True
            finally:
                self._lock.release()
        if self._options.without_model == "hold":
            self._hold()

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked >= self._options.look_seconds:
            self._looked = now
            try:
                self._pointer.look()
            except HeadraceError as error:
                # The model in use is not replaced, and the next read may succeed.
                _log.error("%s: the model events cannot be read: %s", self._options.app, error.paragraph)
        self._models.tend()

    def _hold(self) -> None:
        begin = time.monotonic()
        while self._models[self._options.app].model is None:
            if time.monotonic() - begin > self._options.hold_seconds:
                raise PlatformError(
                    "no model is loaded yet, and records are held",
                    where=self._options.models,
                    expected=f"a model event of {self._options.app} within {self._options.hold_seconds:g} s",
                    fix="Promote a version: headrace registry promote --announce",
                )
            time.sleep(_PAUSE_S)
            with self._lock:
                self._look()

    def score(self, values: Sequence[bytes]) -> tuple[str, list[RecordResult]]:
        """Scores a batch with the model in use, and returns its version. Without a model, all records are rejected."""
        loaded = self._models[self._options.app].model
        if loaded is None:
            return "", no_model(values, self._options.app)
        with self._models.scoring():
            return loaded.event.version, score_records(values, loaded, self._codec)

    def alarms(self) -> list[bytes]:
        """Alarm events of models that were refused, or cannot be read."""
        at = datetime.now(UTC).isoformat()
        return [each.alarm(member=member_name(), at=at) for each in self._models.outcomes() if each.alarming]
