"""Imports TensorFlow in about half the time that it takes where scikit-learn, SciPy and Matplotlib are installed."""

from __future__ import annotations

import importlib
import sys
from typing import Any

# Keras imports these along for wrappers, plots and input types that no component uses, and does without them where
# they are not installed. On a data scientist's machine they are installed.
_TAKEN_ALONG = ("matplotlib", "pandas", "scipy", "sklearn")


def import_tensorflow() -> Any:
    """TensorFlow, without the packages that Keras takes along only because they happen to be installed.

    They can be imported as ever afterwards; one that is imported already stays. Keras' own wrappers of scikit-learn
    and plots of models then behave as if those packages were not there.
    """
    hidden = [name for name in _TAKEN_ALONG if name not in sys.modules]
    try:
        for name in hidden:
            # None makes the import system say that there is no such module.
            sys.modules[name] = None  # type: ignore[assignment]
        return importlib.import_module("tensorflow")
    finally:
        for name in hidden:
            if sys.modules.get(name, hidden) is None:
                del sys.modules[name]
