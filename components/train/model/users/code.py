"""Calls of user code, with seeded random numbers and with errors that show the line in the user's file."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from headrace.core.errors import PlatformError, ProblemError
from headrace.core.problem.file import ProblemFile

_COLORS = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the random numbers of build_model, and restores the caller's random state afterwards."""
    python, numbers = random.getstate(), np.random.get_state()
    # numpy's seeds are uint32.
    keras.utils.set_random_seed(seed % (1 << 32))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


@contextmanager
def blaming(problem_file: ProblemFile, what: str, function: str = "build_model") -> Iterator[None]:
    """Translates an exception from user code into an error that shows the line in the user's file.

    Raises:
        ProblemError: the user's code raised an exception.
    """
    try:
        yield
    except ProblemError as error:
        raise error.at(problem_file.path) from error
    except PlatformError:
        # Such as a SIGTERM at this moment, of which the user's code is not the cause.
        raise
    except Exception as error:
        where = problem_file.own_line(error.__traceback__) or f"{problem_file.path}, {function}"
        raise ProblemError(what, where=where, received=f"{type(error).__name__}: {_plain(error)}") from error


def _plain(error: Exception) -> str:
    """An error's message as one line: without colors, and without Keras' list of the call's arguments."""
    message = str(error)
    if isinstance(error, KeyError) and "\\n" in message:
        # The text of a KeyError is the representation of its message, here one of Keras.
        message = str(error.args[0])
    text = _COLORS.sub("", message).partition("\nArguments received by ")[0]
    return " ".join(text.split()).rstrip(".")
