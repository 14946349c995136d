"""Model fold: applies the messages of a model topic to the models of all applications of a process."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from headrace.components.stream.models.app_models import AppModels
from headrace.components.stream.models.load import Load
from headrace.components.stream.models.outcome import ModelOutcome
from headrace.components.stream.models.used import UsedModel
from headrace.core.errors import DataError
from headrace.core.model_events.event import ModelEvent
from headrace.core.scoring.online.beside import beside

_log = logging.getLogger("headrace.stream")

# Maximum outcomes that wait to be read; the oldest ones are dropped.
_OUTCOMES = 1000


class StreamModels:
    """The models of the applications of a process.

    Args:
        apps: names of the applications; events of others are ignored.
        load, clock: as of `AppModels`.
    """

    def __init__(
        self,
        apps: Iterable[str],
        load: Load,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outcomes: deque[ModelOutcome] = deque(maxlen=_OUTCOMES)
        # Set while no batch is scored.
        self._idle = threading.Event()
        self._idle.set()
        self._apps = {
            app: AppModels(app, load, self._outcomes.append, beside=self._beside, clock=clock) for app in apps
        }

    def __getitem__(self, app: str) -> AppModels:
        return self._apps[app]

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """A context for scoring a batch. A model that is loading pauses during the batch, and resumes at its end."""
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    def _beside(self) -> AbstractContextManager[None]:
        # In a backlog, batches follow without a pause, and a load then has a twentieth of the time.
        return beside(lambda: not self._idle.is_set(), sleep=self._idle.wait)

    @property
    def in_use(self) -> dict[str, UsedModel | None]:
        """The model in use by application, None without one."""
        loaded = {app: models.model for app, models in self._apps.items()}
        return {app: None if model is None else model.used for app, model in loaded.items()}

    @property
    def settled(self) -> bool:
        """Whether all known events were processed."""
        return all(models.settled for models in self._apps.values())

    def read(self, message: bytes | None, where: str) -> None:
        """Applies a message. A message that is not a model event only adds an outcome "invalid".

        Args:
            message: bytes of the message; None for a message without a value.
            where: origin of the message, for errors.
        """
        try:
            event = ModelEvent.decode(message or b"", where)
        except DataError as error:
            outcome = ModelOutcome("invalid", reason=error.paragraph)
            _log.error("%s", outcome.text)
            self._outcomes.append(outcome)
            return
        models = self._apps.get(event.app)
        if models is not None:
            models.add(event)

    def tend(self) -> None:
        """Starts to load newer models; never waits."""
        for models in self._apps.values():
            models.tend()

    def settle(self, timeout_s: float | None = None, *, pause_s: float = 0.02) -> bool:
        """Loads models until all known events were processed.

        Args:
            timeout_s: maximum time to wait, in seconds; None waits without a limit.
            pause_s: seconds between two checks.

        Returns:
            Whether all known events were processed.
        """
        begin = time.monotonic()
        while not self.settled:
            if timeout_s is not None and time.monotonic() - begin > timeout_s:
                return False
            self.tend()
            time.sleep(pause_s)
        return True

    def outcomes(self) -> list[ModelOutcome]:
        """The outcomes since the last call, oldest first."""
        found = []
        while self._outcomes:
            found.append(self._outcomes.popleft())
        return found
