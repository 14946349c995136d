"""Answerers: what stands behind the protocols of the server and answers rows; one kind per mode.

The protocols (Vertex AI, TensorFlow Serving, KServe) decode a body to a `RowsRequest` and encode an `Answer`. Between
them stands one `Answerer`: the queue hands it all requests that have arrived as one batch, and it returns one answer
or one error for each. So a mode is added without touching a protocol:

- `dynamic.Dynamic` ("dynamic") answers with a model in memory.
- A table of predictions ("static") reads `RowsRequest.column("key")`, and returns `KeysNotFound` for a request with an
  unknown key. It needs no other column of the rows.
- A table with a model behind it ("hybrid") looks up the keys, hands `RowsRequest.only(misses)` to a `Dynamic`, and
  merges; `Answer.source` then says for each row which one it was.

A new answerer, such as one with a new table, replaces the old one by one assignment, `ServerApp.use`: a batch that has
begun ends with the answerer that it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.saved_model.json.columns import Interface
from headrace.core.serving_mode import Mode

Outputs = Mapping[str, npt.NDArray[Any]]


class KeysNotFound(DataError):
    """Rows whose keys are not in the table; the response has status 404.

    Args:
        rows: the indices of these rows in the request.
        key: the first of their keys.
    """

    def __init__(self, rows: Sequence[int], key: str, *, where: str) -> None:
        super().__init__("the key has no prediction", where=where, expected="a key of the table", received=f'"{key}"')
        self.rows = list(rows)


@dataclass(frozen=True, slots=True)
class RowsRequest:
    """The rows of one request as JSON values, not yet converted to the model's types.

    Attributes:
        rows: number of rows, one or more.
        instances: one object per row, or None for a columnar request.
        columns: one list of `rows` values per name, or None for a request by rows.
    """

    rows: int
    instances: Sequence[Any] | None = None
    columns: Mapping[str, Any] | None = None

    def column(self, name: str) -> list[Any]:
        """The values of a field, None in rows without it.

        Raises:
            DataError: a row is not an object, or a column is not a list.
        """
        if self.instances is not None:
            for row, instance in enumerate(self.instances):
                if not isinstance(instance, dict):
                    raise DataError("it is not an object", where=f"instances[{row}]", expected='{"FEATURE": value}')
            return [instance.get(name) for instance in self.instances]
        values = (self.columns or {}).get(name)
        if values is None:
            return [None] * self.rows
        if not isinstance(values, list) or len(values) != self.rows:
            raise DataError("it is not one value per row", where=self.place(0, name).partition("[")[0])
        return values

    def place(self, row: int, name: str) -> str:
        """The place of a value in the request, for messages."""
        return f"instances[{row}].{name}" if self.instances is not None else f"inputs.{name}[{row}]"

    def only(self, rows: Sequence[int]) -> RowsRequest:
        """A request of some of the rows."""
        if self.instances is not None:
            return RowsRequest(len(rows), instances=[self.instances[row] for row in rows])
        columns = {name: [values[row] for row in rows] for name, values in (self.columns or {}).items()}
        return RowsRequest(len(rows), columns=columns)


@dataclass(frozen=True, slots=True)
class Answer:
    """The predictions for one request.

    Attributes:
        outputs: by name, [rows, ...] numbers, or bytes as objects; the key first, if it is there. All numbers are
            finite.
        version: the model that made them.
        bare: whether the signature has one output, which TensorFlow Serving's format does not wrap in an object.
        binary: outputs that hold bytes rather than text.
        source: "table", "cache" or "model" for each row, where it differs by row; else empty.
        headers: HTTP headers of the response besides the version, such as the table's age.
    """

    outputs: Outputs
    version: str
    bare: bool = False
    binary: frozenset[str] = frozenset()
    source: Sequence[str] = ()
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True)
class Description:
    """What the protocols' metadata say about an answerer.

    Attributes:
        name: of the model in URLs.
        version: of the model.
        mode: dynamic, static or hybrid.
        interface: its inputs.
        signature: of the SavedModel.
        signature_def: inputs and outputs in the form of TensorFlow Serving's metadata.
        facts: returns further facts for readiness and metadata, such as the version and age of a table.
    """

    name: str
    version: str
    mode: Mode
    interface: Interface
    signature: str
    signature_def: Mapping[str, Any]
    facts: Callable[[], Mapping[str, Any]] = dict


class DescribedOnce:
    """Makes a description once for what it describes: each request reads it."""

    def __init__(self) -> None:
        self._known: tuple[tuple[object, ...], Description] | None = None

    def of(self, *parts: object, make: Callable[[], Description]) -> Description:
        """The description of these parts; made again when one of them is another object."""
        known = self._known
        if known is None or any(old is not new for old, new in zip(known[0], parts, strict=True)):
            known = self._known = parts, make()
        return known[1]


@runtime_checkable
class Answerer(Protocol):
    """Answers rows; called from the event loop or from worker threads, possibly several at a time."""

    @property
    def description(self) -> Description:
        """What it answers with at this moment."""

    @property
    def together(self) -> bool:
        """Whether several requests may be answered in one call; false if the rows of a call depend on each other."""

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        """Answers a batch of requests.

        Args:
            requests: one or more; what is wrong with one of them must not change the answer to another.

        Returns:
            One answer, or the error of that request, for each request in order. A DataError becomes status 400 (404 for
            KeysNotFound, 422 for rows that break rules or have no prediction), a PlatformError 500.
        """


def slices(requests: Sequence[RowsRequest]) -> list[tuple[int, int]]:
    """The first row of each request in their concatenation, and the one after its last."""
    ends = np.cumsum([request.rows for request in requests]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
