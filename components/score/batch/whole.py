"""Whole input: every row of all parts in one call of the model, whose rows depend on each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace.components.score.batch.part_result import Scores, ScoringModel
from headrace.components.score.batch.score_part import columns_of
from headrace.components.score.config import WHOLE_ROWS
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.saved_model.interface import ModelBinding
from headrace.core.scoring.answered import InputRows, ScoredBatch
from headrace.core.scoring.scorer import Scorer
from headrace.core.scoring.whole import answer_whole
from headrace.core.sources.open import read_part
from headrace.core.sources.source import Part, Rows

# Rows per read; always the same, so that rows are identified by their start.
READ_ROWS = 1 << 14


class WholeInput:
    """Predictions for an input made in one call; returns those of each batch of its rows.

    Attributes:
        takes: the model's inputs and outputs.
        model_version: the model's version.
    """

    def __init__(self, scorer: Scorer, parts: Sequence[Part], partition_by: str) -> None:
        """Reads and scores all rows.

        Args:
            scorer: made for the whole input.
            parts: of the input; damaged files have no rows in the call.
            partition_by: the column whose values are folders, or "".

        Raises:
            DataError: there are more than WHOLE_ROWS rows, their lists have different lengths, or the model fails.
            PlatformError: the model fails for a reason that is not in the rows.
        """
        self._scorer = scorer
        self._scored: dict[tuple[int, int], ScoredBatch] = {}
        self._damaged: dict[int, UnreadableFile] = {}
        prepared = list(self._prepared(parts, partition_by))
        feeds = [piece.feeds for piece in prepared if len(piece.at)]
        total = sum(len(piece.at) for piece in prepared)
        answered = answer_whole(scorer, feeds, total)
        self._nothing = answered.slice(0, 0)
        begin = 0
        for piece in prepared:
            end = begin + len(piece.at)
            self._scored[piece.rows.position] = scorer.finish(piece, answered.slice(begin, end))
            begin = end

    @property
    def takes(self) -> ModelBinding:
        """The model's inputs, outputs and columns."""
        return self._scorer.takes

    @property
    def model_version(self) -> str:
        """The model's version."""
        return self._scorer.model_version

    def score(self, rows: Rows) -> ScoredBatch:
        """The predictions for rows as read.

        Raises:
            UnreadableFile: their file is damaged.
        """
        if rows.part.index in self._damaged:
            raise self._damaged[rows.part.index]
        if not rows.count:
            return self._scorer.finish(self._scorer.prepare(rows), self._nothing)
        return self._scored[rows.position]

    def _prepared(self, parts: Iterable[Part], partition_by: str) -> Iterable[InputRows]:
        total = 0
        for part in parts:
            found = []
            try:
                columns = columns_of(part, self._scorer, partition_by)
                coded = self._scorer.takes.texts - {partition_by}
                for rows in read_part(part, columns, READ_ROWS, coded):
                    if rows.count:
                        found.append(self._scorer.prepare(rows))
                    total += rows.count
                    if total > WHOLE_ROWS:
                        raise DataError(
                            "there are more rows than one call of the model is given",
                            where=part.path,
                            expected=f"at most {WHOLE_ROWS:,} rows, with --batch whole",
                            received=f"{total:,} rows or more",
                            fix="Score fewer rows at a time, or export a model whose rows are independent",
                        )
            except UnreadableFile as error:
                # It is quarantined as a whole when its part is written.
                self._damaged[part.index] = error
                continue
            yield from found


@dataclass(frozen=True)
class WholeSource:
    """Source of the parts' scorer in this process; it is not sent to workers."""

    scores: Scores

    def load(self) -> Scores:
        """The predictions made."""
        return self.scores


def whole_input(model: ScoringModel, parts: Sequence[Part], partition_by: str) -> WholeInput:
    """The predictions for all parts, by a model that gets all rows in one call."""
    scorer = model.load()
    assert isinstance(scorer, Scorer)
    return WholeInput(scorer, parts, partition_by)
