"""Start of a server: garbage collections leave out what TensorFlow's import made, and models stay collectable."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: a collection that another thread has begun would make that of the switch do nothing.
PROGRAM = """
import gc
import weakref

from headrace.core.scoring.online import beside
from headrace.core.scoring.online.current import CurrentModel


class Model:
    def __init__(self):
        self.me = self  # A circle of references, as a SavedModel is one.


beside.freeze_imports()
assert gc.get_freeze_count() > 100_000
current = CurrentModel(Model())
first = weakref.ref(current.model)
current.switch(Model)
assert first() is current.previous
current.switch(Model)
assert first() is None
print("freed")
"""


def test_imports_are_frozen_and_models_are_freed() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "freed\n", done.stderr
