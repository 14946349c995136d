"""Request log hook: what is called with a batch's columns and predictions, for monitoring and replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt


class RequestLog(Protocol):
    """Records predicted rows, or a sample of them.

    The server calls it after the responses are made, from the thread that predicted: it must return quickly, and what
    it raises is logged and counted, but changes no response.
    """

    def __call__(
        self,
        columns: Mapping[str, npt.NDArray[Any]],
        predictions: Mapping[str, npt.NDArray[Any]],
        version: str,
        time: float,
    ) -> None:
        """Records the rows of a batch.

        Args:
            columns: by input of the model, [rows, ...], as it read them: numbers (NaN: missing) or texts ("": missing),
                and `key` where requests have keys.
            predictions: by output, [rows, ...]; the same rows.
            version: the model that predicted.
            time: of the prediction, in seconds since the epoch.
        """
