"""JSON lines sink: writes one object per row, formatted by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, ClassVar

import pyarrow as pa

from headrace.components.score.sinks.json_text import json_objects
from headrace.components.score.sinks.sink import BlockWriter, FileSink


@dataclass(frozen=True)
class JsonLinesSink(FileSink):
    """Files of JSON lines, in UTF-8, with the predictions' columns in their order."""

    key: str | None = None
    ending: ClassVar[str] = "jsonl"

    def writer(self, file: BinaryIO, schema: pa.Schema) -> BlockWriter:
        """Starts a file."""
        return _Writer(file, self.key)


class _Writer:
    def __init__(self, file: BinaryIO, key: str | None) -> None:
        self._file = file
        self._key = key

    def write(self, block: pa.RecordBatch) -> None:
        lines = json_objects(block, end="}\n", key=self._key)
        # The lines are contiguous in memory, as in the file.
        offsets = pa.Array.from_buffers(pa.int64(), len(lines) + 1, [None, lines.buffers()[1]], offset=lines.offset)
        begin, end = offsets[0].as_py(), offsets[len(lines)].as_py()
        if end > begin:
            self._file.write(lines.buffers()[2][begin:end])

    def close(self) -> None:
        pass
