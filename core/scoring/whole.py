"""Whole input: scores all rows of an input in one call, for a model whose rows depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.core.errors import DataError
from headrace.core.scoring.answered import ModelAnswers
from headrace.core.scoring.bisect import RowsFailed
from headrace.core.scoring.feeds import Feed, joined_feeds
from headrace.core.scoring.scorer import Scorer
from headrace.core.scoring.to_columns import columns_of, joined


def answer_whole(scorer: Scorer, pieces: Sequence[Sequence[Feed]], rows: int) -> ModelAnswers:
    """The answers for all rows of an input, in one call without padding.

    Args:
        scorer: made for the whole input.
        pieces: pieces of the rows, each with one feed per input and at least one row.
        rows: total number of rows; if 0, the model is not called.

    Raises:
        DataError: the model fails on the rows or requires another number of rows, or their lists differ in length.
        PlatformError: it fails for a reason that is not in the rows.
    """
    outputs, where = scorer.takes.outputs, scorer.source.saved_model
    if not rows:
        made = columns_of(joined([], outputs), outputs, 0)
        return ModelAnswers(np.arange(0), made.arrays, {}, made.faults)
    if len({_shape(feeds) for feeds in pieces}) > 1 or any(feed.lengths is not None for feed in pieces[0]):
        raise DataError(
            "the rows' lists are of several lengths, which one call of the model cannot hold",
            where=where,
            expected="lists of one length, with --batch whole",
        )
    if scorer.takes.batch not in (None, rows):
        raise DataError(
            "the model accepts another number of rows per call than the data has",
            where=where,
            expected=f"{scorer.takes.batch} rows, with --batch whole",
            received=f"{rows:,} rows without a fault",
        )
    try:
        answers = scorer.call(joined_feeds(pieces), rows)
    except RowsFailed as error:
        raise DataError(
            "the model fails on the rows, which are all in one call",
            where=where,
            received=str(error),
            fix="Remove the row that it fails on",
        ) from error
    made = columns_of(answers, outputs, rows)
    return ModelAnswers(np.arange(rows), made.arrays, {}, made.faults)


def _shape(feeds: Sequence[Feed]) -> tuple[Any, ...]:
    """The list lengths, which must be equal for all rows of a call."""
    return tuple(
        feed.lengths is not None or (feed.dims, len(feed.texts) if feed.numbers is None else feed.numbers.shape[1:])
        for feed in feeds
    )
