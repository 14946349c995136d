"""Prediction table sink: one file for lookups by key, which a server answers from without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.components.score.sinks.blocks import MeasuredFile
from headrace.components.score.sinks.sink import ROW_NUMBER, BlockWriter, PendingFile, PublishedFiles, Sink
from headrace.components.score.sinks.table_columns import add_rows, table_columns
from headrace.core import storage
from headrace.core.artifacts.examples import Shard
from headrace.core.artifacts.predictions import AnswerForm
from headrace.core.prediction_table.layout import TableDescription
from headrace.core.prediction_table.writer import RepeatedKeys, TableWriter

FILE = "table/predictions.table"
_MODEL_VERSION = "model_version"


@dataclass(frozen=True)
class TableSink(Sink):
    """One prediction table; predictions are staged as Arrow streams, one block per file.

    Attributes:
        form: the key's column, and the form of answers.
        about: what the predictions are.
    """

    form: AnswerForm
    about: TableDescription
    ending: ClassVar[str] = "arrow"
    numbered: ClassVar[bool] = True

    def writer(self, file: BinaryIO, schema: pa.Schema) -> BlockWriter:
        """Starts a staged file."""
        return _StreamWriter(file, schema)

    def publish(self, folder: str, waiting: Sequence[PendingFile]) -> PublishedFiles:
        """Builds the table. Of several rows with one key, the first is stored."""
        uris = [storage.join(folder, file.file) for file in waiting]
        with ExitStack() as stack:
            columns = table_columns(_outputs(next(_batches(uris[0]))).schema, self.form) if uris else []
            writer = stack.enter_context(TableWriter(columns))
            for uri in uris:
                for batch in _batches(uri):
                    add_rows(writer, _outputs(batch), self.form)
            repeated = writer.repeated()
            rejected = _rejected(writer, repeated, waiting, uris) if len(repeated) else None
            with storage.open_output(storage.join(folder, FILE)) as output:
                shard = save_table(writer, output, self.about)
        return PublishedFiles((shard,), shard.rows, rejected=rejected)


def save_table(writer: TableWriter, output: BinaryIO, about: TableDescription) -> Shard:
    """Writes a table to the file FILE of a Predictions artifact."""
    measured = MeasuredFile(output)
    footer = writer.save(cast(BinaryIO, measured), about)
    return Shard(FILE, footer.entries, measured.bytes, measured.crc32c)


class _StreamWriter:
    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._stream = pa.ipc.new_stream(file, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def write(self, block: pa.RecordBatch) -> None:
        self._stream.write_batch(block)

    def close(self) -> None:
        self._stream.close()


def _batches(uri: str) -> Iterator[pa.RecordBatch]:
    with storage.open_input(uri) as file:
        yield from pa.ipc.open_stream(file)


def _outputs(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The key and the outputs of a staged batch."""
    return batch.select([name for name in batch.schema.names if name not in (ROW_NUMBER, _MODEL_VERSION)])


def _rejected(
    writer: TableWriter, repeated: RepeatedKeys, waiting: Sequence[PendingFile], uris: Sequence[str]
) -> pa.Table:
    """The rows whose key an earlier row has, by part and number in the part."""
    rows = np.concatenate([repeated.rows, repeated.first])
    parts, numbers = _positions(rows, waiting, uris)
    count = len(repeated)
    keys = [writer.key(row) for row in repeated.rows.tolist()]
    columns = {"part": parts[:count], "row": numbers[:count], "key": keys}
    return pa.table({**columns, "first_part": parts[count:], "first_row": numbers[count:]})


def _positions(
    rows: npt.NDArray[np.int64], waiting: Sequence[PendingFile], uris: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Part, and number in the part, of rows of the table."""
    begins = np.cumsum([0, *(file.rows for file in waiting)])
    files = np.searchsorted(begins, rows, side="right") - 1
    parts, numbers = np.empty_like(rows), np.empty_like(rows)
    for index in np.unique(files).tolist():
        at = files == index
        of_file = np.concatenate([batch.column(ROW_NUMBER).to_numpy() for batch in _batches(uris[index])])
        parts[at], numbers[at] = waiting[index].part, of_file[rows[at] - begins[index]]
    return parts, numbers
