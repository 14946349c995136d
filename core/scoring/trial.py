"""Trial calls with the first real rows: they check that the model's rows are independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    # It needs pyarrow, which the server's image lacks.
    from headrace.core.scoring.feeds import Feed

# Maximum first batches that are too small, or have a failing row, to check whether rows are independent.
PROOFS = 8


def prove(
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    feeds: list[Feed],
    rows: int,
    blank: str | None,
    batch: int | None,
    where: str,
) -> bool:
    """Calls the model with some of the rows in different batches.

    Args:
        run: calls the model on tensors by input.
        feeds: one per input, of rows with one shape.
        rows: number of rows, one or more.
        blank: an input that is filled with empty strings.
        batch: rows that every call must have, or None.
        where: the model, for messages.

    Returns:
        Whether there were enough rows, and the model answered them.

    Raises:
        DataError: a prediction depends on the other rows.
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
