"""CSV sink: writes CSV files (RFC 4180, UTF-8, with a header each); a list is a JSON array, bytes are base64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.csv as pacsv

from headrace.components.score.sinks.json_text import base64_text, is_bytes, json_text
from headrace.components.score.sinks.sink import BlockWriter, FileSink
from headrace.core.tfrecord.conversion import is_list


@dataclass(frozen=True)
class CsvSink(FileSink):
    """CSV files. A number has the minimum of digits that restore it when it is read as its type."""

    key: str | None = None
    ending: ClassVar[str] = "csv"

    def writer(self, file: BinaryIO, schema: pa.Schema) -> BlockWriter:
        """Starts a file."""
        return _Writer(file, self.key)


class _Writer:
    def __init__(self, file: BinaryIO, key: str | None) -> None:
        self._file = file
        self._key = key
        self._header = True

    def write(self, block: pa.RecordBatch) -> None:
        plain = pa.RecordBatch.from_arrays(
            [self._plain(name, block.column(name)) for name in block.schema.names], names=block.schema.names
        )
        text = pa.BufferOutputStream()
        pacsv.write_csv(plain, text, pacsv.WriteOptions(include_header=self._header, batch_size=max(1, plain.num_rows)))
        self._file.write(text.getvalue())
        self._header = False

    def close(self) -> None:
        pass

    def _plain(self, name: str, column: pa.Array) -> pa.Array:
        """A column with one value per row, in a type that the CSV writer accepts."""
        if pa.types.is_dictionary(column.type):
            return column.dictionary_decode()
        if is_bytes(column.type) and name != self._key:
            return base64_text(column)
        return json_text(column) if is_list(column.type) else column
