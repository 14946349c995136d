"""Sink interface: predictions arrive in blocks, are staged in files, and are published after all files are complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol

import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.examples import Shard

# Rows per block, the unit of writing. Blocks are split by row count only, so that the bytes of a file do not depend on
# the model's batches.
BLOCK_ROWS = 1 << 17
# Subfolder of the staged files.
WAITING = ".work/predictions"


@dataclass(frozen=True)
class PendingFile:
    """A complete, staged file of predictions.

    Attributes:
        part: the index of the part of the input with its rows.
        index: its number among that part's files in its partition, from 0.
        partition: its folder, such as "country=DE"; "" without partitions.
        file: its path within the output's folder.
        rows, bytes: its number of rows and its size.
        crc32c: its checksum, 8 hexadecimal digits.
    """

    part: int
    index: int
    partition: str
    file: str
    rows: int
    bytes: int
    crc32c: str


@dataclass(frozen=True)
class PublishedFiles:
    """The result of publishing.

    Attributes:
        files: of the artifact, in order.
        rows: number of published predictions.
        destination: where the predictions are, if not in the artifact's files.
        rejected: rows that a prediction table cannot hold, because an earlier row has their key: part, row, key, and
            first_part and first_row of that row; None if no row was rejected.
    """

    files: tuple[Shard, ...]
    rows: int
    destination: str | None = None
    rejected: pa.Table | None = None


class BlockWriter(Protocol):
    """Writes one file."""

    def write(self, block: pa.RecordBatch) -> None:
        """Adds rows, which have the writer's schema and are contiguous in memory."""

    def close(self) -> None:
        """Writes the end of the file; the code that opened the file closes it."""


class Sink(Protocol):
    """An output format of predictions.

    Attributes:
        ending: suffix of the staged files.
        block_rows: rows per block.
        numbered: whether blocks have a first column ROW_NUMBER with the rows' numbers in their part.
    """

    ending: ClassVar[str]
    block_rows: ClassVar[int] = BLOCK_ROWS
    numbered: ClassVar[bool] = False

    def check(self) -> None:
        """Checks that the destination is writable, before any prediction is computed.

        Raises:
            UserError: it is not writable.
            PlatformError: the service failed.
        """
        return

    def writer(self, file: BinaryIO, schema: pa.Schema) -> BlockWriter:
        """Starts a file of blocks with a schema."""

    def publish(self, folder: str, waiting: Sequence[PendingFile]) -> PublishedFiles:
        """Publishes the predictions in the order of the parts; equal predictions give equal bytes.

        Args:
            folder: the folder of the artifact in progress.
            waiting: all staged files, in order.

        Raises:
            UserError: the destination is not writable.
            PlatformError: the disk or the service failed.
        """


ROW_NUMBER = "row number"


class FileSink(Sink, Protocol):
    """A sink whose files are the predictions."""

    def publish(self, folder: str, waiting: Sequence[PendingFile]) -> PublishedFiles:
        """Renames the files to predictions/, numbered in each partition."""
        shards = []
        partitions: dict[str, list[PendingFile]] = {}
        for file in waiting:
            partitions.setdefault(file.partition, []).append(file)
        for partition in sorted(partitions):
            ordered = sorted(partitions[partition], key=lambda file: (file.part, file.index))
            for number, file in enumerate(ordered):
                name = f"part-{number:05d}-of-{len(ordered):05d}.{self.ending}"
                path = "/".join(["predictions", *([partition] if partition else []), name])
                storage.move(storage.join(folder, file.file), storage.join(folder, path))
                shards.append(Shard(path, file.rows, file.bytes, file.crc32c))
        return PublishedFiles(tuple(shards), sum(shard.rows for shard in shards))
