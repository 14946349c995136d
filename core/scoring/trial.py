"""Trial calls with the first real rows, by which a model is found out whose rows are not independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from headrace.core.scoring.feeds import Feed

# First batches that may be too small, or hold a row that the model fails on, to show whether rows are independent.
PROOFS = 8


def prove(
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    feeds: list[Feed],
    rows: int,
    blank: str | None,
    batch: int | None,
    where: str,
) -> bool:
    """Calls the model with some of the rows in several companies.

    Args:
        run: the model, on tensors by input.
        feeds: one for each input, of rows of one shape.
        rows: how many there are, one or more.
        blank: an input that is given empty strings.
        batch: rows that every call must have, or None.
        where: the model, for messages.

    Returns:
        Whether there were rows enough, and it answered them.

    Raises:
        DataError: its answer to a row depends on the rows beside it.
    """
    from headrace.core.saved_model.independence import PROBE_ROWS, check_independence
    from headrace.core.scoring.tensors import tensors_of

    count = min(rows, PROBE_ROWS + PROBE_ROWS // 2)
    at = np.linspace(0, rows - 1, count).astype(np.int64)
    tensors = tensors_of([feed.take(at) for feed in feeds], count, count, blank)
    own = min(count, PROBE_ROWS)
    some = {name: tensor[:own] for name, tensor in tensors.items()}
    others = {name: tensor[own:] if own < count else tensor[:1] for name, tensor in tensors.items()}
    return check_independence(run, some, others, batch, where) is not None and count >= PROBE_ROWS // 2
