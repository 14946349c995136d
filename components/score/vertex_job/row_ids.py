"""Row names in a batch prediction job, which match predictions with rows: a job returns them in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.saved_model.binding import and_key
from headrace.core.saved_model.interface import ModelBinding, ModelInput, ModelOutput
from headrace.core.scoring.answered import ScoredBatch
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.scorer import RowScorer
from headrace.core.sources.source import Rows

# The field of an instance with its row's name, which Vertex AI excludes from the model's input and returns.
FIELD = "headrace_row"

# A row is named by its part and its number in it, or, if rows have no order, by its key.
Naming = Literal["position", "key"]


class NamedRows(RowScorer):
    """Scores named rows; names pass through checks and splitting like an input of the model."""

    def __init__(self, takes: ModelBinding, model_version: str, naming: Naming, outputs: Sequence[ModelOutput]) -> None:
        """Creates the scorer.

        Args:
            takes: the model's inputs and outputs.
            model_version: version of the model.
            naming: of the rows.
            outputs: of a call.
        """
        self._naming = naming
        column = FIELD if naming == "position" else str(takes.key)
        name = ModelInput(FIELD, "string", None, (column,))
        given = replace(takes, outputs=tuple(outputs))
        super().__init__(given, (name, *and_key(takes)), model_version)

    def score(self, rows: Rows) -> ScoredBatch:
        """Scores rows, as `RowScorer.score`."""
        if self._naming == "key":
            return super().score(rows)
        numbers = pa.array(rows.numbers).cast(pa.string())
        names = pc.binary_join_element_wise(str(rows.part.index), numbers, "-")
        batch = rows.batch.append_column(FIELD, names)
        return super().score(Rows(rows.part, batch, rows.numbers, rows.refused))


def names_of(feeds: Sequence[Feed]) -> pa.Array:
    """The names of a call's rows, as strings or binary."""
    (feed,) = (feed for feed in feeds if feed.taken.name == FIELD)
    (names,) = feed.texts
    return names
