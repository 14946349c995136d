"""Doubles: float64 numbers as the texts by which Examples hold them, exact to the last digit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def doubles_of(texts: Sequence[bytes]) -> npt.NDArray[np.float64]:
    """The numbers of texts, NaN for an empty one.

    Raises:
        ValueError: a text is not a number.
    """
    return np.array([float(text) if text else np.nan for text in texts], np.float64)
