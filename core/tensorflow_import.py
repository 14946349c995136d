"""TensorFlow import, in about half the usual time where scikit-learn, SciPy and Matplotlib are installed."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

# Keras imports these if they are installed, for wrappers, plots and input types that no component uses. On a data
# scientist's machine they are installed.
_TAKEN_ALONG = ("matplotlib", "pandas", "scipy", "sklearn")


def import_tensorflow() -> Any:
    """Imports TensorFlow without the optional packages that Keras imports only because they are installed.

    They can be imported as usual afterwards; one that is already imported stays. Keras' own wrappers of scikit-learn
    and plots of models then behave as if those packages were not installed. Only the main thread skips them: while
    another thread imports TensorFlow, such as a Beam worker, the rest of the program may import pandas.
    """
    alone = "tensorflow" not in sys.modules and threading.current_thread() is threading.main_thread()
    hidden = [name for name in _TAKEN_ALONG if name not in sys.modules] if alone else []
    try:
        for name in hidden:
            # None makes the import system raise ModuleNotFoundError.
            sys.modules[name] = None  # type: ignore[assignment]
        return importlib.import_module("tensorflow")
    finally:
        for name in hidden:
            if sys.modules.get(name, hidden) is None:
                del sys.modules[name]
