"""JSON lines source: reads one object per line, with its members as columns; a bad line affects one row only.

Arrow parses blocks of lines and skips the members that are not read. Blocks with values that it would round or refuse
- integers mixed with fractions, a member of several types, half of a surrogate pair - are parsed line by line.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from headrace.core import storage
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow
from headrace.core.errors import EmptyFile, UnreadableFile
from headrace.core.sources.json_values import column_of, later_type
from headrace.core.sources.jsonl_lines import Lines, line_blocks
from headrace.core.sources.open_file import split_name
from headrace.core.sources.source import MAXIMUM_MEMBERS, file_name

# Bytes per block of lines, approximately.
BLOCK = 1 << 20
_USUAL_RATE = 5
_SHOWN = 200
# Number of rows from which the type of a new member is inferred.
_SAMPLE = 20
# The smallest integer that may not be exact in float64.
_LONG_INTEGER = re.compile(rb"[:,\[\s]-?[0-9]{16,}\s*[,}\]]")
_EXACT = float(1 << 53)
# Python converts no integer of more digits, by default.
_DIGITS = 4300
# Types to try for a member on a line that is nested too deeply for Python.
_SCALARS = (pa.int64(), pa.float64(), pa.bool_(), pa.string())


class JsonLinesSource:
    """Files of one JSON object per line, in UTF-8, or of one array of objects. Blank lines are not rows."""

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The members in the first block of lines, and those of `wanted` that first occur in a later one.

        Raises:
            DataError: the file does not exist.
            EmptyFile: it has no rows, or none with a member.
            UnreadableFile: it is damaged, or its first lines are not objects.
        """
        found: dict[str, pa.DataType] = {}
        for number, block in enumerate(line_blocks(path, BLOCK)):
            lines = block.split
            late = [name for name in wanted if name not in found]
            if number and not late:
                break
            if number:
                lines = [line for line in lines if any(_quoted(name) in line for name in late)]
            rows = [row for row in map(_object, lines) if isinstance(row, dict)]
            if not number and not rows:
                raise UnreadableFile(
                    "the file is not JSON lines",
                    where=path,
                    expected="one JSON object per line, or an array of objects",
                    received=lines[0][:60].decode("utf-8", "replace").strip(),
                )
            named = dict.fromkeys(name for row in rows for name in row if not number or name in late)
            # A name with a lone surrogate, which JSON can write, is no text, and no column can have it.
            names = [name for name in named if name.isascii() or name.encode("utf-8", "replace").decode() == name]
            if len(names) > MAXIMUM_MEMBERS:
                raise UnreadableFile(
                    "the rows have too many different members",
                    where=path,
                    expected=f"at most {MAXIMUM_MEMBERS:,} columns",
                    received=f"{len(names):,} in the first {len(rows):,} rows",
                )
            found.update((name, column_of([row.get(name) for row in rows]).type) for name in names)
        if not found:
            raise EmptyFile("the file is empty", where=path, expected="one row or more", received="no text")
        return list(found.items())

    def pieces(self, path: str, columns: Sequence[str] | None) -> list[None]:
        """The whole file: the number of rows before a byte can only be counted from the beginning."""
        return [None]

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: None = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """Batches of at most `batch_rows` rows, the rows' numbers, and the rows refused before or among them."""
        first = 1
        reader = _Reader(path, columns)
        for block in line_blocks(path, BLOCK):
            slices = range(0, block.count, batch_rows)
            parts = [block] if len(slices) == 1 else [Lines.of(block.split[at : at + batch_rows]) for at in slices]
            for lines in parts:
                yield reader.read(lines, first)
                first += lines.count

    def expected_rows(self, path: str) -> int:
        """Estimates the rows from the length of the first lines."""
        for lines in line_blocks(path, BLOCK):
            rate = _USUAL_RATE if split_name(path)[1] else 1
            length = len(lines.content)
            return max(1, round(lines.count * max(storage.size(path) * rate, length) / length))
        return 0


