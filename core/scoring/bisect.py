"""Bisection: finds the rows on which a model fails, in few calls, and scores the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

# Group size as a fraction of the mean distance between failing rows: groups that fail half of the time tell most.
_GROUP = 0.7


class RowsFailed(Exception):
    """The model failed on the rows of a call; the message is its error."""


def answered(call: Callable[[int, int], Answer], rows: int) -> tuple[list[Answer], dict[int, str]]:
    """Calls a model on all rows, or on pieces as large as possible on which it does not fail.

    Where a call fails, its first failing row is found by bisection in log2(n) calls; successful calls are answers. The
    rows after it are tried in groups sized by the expected distance between failing rows, and doubled while they
    succeed. This is Hwang's generalized binary splitting (1972) without knowing the number of failing rows. For n rows
    with g scattered failing rows it needs about g * (log2(n / g) + 2.5) calls; the minimum for any method is
    g * (log2(n / g) + 1.4).

    Args:
        call: calls the model on rows from one index up to another; raises RowsFailed.
        rows: number of rows.

    Returns:
        The answers in row order, and the error of each row on which the model fails alone, by index.
    """
    answers: list[Answer] = []
    failed: dict[int, str] = {}

    def tried(begin: int, end: int) -> str | None:
        """The model's error on these rows, or None if it succeeds."""
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
        # A row is quarantined only if a call with it alone fails: a large call may fail because of its size.
        blamed = said if alone else tried(low, high)
        begin = high
        if blamed is None:
            size = largest
        else:
            failed[low] = blamed
            size = rows if len(failed) == 1 else max(1, int(_GROUP * begin / len(failed)))
    return answers, failed
