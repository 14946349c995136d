"""CSV source: reads columns of text, so that a bad value affects one row and not the file."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from headrace.core import storage
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow
from headrace.core.errors import DataError, EmptyFile, UnreadableFile
from headrace.core.sources.csv.comments import WithoutComments
from headrace.core.sources.csv.numbers import with_points
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.sources.open_file import opened_text, reading, split_name
from headrace.core.sources.source import file_name
from headrace.core.sources.text_damage import WatchedText, check_beginning, check_quotes

# Arrow reads a file in blocks of this many bytes, which is also the maximum length of a row.
BLOCK = 1 << 20


@dataclass(frozen=True)
class CsvSource:
    """CSV files of one dialect. An empty field is a missing value; a row with too few or too many fields is refused."""

    dialect: CsvDialect = RFC_4180

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The header's names; all columns are text.

        Raises:
            DataError: the file is empty, or its header is not valid.
            UnreadableFile: its first block is not UTF-8, or it is compressed and damaged.
        """
        return [(name, pa.string()) for name in self._header(path)]

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[None]:
        """The whole file: the start of a row can only be found by reading from the beginning."""
        return [None]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers, and the rows refused before or among them."""
        dialect = self._dialect_of(path)
        try:
            header = self._header(path)
        except EmptyFile:
            return
        refused: list[QuarantinedRow] = []

        def refuse(row: pacsv.InvalidRow) -> str:
            refused.append(_refused(row, path, header, columns, dialect))
            return "skip"

        first = 1
        empty = pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in columns]))
        for batch in _batches(path, columns, refuse, dialect):
            # Rows refused after the batch's last good row belong to a later batch or to the end of the file.
            numbers = _numbers(first, batch.num_rows, [row.row for row in refused])
            first = int(numbers[-1]) + 1 if len(numbers) else first
            for start in range(0, batch.num_rows, batch_rows):
                piece_of = with_points(batch.slice(start, batch_rows), dialect)
                kept = numbers[start : start + batch_rows]
                passed = tuple(row for row in refused if row.row < kept[-1])
                del refused[: len(passed)]
                yield piece_of, kept, passed
            if len(refused) >= batch_rows:
                # Rows that are refused one after another would fill the memory: those are next, whatever follows them.
                next_ones = [row for number, row in enumerate(refused, first) if row.row == number]
                first += len(next_ones)
                del refused[: len(next_ones)]
                if next_ones:
                    yield empty, np.zeros(0, np.int64), tuple(next_ones)
        if refused:
            yield empty, np.zeros(0, np.int64), tuple(refused)

    def expected_rows(self, path: str) -> int:
        """Estimates the rows from the row length in the first block, and a usual ratio for compressed files."""
        try:
            block = _first_block(path, self._dialect_of(path))
        except EmptyFile:
            return 0
        lines = max(block.count(b"\n") - 1, 1)
        rate = 1 if split_name(path)[1] is None else _USUAL_RATE
        return max(1, round(lines * max(storage.size(path) * rate, len(block)) / len(block)))

    def _dialect_of(self, path: str) -> CsvDialect:
        dialect = self.dialect
        if dialect.delimiter != "," or dialect.skip_rows or dialect.header:
            return dialect
        if split_name(path)[0] == ".tsv":
            return replace(dialect, delimiter="\t")
        # Spreadsheets write the separator on a line above the header.
        with reading(path, "CSV"), opened_text(path, dialect.encoding) as file:
            stated = _SEPARATOR.match(file.read(16))
        return replace(dialect, delimiter=stated[1].decode(), skip_rows=1) if stated else dialect

    def _header(self, path: str) -> list[str]:
        """The dialect's names, or those in the first line that is not blank."""
        dialect = self._dialect_of(path)
        block = _first_block(path, dialect)
        if dialect.is_utf8:
            check_beginning(path, block)
        if dialect.header:
            return list(dialect.header)
        encoding = "utf-8-sig" if dialect.is_utf8 else dialect.encoding
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(block)
            lines = text.splitlines(keepends=True)[dialect.skip_rows :]
            return next(row for row in csv.reader(lines, strict=True, **_for_python(dialect)) if row)
        except (csv.Error, StopIteration, UnicodeDecodeError) as error:
            raise DataError("the file's header cannot be read", where=path, received=str(error)) from error


_SEPARATOR = re.compile(rb'(?:\xef\xbb\xbf)?"?sep=([\x09\x20-\x7e])"?\r?\n')
# Compression reduces columns of text to about a fifth.
_USUAL_RATE = 5


def _for_python(dialect: CsvDialect) -> dict[str, Any]:
    quoting = csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE
    return {
        "delimiter": dialect.delimiter,
        "quotechar": dialect.quote or None,
        "escapechar": dialect.escape or None,
        "doublequote": dialect.double_quote,
        "quoting": quoting,
    }