class _Reader:
    """Converts lines of one file to batches of columns, and infers their types.

    A column's values have the same text and number for each of the types that its batches may have.
    """

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        self._path = path
        self._columns = columns
        self._quoted = {name: _quoted(name) for name in columns}
        self._types: dict[str, pa.DataType] = {}

    def read(
        self, lines: Lines, first: int
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]:
        """The columns of some lines, the numbers of their rows from `first` on, and the lines that are not rows."""
        self._learn(lines)
        batch = self._parse(lines)
        if batch is not None:
            return batch, np.arange(first, first + lines.count), ()
        return self._one_by_one(lines.split, first)

    def _learn(self, lines: Lines) -> None:
        """Infers the types of new columns from the first lines that have them."""
        for name, quoted in self._quoted.items():
            if name not in self._types and quoted in lines.content:
                naming = [line for line in lines.split if quoted in line][:_SAMPLE]
                rows = [row for row in map(_object, naming) if isinstance(row, dict)]
                self._note(name, column_of([row.get(name) for row in rows]).type)

    def _note(self, name: str, kind: pa.DataType) -> None:
        known = self._types.get(name)
        if not pa.types.is_null(kind):
            self._types[name] = kind if known is None else later_type(known, kind)

    def _parse(self, lines: Lines) -> pa.RecordBatch | None:
        """Parses all lines at once; None if they must be parsed one by one."""
        content = lines.content
        named = [name for name, quoted in self._quoted.items() if quoted in content or b"\\u" in content]
        try:
            content.decode()
            table = pajson.read_json(
                # Arrow would copy the bytes of a file of Python's.
                pa.BufferReader(content),
                read_options=pajson.ReadOptions(use_threads=False, block_size=len(content) + 1),
                parse_options=pajson.ParseOptions(
                    explicit_schema=pa.schema([(name, self._types.get(name, pa.null())) for name in named]),
                    unexpected_field_behavior="ignore",
                ),
            )
        except (pa.ArrowException, UnicodeDecodeError):
            return None
        # Two objects on a line would be two rows for Arrow, and are one bad line in the other parser.
        if table.num_rows != lines.count:
            return None
        arrays = {name: table.column(name).combine_chunks() for name in named}
        if any(map(_may_be_rounded, arrays.values())) and _LONG_INTEGER.search(content):
            return None
        return pa.RecordBatch.from_arrays(
            [arrays[name] if name in arrays else pa.nulls(lines.count) for name in self._columns],
            names=list(self._columns),
        )

    def _one_by_one(
        self, lines: Sequence[bytes], first: int
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]:
        rows: list[Mapping[str, Any]] = []
        numbers = []
        refused = []
        for number, line in enumerate(lines, first):
            row = _object(line, self._columns)
            if isinstance(row, dict):
                rows.append(row)
                numbers.append(number)
                continue
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            fault = Fault(None, "malformed_row", f"the line is not a JSON object: {row}")
            refused.append(QuarantinedRow(file_name(self._path), number, fault, {"line": text[:_SHOWN]}))
        arrays = []
        for name in self._columns:
            array = column_of([row.get(name) for row in rows], self._types.get(name))
            self._note(name, array.type)
            arrays.append(array)
        batch = pa.RecordBatch.from_arrays(arrays, names=list(self._columns))
        return batch, np.array(numbers, np.int64), tuple(refused)


def _quoted(name: str) -> bytes:
    return json.dumps(name, ensure_ascii=False).encode("utf-8", "replace")


def _may_be_rounded(array: pa.Array) -> bool:
    """Whether an integer may have been rounded to a float64."""
    while pa.types.is_list(array.type):
        array = array.flatten()
    if not pa.types.is_floating(array.type):
        return False
    bounds = pc.min_max(array)
    return any(bounds[end].as_py() is not None and abs(bounds[end].as_py()) >= _EXACT for end in ("min", "max"))


def _object(line: bytes, columns: Sequence[str] = ()) -> dict[str, Any] | str:
    """The object on a line, or its error; for a line that is nested too deeply, the members `columns` only."""
    try:
        # json.loads of bytes takes the bytes of half a surrogate pair, which no text has.
        value = json.loads(line.decode("utf-8-sig"))
        if b"\\ud" in line.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair is not a character"
    except UnicodeDecodeError as error:
        return f"it is not UTF-8: {error}"
    except json.JSONDecodeError as error:
        return str(error)
    except ValueError as error:
        # A number has too many digits. Of members that nobody reads, any may have.
        value = json.loads(line.decode("utf-8-sig"), parse_int=_integer)
        long = {name for name, member in value.items() if _is_long(member)} if isinstance(value, dict) else set()
        if not long.isdisjoint(columns):
            return str(error)
        value = {name: member for name, member in value.items() if name not in long} if long else value
    except RecursionError:
        return _members(line, columns)
    return value if isinstance(value, dict) else f"it is of type {type(value).__name__}"


_LONG = object()


def _integer(digits: str) -> Any:
    return int(digits) if len(digits) <= _DIGITS else _LONG


def _is_long(member: Any) -> bool:
    """Whether a member is or holds a number that Python does not convert."""
    held = member.values() if isinstance(member, dict) else member if isinstance(member, list) else ()
    return member is _LONG or any(map(_is_long, held))


def _members(line: bytes, columns: Sequence[str]) -> dict[str, Any] | str:
    """Parses a line with Arrow, which skips other members at any depth."""
    found: dict[str, Any] = {}
    for name in columns:
        for kind in _SCALARS:
            options = pajson.ParseOptions(pa.schema([(name, kind)]), unexpected_field_behavior="ignore")
            read = pajson.ReadOptions(use_threads=False, block_size=len(line) + 1)
            try:
                table = pajson.read_json(io.BytesIO(line), read_options=read, parse_options=options)
            except pa.ArrowException as error:
                fault = str(error)
                continue
            found[name] = table.column(name)[0].as_py()
            break
        else:
            return f"it is nested too deeply ({fault[:_SHOWN]})"
    return found
