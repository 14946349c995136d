"""What every sink has in common: predictions come in blocks, wait in files, and are published when all are whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol

import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.examples import Shard

# Rows of a block: what is written at once. A block is cut by counting rows alone, so that the bytes of a file do not
# depend on the batches that the model was given.
BLOCK_ROWS = 1 << 17
# Where predictions wait for their names.
WAITING = ".work/predictions"


@dataclass(frozen=True)
class PendingFile:
    """A file of predictions that is whole, and waits for the others.

    Attributes:
        part: the part of the input whose rows it has.
        index: which of that part's files it is, from 0, within its partition.
        partition: its folder, such as "country=DE"; "" where there are no partitions.
        file: where it waits, within the output's folder.
        rows, bytes: what it has.
        crc32c: in 8 hexadecimal digits.
    """

    part: int
    index: int
    partition: str
    file: str
    rows: int
    bytes: int
    crc32c: str


@dataclass(frozen=True)
class Published:
    """What became of the files that waited.

    Attributes:
        files: of the artifact, in order.
        rows: predictions that are there now.
        destination: where they are, if not in the artifact's files.
        rejected: rows that a lookup table has no place for: part, row, key, its bytes, and part and row of the first
            one with that key; None where it has for all.
    """

    files: tuple[Shard, ...]
    rows: int
    destination: str | None = None
    rejected: pa.Table | None = None


class BlockWriter(Protocol):
    """Writes one file."""

    def write(self, block: pa.RecordBatch) -> None:
        """Adds rows, which are of the schema that the writer was made for, and in memory as one piece."""

    def close(self) -> None:
        """Writes what comes at the end of a file; whoever opened the file closes it."""


class Sink(Protocol):
    """A way to keep predictions.

    Attributes:
        ending: of the files that predictions wait in.
        block_rows: rows that are written at once.
        numbered: blocks have the rows' numbers within their part, as a first column ROW_NUMBER.
    """

    ending: ClassVar[str]
    block_rows: ClassVar[int] = BLOCK_ROWS
    numbered: ClassVar[bool] = False

    def check(self) -> None:
        """Looks whether predictions can go there at all, before any are made.

        Raises:
            UserError: they cannot.
            PlatformError: the service failed.
        """
        return

    def writer(self, file: BinaryIO, schema: pa.Schema) -> BlockWriter:
        """Begins a file of blocks of a schema."""

    def publish(self, folder: str, waiting: Sequence[PendingFile]) -> Published:
        """Gives the predictions their place, in the order of the parts; the same ones, the same bytes.

        Args:
            folder: where the artifact is made.
            waiting: all files, in order.

        Raises:
            UserError: the place cannot be written.
            PlatformError: the disk or the service failed.
        """


ROW_NUMBER = "row number"


class FileSink(Sink, Protocol):
    """A sink whose files are the predictions."""

    def publish(self, folder: str, waiting: Sequence[PendingFile]) -> Published:
        """Gives the files their names below predictions/, numbered in each partition."""
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
        return Published(tuple(shards), sum(shard.rows for shard in shards))