@contextmanager
def _text_of(path: str, dialect: CsvDialect) -> Iterator[tuple[Any, WatchedText]]:
    """The file's bytes, uncompressed and without comments, and the damage check that reads them."""
    with opened_text(path, dialect.encoding) as file:
        watched = WatchedText(file, path, dialect)
        yield WithoutComments(watched, dialect, BLOCK) if dialect.comment else watched, watched


def _batches(
    path: str, columns: Sequence[str], refuse: Callable[[pacsv.InvalidRow], str], dialect: CsvDialect
) -> Iterator[pa.RecordBatch]:
    over_lines = False

    def look(row: pacsv.InvalidRow) -> str:
        nonlocal over_lines
        over_lines = "\n" in row.text
        return refuse(row)

    try:
        with reading(path, "CSV"), _text_of(path, dialect) as (text, watched):
            batch = None
            for batch in _parsed(path, text, columns, look, dialect):
                yield batch
        last = [] if batch is None or not batch.num_rows else batch.slice(batch.num_rows - 1).to_pylist()[0].values()
        over_lines |= any("\n" in value for value in last if value is not None)
        # A quote that is not closed makes the number of quotes odd, unless some are escaped, and its row ends the file.
        if watched.quotes and (watched.quotes % 2 or dialect.escape or dialect.comment or over_lines):
            with reading(path, "CSV"), _text_of(path, dialect) as (text, _):
                check_quotes(path, islice(io.BufferedReader(text, BLOCK), dialect.skip_rows, None), dialect)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            f"the file is not {dialect.encoding}", where=path, received=str(error), fix="Set its encoding with --csv"
        ) from error


def _parsed(
    path: str, text: Any, columns: Sequence[str], refuse: object, dialect: CsvDialect
) -> Iterator[pa.RecordBatch]:
    try:
        yield from pacsv.open_csv(
            text,
            # Rows are numbered only without threads.
            read_options=pacsv.ReadOptions(
                use_threads=False,
                block_size=BLOCK,
                column_names=list(dialect.header) or None,
                skip_rows=dialect.skip_rows,
                encoding="utf8" if dialect.is_utf8 else dialect.encoding,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote or False,
                double_quote=dialect.double_quote,
                escape_char=dialect.escape or False,
                newlines_in_values=True,
                invalid_row_handler=refuse,
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                null_values=list(dialect.null_values),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowKeyError as error:
        raise DataError("the file lacks a column", where=path, received=str(error)) from error
    except pa.ArrowInvalid as error:
        raise UnreadableFile(
            "the file is not CSV, or is damaged",
            where=path,
            expected=f"rows of at most {BLOCK} bytes, with every quote closed",
            received=str(error).splitlines()[0][:300].rstrip("."),
        ) from error


def _numbers(first: int, count: int, refused: Sequence[int]) -> npt.NDArray[np.int64]:
    """The numbers of `count` good rows, from `first` on, without those of the refused rows."""
    numbers = np.arange(first, first + count)
    for number in refused:
        if not count or number > numbers[-1]:
            break
        if number >= first:
            numbers[np.searchsorted(numbers, number) :] += 1
    return numbers


def _refused(
    row: pacsv.InvalidRow, path: str, header: Sequence[str], columns: Sequence[str], dialect: CsvDialect
) -> QuarantinedRow:
    few = row.actual_columns < row.expected_columns
    message = f"the row has {row.actual_columns} fields where the header has {row.expected_columns}"
    lines = row.text.count("\n") + 1
    if lines > 1:
        message += f", over {lines:,} lines: a quote may be missing"
    try:
        fields = next(csv.reader([row.text], **_for_python(dialect)), [])
    except csv.Error:
        # The fields exceed the limit of Python's csv; the row is reported without its values.
        fields = row.text.split(dialect.delimiter)
    values = {name: value for name, value in zip(header, fields, strict=False) if name in columns}
    # Arrow counts the lines skipped and the header too.
    number = row.number - dialect.skip_rows - (0 if dialect.header else 1)
    fault = Fault(None, "too_few_fields" if few else "too_many_fields", message)
    return QuarantinedRow(file_name(path), number, fault, values)


def _first_block(path: str, dialect: CsvDialect) -> bytes:
    """The first BLOCK bytes that are not all blank, and the blanks before them.

    Raises:
        DataError: the file does not exist or cannot be read.
        EmptyFile: it is empty.
        UnreadableFile: it is compressed and damaged, or has too many blanks.
    """
    block = b""
    with reading(path, "CSV"), opened_text(path, dialect.encoding) as file:
        text = WithoutComments(file, dialect, BLOCK) if dialect.comment else file
        while more := text.read(BLOCK):
            block += more
            if more.strip():
                break
    if not block.strip():
        raise EmptyFile("the file is empty", where=path, expected="a header and one row or more", received="no text")
    return block
