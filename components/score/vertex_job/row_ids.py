"""What a batch prediction job is told of a row, so that its prediction, which comes in any order, is that row's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.saved_model.binding import and_key
from headrace.core.saved_model.interface import ModelInput, ModelOutput, Takes
from headrace.core.scoring.answered import Scored
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.scorer import RowScorer
from headrace.core.sources.source import Rows

# The field of an instance that names its row, which Vertex AI keeps from the model and gives back.
FIELD = "headrace_row"

# How a row is named: by its part and its number there, or, where rows are in no order of their own, by its key.
Naming = Literal["position", "key"]


class NamedRows(RowScorer):
    """Scores rows that have names, which go through checks and splitting like an input of the model."""

    def __init__(self, takes: Takes, model_version: str, naming: Naming, outputs: Sequence[ModelOutput]) -> None:
        """Prepares to score.

        Args:
            takes: what the model takes and gives.
            model_version: which model it is.
            naming: how rows are named.
            outputs: what a call gives for a row.
        """
        self._naming = naming
        column = FIELD if naming == "position" else str(takes.key)
        name = ModelInput(FIELD, "string", None, (column,))
        given = Takes(takes.signature, takes.inputs, tuple(outputs), takes.key, takes.key_input, takes.declared)
        super().__init__(given, (name, *and_key(takes)), model_version)

    def score(self, rows: Rows) -> Scored:
        """As `RowScorer.score` does."""
        if self._naming == "key":
            return super().score(rows)
        numbers = pa.array(rows.numbers).cast(pa.string())
        names = pc.binary_join_element_wise(str(rows.part.index), numbers, "-")
        batch = rows.batch.append_column(FIELD, names)
        return super().score(Rows(rows.part, batch, rows.numbers, rows.refused))


def names_of(feeds: Sequence[Feed]) -> pa.Array:
    """The names of rows that are given to a call, as strings or binary."""
    (feed,) = (feed for feed in feeds if feed.taken.name == FIELD)
    (names,) = feed.texts
    return names
