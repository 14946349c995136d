"""Reads CSV (RFC 4180, UTF-8, commas, a header) as columns of text: a bad value costs one row, and not the file."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from headrace.components import storage
from headrace.components.errors import DataError
from headrace.components.tfrecord.quarantine import Fault, QuarantinedRow

# Arrow reads a file in blocks of this many bytes, and a row may not be longer.
BLOCK = 1 << 20


class CsvSource:
    """CSV files. An empty field is a missing value; a row with too few or too many fields is refused."""

    def columns(self, path: str) -> list[tuple[str, pa.DataType]]:
        """The header's names; every column is text.

        Raises:
            DataError: the file is empty, its first block is not UTF-8, or its header is not one.
        """
        return [(name, pa.string()) for name in _header(path, _first_block(path))]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers, and the rows refused before or among them."""
        header = _header(path, _first_block(path))
        refused: list[QuarantinedRow] = []

        def refuse(row: pacsv.InvalidRow) -> str:
            refused.append(_refused(row, path, header, columns))
            return "skip"

        first = 1
        for batch in _batches(path, columns, refuse):
            # Rows refused after the batch's last good one belong to a later batch, or to the end.
            numbers = _numbers(first, batch.num_rows, [row.row for row in refused])
            first = int(numbers[-1]) + 1 if len(numbers) else first
            for start in range(0, batch.num_rows, batch_rows):
                piece = batch.slice(start, batch_rows)
                kept = numbers[start : start + batch_rows]
                passed = tuple(row for row in refused if row.row < kept[-1])
                del refused[: len(passed)]
                yield piece, kept, passed
        if refused:
            empty = pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in columns]))
            yield empty, np.zeros(0, np.int64), tuple(refused)

    def expected_rows(self, path: str) -> int:
        """From the length of the rows in the first block."""
        block = _first_block(path)
        lines = max(block.count(b"\n") - 1, 1)
        return max(1, round(lines * storage.local_path(path).stat().st_size / len(block)))


def _batches(path: str, columns: Sequence[str], refuse: object) -> Iterator[pa.RecordBatch]:
    try:
        yield from pacsv.open_csv(
            storage.local_path(path),
            # Rows are numbered only without threads.
            read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        _check_utf8(path)
        raise DataError(
            "the file is not CSV, or is damaged",
            where=path,
            expected=f"rows of at most {BLOCK} bytes, with every quote closed",
            received=str(error).splitlines()[0][:300].rstrip("."),
        ) from error
    except OSError as error:
        raise DataError("the file cannot be read", where=path, received=str(error)) from error


def _numbers(first: int, count: int, refused: Sequence[int]) -> npt.NDArray[np.int64]:
    """The numbers of `count` good rows, from `first` on, that step over the refused ones."""
    numbers = np.arange(first, first + count)
    for number in refused:
        if number >= first:
            numbers[np.searchsorted(numbers, number) :] += 1
    return numbers


def _refused(row: pacsv.InvalidRow, path: str, header: Sequence[str], columns: Sequence[str]) -> QuarantinedRow:
    few = row.actual_columns < row.expected_columns
    message = f"the row has {row.actual_columns} fields where the header has {row.expected_columns}"
    try:
        fields = next(csv.reader([row.text]), [])
    except csv.Error:
        # Fields longer than Python's csv takes; the row is told of all the same.
        fields = row.text.split(",")
    values = {name: value for name, value in zip(header, fields, strict=False) if name in columns}
    # Arrow counts the header as the first row.
    number = row.number - 1
    fault = Fault(None, "too_few_fields" if few else "too_many_fields", message)
    return QuarantinedRow(PurePath(path).name, number, fault, values)


def _first_block(path: str) -> bytes:
    """The first BLOCK bytes.

    Raises:
        DataError: there is no such file, it cannot be read, or it is empty.
    """
    try:
        with storage.local_path(path).open("rb") as file:
            block = file.read(BLOCK)
    except FileNotFoundError as error:
        raise DataError("there is no such file", where=path) from error
    except OSError as error:
        raise DataError("the file cannot be read", where=path, received=str(error)) from error
    if not block.strip():
        raise DataError("the file is empty", where=path, expected="a header and one row or more", received="no text")
    return block


def _header(path: str, block: bytes) -> list[str]:
    """The names in the first line that is not blank."""
    _check_text(path, block)
    text = codecs.getincrementaldecoder("utf-8-sig")().decode(block)
    try:
        return next(row for row in csv.reader(text.splitlines(keepends=True), strict=True) if row)
    except (csv.Error, StopIteration) as error:
        raise DataError("the file has no header that can be read", where=path, received=str(error)) from error


def _check_text(path: str, block: bytes) -> None:
    """Refuses what is not UTF-8, from the file's beginning."""
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError("the file is not UTF-8", where=path, expected="text in UTF-8", received="UTF-16")
    try:
        # A character that the block's end cuts in two is no fault.
        codecs.getincrementaldecoder("utf-8")().decode(block)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error.start, block.count(b"\n", 0, error.start) + 1, block[error.start]) from error


def _check_utf8(path: str) -> None:
    """Finds the first byte of a whole file that is not UTF-8.

    Raises:
        DataError: there is one.
    """
    with storage.local_path(path).open("rb") as file:
        offset = line = 0
        # No byte of a UTF-8 character but the last is a line break, so a line is decoded as a whole.
        for line, content in enumerate(file, 1):
            try:
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, offset + error.start, line, content[error.start]) from error
            offset += len(content)


def _not_utf8(path: str, offset: int, line: int, byte: int) -> DataError:
    return DataError(
        "the file is not UTF-8",
        where=f"{path}, line {line}",
        expected="text in UTF-8",
        received=f"byte 0x{byte:02x} at offset {offset}",
        fix="Save the file as UTF-8, or convert it with iconv",
    )
