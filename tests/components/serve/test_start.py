"""Start of a server: garbage collections leave out what TensorFlow's import made, and models stay collectable."""

from __future__ import annotations

import gc
import weakref

from headrace.components.serve import start
from headrace.core.scoring.online.current import Current


class _Model:
    """A circle of references, as a SavedModel is one."""

    def __init__(self) -> None:
        self.me = self


def test_imports_are_frozen_and_models_are_freed() -> None:
    # What other tests of this process left frozen.
    gc.unfreeze()
    # A collection that another thread has begun would make that of the switch do nothing.
    gc.disable()
    try:
        start.freeze_imports()
        assert gc.get_freeze_count() > 100_000
        current = Current(_Model())
        first = weakref.ref(current.model)
        current.switch(_Model)
        assert first() is current.previous
        current.switch(_Model)
        assert first() is None
    finally:
        gc.enable()
        gc.unfreeze()
