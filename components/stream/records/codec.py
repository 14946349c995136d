"""Record codecs: decode the value of a record to rows, and encode predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from headrace.core.checks import check_word
from headrace.core.errors import DataError
from headrace.core.json_body import MAX_VALUES, encode, parse

Format = Literal["json", "arrow"]
FORMATS: tuple[Format, ...] = ("json", "arrow")
_EXPECTED = '{"FEATURE": value, ...}'


class Codec(Protocol):
    """Decodes the value of a record, and encodes the value of its prediction."""

    def rows(self, value: bytes) -> list[dict[str, Any]]:
        """The rows of a value, one or more, each a dict of features by name.

        Raises:
            DataError: the value is damaged.
        """

    def value(self, predictions: Sequence[dict[str, Any]]) -> bytes:
        """The encoded predictions of one or more rows."""


class JsonCodec:
    """JSON: the value of a record is the object of one row, and its prediction is an object of outputs by name."""

    def rows(self, value: bytes) -> list[dict[str, Any]]:
        """The row of a value; see `Codec.rows`."""
        return [parse(value, _EXPECTED)]

    def value(self, predictions: Sequence[dict[str, Any]]) -> bytes:
        """The prediction of the row; see `Codec.value`."""
        (prediction,) = predictions
        return encode(prediction)


class ArrowCodec:
    """Arrow IPC streams: the value of a record is one or more rows, and its prediction has the same number of rows.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """

    def __init__(self) -> None:
        import pyarrow

        self._pyarrow = pyarrow

    def rows(self, value: bytes) -> list[dict[str, Any]]:
        """The rows of a value; see `Codec.rows`."""
        from headrace.core.values.columns import json_value

        pa = self._pyarrow
        try:
            with pa.ipc.open_stream(value) as reader:
                table = reader.read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            message = str(error)
            raise DataError("the value is not an Arrow IPC stream", received=message[:200] or "nothing") from error
        if not table.num_rows:
            raise DataError("the value has no rows", expected="one row or more")
        # Nulls occupy no bytes in the message, but memory as rows.
        count = table.num_rows + sum(map(_values_in, table.columns))
        if count >= MAX_VALUES:
            raise DataError(
                "the value has too many values", expected=f"less than {MAX_VALUES:,}", received=f"{count:,}"
            )
        names = table.schema.names
        if len(set(names)) < len(names):
            raise DataError("the value has two columns of one name", expected="different names")
        columns = [[json_value(scalar) for scalar in self._without_nan(column)] for column in table.columns]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _without_nan(self, column: Any) -> Any:
        """The column with nulls for NaN, which is a missing number, as in files."""
        pa = self._pyarrow
        if not pa.types.is_floating(column.type):
            return column
        import pyarrow.compute as pc

        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)

    def value(self, predictions: Sequence[dict[str, Any]]) -> bytes:
        """The predictions of the rows; see `Codec.value`."""
        pa = self._pyarrow
        batch = pa.RecordBatch.from_pylist(list(predictions))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        content: bytes = sink.getvalue().to_pybytes()
        return content


def _values_in(column: Any) -> int:
    """The number of values in a column, with those in its lists."""
    import pyarrow.types as kinds
    from pyarrow import compute as pc

    if not (kinds.is_list(column.type) or kinds.is_large_list(column.type) or kinds.is_fixed_size_list(column.type)):
        return len(column)
    inside = pc.sum(pc.list_value_length(column)).as_py() or 0
    return len(column) + (inside if inside >= MAX_VALUES else _values_in(pc.list_flatten(column)))


def codec_of(name: str) -> Codec:
    """The codec of a format.

    Raises:
        UsageError: the name is not one of FORMATS.
        ModuleNotFoundError: pyarrow is not installed.
    """
    check_word(name, "format of records", FORMATS)
    return ArrowCodec() if name == "arrow" else JsonCodec()
