"""Models of an application: folds model events, loads models in a thread, and switches between two batches.

It does not depend on the source of events: the readers of a Kafka topic, a folder or a registry call `add` and then
`tend`, which never waits.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from headrace.components.stream.models.load import Load, LoadedModel, ModelUnreachable
from headrace.components.stream.models.outcome import ModelOutcome, Tell
from headrace.core.errors import HeadraceError, PlatformError
from headrace.core.model_events.candidates import Added, Candidates
from headrace.core.model_events.event import ModelEvent
from headrace.core.retry import backoff_seconds
from headrace.core.scoring.online.current import CurrentModel

_log = logging.getLogger("headrace.stream")

_FIRST_WAIT_S = 0.5
_MAX_WAIT_S = 60.0
# A model that cannot be read is retried forever. A platform error of a model is retried twice, then it is refused.
_FAILED_ATTEMPTS = 3


class AppModels:
    """The models of one application: the one in use, the previous one, and at most one that is loading.

    One thread calls `add` and `tend`; any thread may read `model`.

    Args:
        app: name of the application.
        load: loads and checks the Model of an event; see `load.load_model`.
        tell: called with each outcome, from the loading thread or from the thread of `add`.
        beside: context of the loading thread, while it loads a model and frees the one that it replaces.
        clock: monotonic clock, in seconds.
        chance: returns a random number in [0, 1), for the jitter of waits.
    """

    def __init__(
        self,
        app: str,
        load: Load,
        tell: Tell = lambda _: None,
        *,
        beside: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.app = app
        self._load = load
        self._tell = tell
        self._beside = beside
        self._clock = clock
        self._chance = chance
        self._candidates = Candidates()
        # Number of attempts that failed with a platform error other than unreadable files, by epoch.
        self._failed: Counter[int] = Counter()
        self._current: CurrentModel[LoadedModel | None] = CurrentModel(None)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def model(self) -> LoadedModel | None:
        """The model in use, to be read once per batch; None if there is none."""
        return self._current.model

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def settled(self) -> bool:
        """Whether all known events were processed, so that the newest usable model is in use."""
        with self._lock:
            return not self.loading and self._candidates.next(self._clock()) is None

    def add(self, event: ModelEvent) -> Added:
        """Adds an event of this application; returns as of `Candidates.add`."""
        with self._lock:
            added = self._candidates.add(event)
        if added == "conflicting":
            self._report("conflicting", event, reason="another event of this epoch came first")
        return added

    def tend(self) -> None:
        """Starts to load a newer model, if there is one; never waits."""
        if self.loading:
            return
        with self._lock:
            event = self._candidates.next(self._clock())
        if event is not None:
            self._thread = threading.Thread(target=self._try, args=(event,), name=f"load-{self.app}", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float | None = None) -> None:
        """Waits until the loading thread has ended, at most `timeout_s` seconds; None waits without a limit."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _try(self, event: ModelEvent) -> None:
        """Loads the model of an event, and switches to it. It runs in the loading thread."""
        begin = time.monotonic()
        try:
            with self._beside():
                loaded = self._reused(event) or self._loaded(event)
                with self._lock:
                    if self._candidates.overtaken(event):
                        return
                    self._candidates.use(event)
                self._current.switch(lambda: loaded)
        except ModelUnreachable as error:
            self._again(event, error.paragraph)
        except (PlatformError, MemoryError) as error:
            reason = error.paragraph if isinstance(error, HeadraceError) else "there is not enough memory"
            self._failed[event.epoch] += 1
            (self._refuse if self._failed[event.epoch] >= _FAILED_ATTEMPTS else self._again)(event, reason)
        except HeadraceError as error:
            self._refuse(event, error.paragraph)
        except Exception as error:
            _log.exception("%s: unexpected internal error while loading version %s", self.app, event.version)
            self._refuse(event, f"unexpected internal error: {type(error).__name__}: {error}"[:1000])
        else:
            self._report("switched", event, seconds=time.monotonic() - begin)

    def _loaded(self, event: ModelEvent) -> LoadedModel:
        present = self._current.model
        return LoadedModel(event, self._load(event, None if present is None else present.model))

    def _reused(self, event: ModelEvent) -> LoadedModel | None:
        """The Model of an event if it is in memory, for a repeated event with a newer epoch, or for a rollback."""
        for loaded in (self._current.model, self._current.previous):
            # Not from another folder, which may contain a damaged copy that all members must refuse.
            if loaded is not None and _named(loaded.event) == _named(event):
                return LoadedModel(event, loaded.model)
        return None

    def _again(self, event: ModelEvent, reason: str) -> None:
        with self._lock:
            made = self._candidates.attempts.get(event.epoch, 0) + 1
            wait = backoff_seconds(made, self._chance, first_s=_FIRST_WAIT_S, max_s=_MAX_WAIT_S)
            self._candidates.retry(event, self._clock() + wait)
        self._report("unreachable", event, reason=reason, attempts=made)

    def _refuse(self, event: ModelEvent, reason: str) -> None:
        with self._lock:
            self._candidates.refuse(event)
        self._report("refused", event, reason=reason)

    def _report(
        self, kind: str, event: ModelEvent, *, reason: str = "", attempts: int = 0, seconds: float = 0.0
    ) -> None:
        used = self._current.model
        outcome = ModelOutcome(
            kind,  # type: ignore[arg-type]
            self.app,
            event.epoch,
            event.version,
            event.model,
            reason,
            "" if used is None else used.event.version,
            attempts,
            seconds,
        )
        (_log.info if kind == "switched" else _log.error)("%s", outcome.text)
        self._tell(outcome)


def _named(event: ModelEvent) -> tuple[str, ...]:
    """The fields of an event that identify its Model."""
    return event.model, event.digest, event.version, event.signature
