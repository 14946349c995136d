"""Imports TensorFlow in about half the time that it takes where scikit-learn, SciPy and Matplotlib are installed."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

# Keras imports these along for wrappers, plots and input types that no component uses, and does without them where
# they are not installed. On a data scientist's machine they are installed.
_TAKEN_ALONG = ("matplotlib", "pandas", "scipy", "sklearn")


def import_tensorflow() -> Any:
    """TensorFlow, without the packages that Keras takes along only because they happen to be installed.

    They can be imported as ever afterwards; one that is imported already stays. Keras' own wrappers of scikit-learn
    and plots of models then behave as if those packages were not there. Only the main thread leaves them out: while
    another one imports TensorFlow, such as a worker of Beam's, the rest of the program may import pandas.
    """
    alone = "tensorflow" not in sys.modules and threading.current_thread() is threading.main_thread()
    hidden = [name for name in _TAKEN_ALONG if name not in sys.modules] if alone else []
    try:
        for name in hidden:
            # None makes the import system say that there is no such module.
            sys.modules[name] = None  # type: ignore[assignment]
        return importlib.import_module("tensorflow")
    finally:
        for name in hidden:
            if sys.modules.get(name, hidden) is None:
                del sys.modules[name]
