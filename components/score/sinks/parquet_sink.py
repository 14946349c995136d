"""Parquet sink: writes Parquet files with fast encodings, and equal bytes for equal rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.components.score.sinks.sink import BlockWriter, FileSink


@dataclass(frozen=True)
class ParquetSink(FileSink):
    """Parquet files; a block is a row group.

    Attributes:
        key: the column that identifies a row; dictionary encoding does not reduce its size.
    """

    key: str | None
    ending: ClassVar[str] = "parquet"

    def writer(self, file: BinaryIO, schema: pa.Schema) -> BlockWriter:
        """Starts a file."""
        return _Writer(file, schema, self.key)


class _Writer:
    def __init__(self, file: BinaryIO, schema: pa.Schema, key: str | None) -> None:
        textual = [field.name for field in schema if _is_text(field.type)]
        self._writer = pq.ParquetWriter(
            file,
            schema,
            # The last digits of predictions are noise: compression of floats takes time and saves no space.
            compression=dict.fromkeys(textual, "zstd"),
            compression_level=dict.fromkeys(textual, 1),
            # Classes and the model's version repeat, keys and numbers do not.
            use_dictionary=[name for name in textual if name != key],
            # Predictions are read completely: statistics take as long as writing a block, and let readers skip nothing.
            write_statistics=False,
            write_page_checksum=True,
        )

    def write(self, block: pa.RecordBatch) -> None:
        self._writer.write_batch(block, row_group_size=max(1, block.num_rows))

    def close(self) -> None:
        self._writer.close()


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )
