"""Answer cache: a bounded number of the model's newest answers, by the content of the row."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

# One row of each output.
Row = Mapping[str, npt.NDArray[Any]]


class AnswerCache:
    """Answers of one version of the model, least recently used first out; thread-safe.

    Args:
        rows: maximum number of answers.
    """

    def __init__(self, rows: int) -> None:
        self._most = rows
        self._version = ""
        self._rows: OrderedDict[Hashable, Row] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, version: str, keys: Sequence[Hashable]) -> list[Row | None]:
        """The answers of a version to rows, None where there is none."""
        with self._lock:
            if version != self._version:
                return [None] * len(keys)
            found = [self._rows.get(key) for key in keys]
            for key, row in zip(keys, found, strict=True):
                if row is not None:
                    self._rows.move_to_end(key)
            return found

    def put(self, version: str, rows: Mapping[Hashable, Row]) -> None:
        """Adds answers of a version; those of another one are dropped."""
        with self._lock:
            if version != self._version:
                self._rows.clear()
                self._version = version
            self._rows.update(rows)
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)
