"""Partition columns of files in folders COLUMN=VALUE, as Spark, Hive and `headrace score --partition-by` write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.artifacts.quarantine import QuarantinedRow
from headrace.core.errors import EmptyFile
from headrace.core.sources.source import Piece, Source

# Hive's name for the partition of rows without a value.
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_FOLDER = re.compile(r"(?P<name>[^=/._][^=/]*)=(?P<value>[^/]*)")


def partition_values(path: str) -> dict[str, str | None]:
    """The columns of the innermost folders of a path, outermost first; values are text."""
    found: list[tuple[str, str | None]] = []
    for folder in reversed(PurePosixPath(path).parts[:-1]):
        match = _FOLDER.fullmatch(folder)
        if match is None:
            break
        value = unquote(match["value"])
        found.append((unquote(match["name"]), None if value == NO_VALUE else value))
    return dict(reversed(found))


@dataclass(frozen=True)
class PartitionedSource:
    """A file with the columns of its folders; the file's own columns take precedence.

    Attributes:
        file: the source of the file.
        values: of the folders' columns.
    """

    file: Source
    values: Mapping[str, str | None]

    def columns(self, path: str, wanted: Sequence[str] = ()) -> list[tuple[str, pa.DataType]]:
        """The columns of the file, then those of its folders, which are text."""
        own = self.file.columns(path, [name for name in wanted if name not in self.values])
        names = {name for name, _ in own}
        return [*own, *((name, pa.string()) for name in self.values if name not in names)]

    def pieces(self, path: str, columns: Sequence[str] | None) -> Sequence[Piece]:
        """Those of the file."""
        return self.file.pieces(path, None if columns is None else [c for c in columns if c not in self.values])

    def read(
        self, path: str, columns: Sequence[str], batch_rows: int, piece: Piece = None
    ) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64], tuple[QuarantinedRow, ...]]]:
        """The file's batches with the folders' columns."""
        try:
            names = [name for name, _ in self.file.columns(path, columns)]
        except EmptyFile:
            return
        added = {name: value for name, value in self.values.items() if name not in names}
        # A column of the file has the number of rows.
        own = [name for name in columns if name not in added] or names[:1]
        for batch, numbers, refused in self.file.read(path, own, batch_rows, piece):
            arrays = [
                pa.array([added[name]] * batch.num_rows, pa.string()) if name in added else batch.column(name)
                for name in columns
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns)), numbers, refused

    def expected_rows(self, path: str) -> int:
        """Those of the file."""
        return self.file.expected_rows(path)
