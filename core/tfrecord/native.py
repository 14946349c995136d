"""Native library: the functions of native.c, reader.c and gather.c, if a C compiler was available at installation."""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

_LOGGER = logging.getLogger(__name__)
_SLOWER = "TFRecords are written and read more slowly"


@cache
def library() -> Any:
    """The compiled functions; None where they were not built, or this processor has no CRC-32C instruction.

    The first call logs the outcome, at level INFO.
    """
    found, absence = _load()
    if absence:
        _LOGGER.info("the C code is not used, and %s: %s", _SLOWER, absence)
    else:
        _LOGGER.info("the C code is used")
    return found


def absence() -> str:
    """The reason why the compiled functions are not used here; empty where they are."""
    return _load()[1]


@cache
def _load() -> tuple[Any, str]:
    absence = "it was not built when the package was installed; a C compiler such as gcc builds it"
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if not path.exists():
            continue
        try:
            found = ctypes.CDLL(str(path))
        except OSError as error:
            # Built for another architecture, as on a disk that several machines share.
            absence = f"it was built for another machine: {error}"
            continue
        pointer, int64, int32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
        found.headrace_usable.argtypes, found.headrace_usable.restype = [], int32
        found.headrace_measure.argtypes = [pointer, int32, int64, int32, pointer]
        found.headrace_measure.restype = int64
        found.headrace_frame.argtypes = [pointer, int32, int64, int64, int32, pointer, pointer, int64, pointer]
        found.headrace_frame.restype = int64
        found.headrace_integers.argtypes = [pointer, int64, pointer, pointer, pointer, pointer]
        found.headrace_integers.restype = int64
        found.headrace_checksums.argtypes = [pointer, pointer, pointer, int64, pointer]
        found.headrace_checksums.restype = None
        found.headrace_longest.argtypes, found.headrace_longest.restype = [pointer, int64], int64
        found.headrace_pass.argtypes = [pointer, int64, int64, pointer, pointer]
        found.headrace_pass.restype = int32
        found.headrace_decode.argtypes = [pointer, int64, int64, pointer, pointer, int32, pointer, pointer]
        found.headrace_decode.restype = int32
        found.headrace_entries.argtypes, found.headrace_entries.restype = [pointer, int32, pointer], int64
        found.headrace_gather.argtypes = [pointer, int64, int64, pointer, int64, pointer, int32]
        found.headrace_gather.restype = int64
        if not found.headrace_usable():
            return None, "this processor has no instructions for CRC-32C"
        return found, ""
    return None, absence
