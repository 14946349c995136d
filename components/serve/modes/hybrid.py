"""Hybrid mode: the table of predictions first, then a cache of fresh answers, then the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.components.serve.modes.answer_cache import AnswerCache, Row
from headrace.components.serve.modes.answerer import Answer, Answerer, DescribedOnce, Description, RowsRequest
from headrace.components.serve.modes.keys import keys_of
from headrace.components.serve.modes.static import Count, as_bytes, ignore
from headrace.components.serve.tables.place import ServedTable
from headrace.core.errors import DataError, UsageError
from headrace.core.saved_model.interface import KEY
from headrace.core.saved_model.json.refused_rows import RowsRefused
from headrace.core.saved_model.json.rows import NotFinitePrediction
from headrace.core.scoring.ragged import concatenated, part_of

_SOURCES = _TABLE, _CACHE, _MODEL = "table", "cache", "model"
Headers = Sequence[tuple[bytes, bytes]]
# A row's place in the message of an error.
_PLACE = re.compile(r"(^|; )((?:instances|predictions)\[|inputs\.[^\[\];]*\[)(\d+)\]")


class Hybrid:
    """Answers by key where the table has one, else by the model.

    The table is used while it is of the model's version and outputs; after a switch of one of them, the model answers
    every row until the other one follows, so no answer mixes versions.

    Args:
        table: to look keys up in; `use` replaces it between two batches.
        model: answers the other rows.
        cache: of the model's answers; None for none.
        same: whether predictions of a version, the first argument, are those of the served one, the second.
        follows: whether a table of the model's version may come later; else one of another version is refused.
        count: called with "table", "cache" or "model", and the number of rows.

    Raises:
        UsageError: the table is of another version of the model, or of other outputs, or the model's rows depend on
            each other.
    """

    together = True

    def __init__(
        self,
        table: ServedTable,
        model: Answerer,
        *,
        cache: AnswerCache | None = None,
        same: Callable[[str, str], bool] = str.__eq__,
        follows: bool = False,
        count: Count = ignore,
    ) -> None:
        self._table = table
        self._model = model
        self._cache = cache
        self._same = same
        self._count = count
        self._described = DescribedOnce()
        self._check(follows)

    @property
    def table(self) -> ServedTable:
        """The table in use."""
        return self._table

    def use(self, table: ServedTable) -> None:
        """Uses another table from the next batch on; the old one is closed when its last batch ends."""
        self._table = table

    @property
    def in_use(self) -> bool:
        """Whether the table is of the model's version, and is looked up."""
        return self._fits(self._table, self._model.description)

    @property
    def description(self) -> Description:
        """The model, whose requests may also hold a key, and the table."""
        found, table = self._model.description, self._table

        def made() -> Description:
            interface = replace(found.interface, takes_key=True, key_name=table.table.about.key)
            return replace(found, mode="hybrid", interface=interface, facts=lambda: {**found.facts(), **table.facts()})

        return self._described.of(found, table, make=made)

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        """Looks up all keys in one call, and gives the rows without an answer to the model as one batch."""
        table, description = self._table, self._model.description
        if not self._model.together or not self._fits(table, description):
            return self._by_model(requests)
        works = [_Work.of(request, table, description) for request in requests]
        good = [work for work in works if isinstance(work, _Work)]
        self._look_up(table, good)
        if self._cache is not None:
            self._recall(self._cache, description, good)
        self._ask_model(good, description)
        headers = table.headers
        outcomes = [work if isinstance(work, Exception) else work.outcome(table, headers) for work in works]
        answered = [outcome.source for outcome in outcomes if isinstance(outcome, Answer)]
        for source in _SOURCES:
            self._count(source, sum(sources.count(source) for sources in answered))
        return outcomes

    def _by_model(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        outcomes = self._model.answer(requests)
        self._count(_MODEL, sum(r.rows for r, o in zip(requests, outcomes, strict=True) if isinstance(o, Answer)))
        headers = self._table.headers
        return [
            _of_model(outcome, request, headers) if isinstance(outcome, Answer) else outcome
            for request, outcome in zip(requests, outcomes, strict=True)
        ]

    def _look_up(self, table: ServedTable, works: Sequence[_Work]) -> None:
        asked = [(work, row, key) for work in works for row, key in enumerate(work.keys) if key is not None]
        found = table.table.find([key for _, _, key in asked])
        known = np.flatnonzero(found >= 0)
        outputs = table.table.outputs(found[known])
        for place, at in enumerate(known.tolist()):
            work, row, _ = asked[at]
            work.sources[row] = _TABLE
            work.rows[row] = {name: part_of(column, place, place + 1) for name, column in outputs.items()}

    def _recall(self, cache: AnswerCache, description: Description, works: Sequence[_Work]) -> None:
        for work in works:
            misses = work.misses
            work.contents = _contents(work.request, description) if misses else []
            if not work.contents:
                continue
            found = cache.get(description.version, [work.contents[row] for row in misses])
            for row, answer in zip(misses, found, strict=True):
                if answer is not None:
                    work.sources[row] = _CACHE
                    work.rows[row] = answer

    def _ask_model(self, works: Sequence[_Work], description: Description) -> None:
        asking = [(work, work.misses) for work in works if work.misses]
        if not asking:
            return
        answers = self._model.answer([_part(work.request, misses, description) for work, misses in asking])
        fresh: dict[Hashable, Row] = {}
        for (work, misses), answer in zip(asking, answers, strict=True):
            if isinstance(answer, Exception):
                work.error = _at_rows(answer, misses)
                continue
            if answer.version != description.version:
                # The model was switched after the table was looked up: the whole request is answered by the new one.
                (work.whole,) = self._model.answer([work.request])
                continue
            outputs = {name: column for name, column in answer.outputs.items() if not work.returns(name)}
            for place, row in enumerate(misses):
                work.sources[row] = _MODEL
                work.rows[row] = {name: part_of(column, place, place + 1) for name, column in outputs.items()}
                if work.contents:
                    fresh[work.contents[row]] = {name: column.copy() for name, column in work.rows[row].items()}
            work.answer = answer
        if self._cache is not None and fresh:
            self._cache.put(description.version, fresh)

    def _check(self, follows: bool) -> None:
        table, found = self._table, self._model.description
        if not self._model.together:
            raise UsageError(
                "the rows of the model depend on each other, so a table cannot answer some of them",
                where="--mode hybrid",
                fix="Use --mode dynamic or static",
            )
        if not self._same(table.model_version, found.version):
            if follows:
                return
            raise UsageError(
                "the table holds predictions of another version of the model",
                where="--prediction-table",
                expected=f"version {found.version}, which is served",
                received=f"version {table.model_version}",
                fix="Score with the served version, give --follow-every to await such a table, or use --mode static",
            )
        if not self._fits(table, found):
            raise UsageError(
                "the table holds other outputs than the model returns",
                where="--prediction-table",
                expected=", ".join(sorted(found.signature_def["outputs"])),
                received=", ".join(sorted(table.signature_def["outputs"])),
                fix="Score with the served signature",
            )

    def _fits(self, table: ServedTable, description: Description) -> bool:
        """Whether answers of the table are those of the model."""
        same = table.signature_def["outputs"].keys() == description.signature_def["outputs"].keys()
        return same and self._same(table.model_version, description.version)


@dataclass(slots=True)
class _Work:
    """A request in progress.

    Attributes:
        keys: of each row, None without one.
        sources: where the answer to each row came from, "" before it is known.
        rows: the answer to each row.
        contents: of each row, for the cache.
        error: of the request.
        answer: of the model to some of the rows.
        whole: answer to the whole request by a newer model.
    """

    request: RowsRequest
    keys: list[str | None]
    version: str
    bare: bool
    keyed: bool
    sources: list[str]
    rows: list[Row]
    contents: list[Hashable]
    error: Exception | None = None
    answer: Answer | None = None
    whole: Answer | Exception | None = None

    @classmethod
    def of(cls, request: RowsRequest, table: ServedTable, description: Description) -> _Work | DataError:
        try:
            keys = keys_of(request, table.table.about.key)
        except DataError as error:
            return error
        bare = len(description.signature_def["outputs"]) == 1
        keyed = table.table.about.returns_key and any(key is not None for key in keys)
        empty: list[Row] = [{}] * request.rows
        return cls(request, keys, description.version, bare, keyed, [""] * request.rows, empty, [])

    @property
    def misses(self) -> list[int]:
        """The rows without an answer."""
        return [row for row, source in enumerate(self.sources) if not source]

    def returns(self, name: str) -> bool:
        """Whether an output is the key, which is added for all rows together."""
        return self.keyed and name == KEY

    def outcome(self, table: ServedTable, headers: Headers) -> Answer | Exception:
        if self.error is not None:
            return self.error
        if self.whole is not None:
            return _of_model(self.whole, self.request, headers) if isinstance(self.whole, Answer) else self.whole
        outputs: dict[str, npt.NDArray[Any]] = {}
        if self.keyed:
            outputs[KEY] = as_bytes([key or "" for key in self.keys])
        for name in self.rows[0]:
            outputs[name] = concatenated([row[name] for row in self.rows])
        binary = table.binary if self.answer is None else self.answer.binary
        return Answer(outputs, self.version, self.bare, binary, self.sources, _with_sources(headers, self.sources))


def _of_model(answer: Answer, request: RowsRequest, headers: Headers) -> Answer:
    """The model's answer to a whole request."""
    sources = [_MODEL] * request.rows
    return replace(answer, source=sources, headers=_with_sources(headers, sources))


def _with_sources(headers: Headers, sources: Sequence[str]) -> Headers:
    """The headers, and the number of rows by source."""
    counts = ((source, sources.count(source)) for source in _SOURCES)
    text = ", ".join([f"{source}={count}" for source, count in counts if count])
    return [*headers, (b"x-answered-by", text.encode())]


def _contents(request: RowsRequest, description: Description) -> list[Hashable]:
    """What the model reads of each row; rows of one content have one prediction. Empty for a malformed request."""
    try:
        columns = [request.column(given.name) for given in description.interface.inputs]
    except DataError:
        # The model refuses the request.
        return []
    # Values of several types may be equal in Python: 1, 1.0 and true are not one category.
    return [repr(row) for row in zip(*columns, strict=True)]


def _part(request: RowsRequest, rows: Sequence[int], description: Description) -> RowsRequest:
    """A request of some of the rows; the whole request if it is malformed, which the model refuses."""
    if request.columns is None or len(rows) == request.rows:
        return request.only(rows) if len(rows) < request.rows else request
    known = {name: values for name, values in request.columns.items() if name in description.interface.names}
    if any(not isinstance(values, list) or len(values) != request.rows for values in known.values()):
        return request
    return RowsRequest(request.rows, columns=known).only(rows)


def _at_rows(error: Exception, rows: Sequence[int]) -> Exception:
    """The error of a part of a request, with the rows as the whole request numbers them."""
    if not isinstance(error, DataError):
        # It is not in the rows.
        return error

    def moved(text: str | None) -> str | None:
        return None if text is None else _PLACE.sub(lambda m: f"{m[1]}{m[2]}{rows[int(m[3])]}]", text)

    error.where, error.received = moved(error.where), moved(error.received)
    if isinstance(error, RowsRefused):
        error.rows = {rows[row]: faults for row, faults in error.rows.items()}
    if isinstance(error, NotFinitePrediction):
        error.rows = {name: [rows[row] for row in bad] for name, bad in error.rows.items()}
    return error
