"""Current model: the one in use and the one before it, switched by one assignment between two calls."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Model = TypeVar("Model")


class CurrentModel(Generic[Model]):
    """Holds the model in use, and the previous one for going back.

    Readers take `model` once per batch without a lock; a batch that has begun ends with the model that it began with.
    A model before the previous one is freed when its last batch has ended.

    Attributes:
        model: the model in use.
        previous: the one before it, or None.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.previous: Model | None = None
        self._lock = threading.Lock()

    def switch(self, load: Callable[[], Model], check: Callable[[Model], object] = lambda _: None) -> Model:
        """Loads a model beside the one in use, checks it, and then uses it.

        Args:
            load: returns the new model, loaded and warmed.
            check: raises an error for a model that must not be used; the one in use stays.

        Returns:
            The new model.
        """
        with self._lock:
            new = load()
            check(new)
            replaced, self.previous, self.model = self.previous, self.model, new
        if replaced is not None:
            # A SavedModel is a circle of references: without a collection it stays in memory for a while. The server
            # has frozen what imports made, so that the collection visits models alone.
            del replaced
            gc.collect()
        return new

    def back(self) -> Model | None:
        """Uses the previous model again, and keeps the present one as the previous.

        Returns:
            The model that is now in use; None if there is no previous one, and nothing changed.
        """
        with self._lock:
            if self.previous is None:
                return None
            self.previous, self.model = self.model, self.previous
            return self.model
