"""Finds the rows on which a model fails, in few calls, and scores the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

# Of the mean distance between guilty rows, what is tried at once: a group of which half hold one tells most.
_GROUP = 0.7


class RowsFailed(Exception):
    """The model failed on the rows that it was called with; the message says how."""


def answered(call: Callable[[int, int], Answer], rows: int) -> tuple[list[Answer], dict[int, str]]:
    """Calls a model on all rows, or on as large pieces of them as it does not fail on.

    Where a call fails, the first guilty row of it is found by halves: log2(n) calls, and those that succeed are
    answers. What follows is tried in groups as large as the distance between guilty rows lets expect, which double
    while they succeed. That is Hwang's generalized binary splitting (1972) without knowing the number of guilty rows;
    among n rows, g of them guilty here and there, it takes about g * (log2(n / g) + 2.5) calls, where any method needs
    g * (log2(n / g) + 1.4).

    Args:
        call: the model on rows from one index up to another; it raises RowsFailed.
        rows: how many there are.

    Returns:
        The answers in order of rows, and by index what was said of each row on which the model fails alone.
    """
    answers: list[Answer] = []
    failed: dict[int, str] = {}

    def tried(begin: int, end: int) -> str | None:
        """Why the model fails on these rows, or None if it does not."""
        try:
            answers.append(call(begin, end))
        except RowsFailed as error:
            return str(error)
        return None

    begin, size = 0, rows
    while begin < rows:
        low, high = begin, min(begin + size, rows)
        said = tried(low, high)
        if said is None:
            begin, size = high, size * 2
            continue
        alone, largest = high - low == 1, 1
        while high - low > 1:
            middle = (low + high) // 2
            reason = tried(low, middle)
            if reason is None:
                largest = max(largest, middle - low)
                low, alone = middle, False
            else:
                high, said, alone = middle, reason, middle - low == 1
        # A row is blamed only for a call of its own: what a large call failed for may be its size.
        blamed = said if alone else tried(low, high)
        begin = high
        if blamed is None:
            size = largest
        else:
            failed[low] = blamed
            size = rows if len(failed) == 1 else max(1, int(_GROUP * begin / len(failed)))
    return answers, failed
