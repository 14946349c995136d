"""Trial of real rows: whether the predictions of a SavedModel that is not a Model artifact depend on the other rows.

Synthetic rows at loading may not show it. The first requests are therefore predicted in several batches, too, as batch
scoring does with its first rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.scoring.ragged import is_ragged
from headrace.core.scoring.trial import PROOFS

_ENOUGH_ROWS = 4


class DependentRows(Exception):
    """The model's rows depend on each other, so that each request must be a call of its own."""


class Trial:
    """Checks first batches, until one of enough rows has shown that rows are independent; thread-safe.

    Args:
        call: the model, on tensors by input.
        batch: rows that every call must have, or None.
        where: the model, for messages.
    """

    def __init__(self, call: Callable[[Mapping[str, Any]], Mapping[str, Any]], batch: int | None, where: str) -> None:
        self._call = call
        self._batch = batch
        self._where = where
        self._lock = threading.Lock()
        self._small = self._large = PROOFS

    def check(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Checks a batch; at most PROOFS smaller ones, and PROOFS of enough rows on which the model fails.

        Args:
            columns: by input, one or more rows.

        Raises:
            DependentRows: a prediction depends on the other rows.
        """
        if not self._large or any(map(is_ragged, columns.values())):
            return
        rows = len(next(iter(columns.values())))
        with self._lock:
            if rows >= _ENOUGH_ROWS:
                self._large = max(0, self._large - 1)
            elif self._small:
                self._small -= 1
            else:
                return
        if self._answers(columns, rows) and rows >= _ENOUGH_ROWS:
            self._large = 0

    def _answers(self, columns: Mapping[str, npt.NDArray[Any]], rows: int) -> bool:
        import tensorflow as tf

        from headrace.core.saved_model.independence import PROBE_ROWS, check_independence

        count = min(rows, PROBE_ROWS + PROBE_ROWS // 2)
        at = np.linspace(0, rows - 1, count).astype(np.int64)
        own = min(count, PROBE_ROWS)
        tensors = {name: tf.constant(column[at]) for name, column in columns.items()}
        some = {name: tensor[:own] for name, tensor in tensors.items()}
        others = {name: tensor[own:] if own < count else tensor[:1] for name, tensor in tensors.items()}
        try:
            return check_independence(self._call, some, others, self._batch, self._where) is not None
        except DataError as error:
            raise DependentRows from error
