"""Static mode: answers from a table of predictions alone, without a model and without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from headrace.components.serve.modes.answerer import Answer, DescribedOnce, Description, KeysNotFound, RowsRequest
from headrace.components.serve.modes.keys import keys_of
from headrace.components.serve.tables.place import ServedTable
from headrace.core.errors import DataError
from headrace.core.saved_model.interface import KEY
from headrace.core.scoring.ragged import part_of

# Counts rows by where their answer came from, such as "table".
Count = Callable[[str, int], None]


def ignore(source: str, rows: int) -> None:
    """Counts nothing."""


class Static:
    """Answers by key.

    Args:
        table: to answer from; `use` replaces it between two batches.
        name: of the model in URLs.
        count: called with "table" or "unknown", and the number of rows.
        version: that health and metadata show; "" for the version of the model that made the predictions.
    """

    together = True

    def __init__(self, table: ServedTable, name: str, *, count: Count = ignore, version: str = "") -> None:
        self._table = table
        self._name = name
        self._count = count
        self._version = version
        self._described = DescribedOnce()

    @property
    def table(self) -> ServedTable:
        """The table in use."""
        return self._table

    def use(self, table: ServedTable) -> None:
        """Uses another table from the next batch on; the old one is closed when its last batch ends."""
        self._table = table

    @property
    def description(self) -> Description:
        """The table in use."""
        table = self._table
        return self._described.of(
            table,
            make=lambda: Description(
                self._name,
                self._version or table.model_version,
                "static",
                table.interface,
                table.signature,
                table.signature_def,
                table.facts,
            ),
        )

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        """Looks up the keys of all requests in one call; see `Answerer.answer`."""
        table = self._table
        asked = [_keys(request, table.table.about.key) for request in requests]
        found = table.table.find([key for keys in asked if not isinstance(keys, Exception) for key in keys])
        known = found >= 0
        outputs = table.table.outputs(found[known])
        # The first row of each request among all rows, and among those that the table has.
        places = np.concatenate([[0], np.cumsum(known)]).tolist()
        headers = table.headers
        outcomes: list[Answer | Exception] = []
        begin = 0
        for request, keys in zip(requests, asked, strict=True):
            if isinstance(keys, Exception):
                outcomes.append(keys)
                continue
            end = begin + request.rows
            if places[end] - places[begin] < request.rows:
                unknown = np.flatnonzero(~known[begin:end]).tolist()
                where = request.place(unknown[0], KEY)
                outcomes.append(KeysNotFound(unknown, keys[unknown[0]], where=where))
            else:
                key = {KEY: as_bytes(keys)} if table.table.about.returns_key else {}
                values = {name: part_of(column, places[begin], places[end]) for name, column in outputs.items()}
                answer = Answer({**key, **values}, table.model_version, table.bare, table.binary, headers=headers)
                outcomes.append(answer)
            begin = end
        self._count("table", places[-1])
        self._count("unknown", len(found) - places[-1])
        return outcomes


def as_bytes(texts: Sequence[str]) -> npt.NDArray[np.object_]:
    """Texts as a model returns them: [rows] of bytes."""
    column = np.empty(len(texts), object)
    column[:] = [text.encode() for text in texts]
    return column


def _keys(request: RowsRequest, key_name: str) -> list[str] | DataError:
    try:
        keys = keys_of(request, key_name)
    except DataError as error:
        return error
    complete = [key for key in keys if key is not None]
    if len(complete) == len(keys):
        return complete
    return DataError(
        "the key is missing",
        where=request.place(keys.index(None), KEY),
        expected=f"{KEY}, or {key_name}" if key_name != KEY else "a key",
        received="null, or nothing",
    )
