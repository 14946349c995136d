"""Application's models: folds model events, loads models in a thread, and switches between two batches.

Nothing here knows where events come from: a Kafka topic, a Pub/Sub subscription or a file all call `add` and then
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

from headrace.components.stream.models.load import LoadedModel, ModelUnreachable
from headrace.components.stream.models.outcome import ModelOutcome, Tell
from headrace.core.errors import HeadraceError, PlatformError
from headrace.core.model_events.candidates import Added, Candidates
from headrace.core.model_events.event import ModelEvent
from headrace.core.retry import backoff_seconds
from headrace.core.scoring.online.current import CurrentModel
from headrace.core.scoring.online.model import OnlineModel

_log = logging.getLogger("headrace.stream")

_FIRST_WAIT_S = 0.5
_MAX_WAIT_S = 60.0
# A model that cannot be read is tried for ever. One that fails without a stated fault is refused after three attempts.
_FAILED_ATTEMPTS = 3


class AppModels:
    """The models of one application: one in use, the one before it, and at most one that is loading.

    `add` and `tend` are for one thread; `model` may be read from any.

    Args:
        app: the application.
        load: loads and checks the Model of an event; see `load.load_model`.
        tell: called with each outcome, from the loading thread or from that of `add`.
        beside: what the loading thread works in, from the load of a model to the end of the one that it replaces.
        clock: in seconds.
        chance: a number from 0 up to 1, for waits.
    """

    def __init__(
        self,
        app: str,
        load: Callable[[ModelEvent], OnlineModel],
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
        # Attempts that failed without a stated fault, by epoch.
        self._failed: Counter[int] = Counter()
        self._current: CurrentModel[LoadedModel | None] = CurrentModel(None)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def model(self) -> LoadedModel | None:
        """The model in use; to be read once per batch. None while there is none."""
        return self._current.model

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def settled(self) -> bool:
        """Whether every known event was tried, so that the model in use is the best that can be had now."""
        with self._lock:
            return not self.loading and self._candidates.next(self._clock()) is None

    def add(self, event: ModelEvent) -> Added:
        """Folds an event of this application in; returns what it was."""
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
        """Waits until the model that is loading is in use, or refused."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _try(self, event: ModelEvent) -> None:
        """Loads the model of an event, and uses it; in the loading thread."""
        begin = time.monotonic()
        try:
            with self._beside():
                loaded = self._reused(event) or LoadedModel(event, self._load(event))
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

    def _reused(self, event: ModelEvent) -> LoadedModel | None:
        """The same Model, if it is in memory: for an event that is repeated with a newer epoch, and for a rollback."""
        for loaded in (self._current.model, self._current.previous):
            # Another folder may hold a damaged copy, which every member must refuse alike.
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
    """What an event says about its Model."""
    return event.model, event.digest, event.version, event.signature
