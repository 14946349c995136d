"""Stage context: the problem, the places and the limits that every stage of the pipeline needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from headrace.core import storage
from headrace.core.artifacts.quarantine import Fault
from headrace.core.errors import DataError, PlatformError
from headrace.core.problem import Problem
from headrace.core.rows.splits import Sharding

Addition = Literal["", "span", "append"]

# Values of a batch, as a rule, and the fewest and the most rows: calls take time, and wide batches memory.
_BATCH_VALUES = 1 << 20
_FEWEST_ROWS, _MOST_ROWS = 1 << 15, 1 << 16


def rows_per_batch(columns: int) -> int:
    """The maximum rows of a batch of so many columns: 65,536 of up to 16 columns, and 32,768 of 32 or more."""
    return rows_of(_BATCH_VALUES, columns, _FEWEST_ROWS, _MOST_ROWS)


def rows_of(values: int, columns: int, fewest: int, most: int) -> int:
    """As many rows of so many columns as hold about `values` values, from `fewest` to `most`."""
    return max(fewest, min(most, values // max(columns, 1)))


@dataclass(frozen=True)
class PreprocessContext:
    """Context of all stages.

    Attributes:
        problem: declares the columns and their rules.
        sharding: distribution of rows over shards.
        output: the folder that becomes the artifact.
        batch_rows: maximum rows per batch.
        marks: faults found in an earlier pass over the whole data, by part and row; see `marks`.
        work_folder: folder for files between stages; `.work` in the output if empty.
        earlier: for a Problem without a key, the number of existing rows by content, in the Examples to add to.
        spills: whether rows are stored in files of the work folder, or sent through the runner.
        addition: how the rows are added to Examples, or None; checks of all rows then run on the merged Examples.
    """

    problem: Problem
    sharding: Sharding
    output: str
    batch_rows: int
    marks: Mapping[int, Mapping[int, Fault]] = field(default_factory=dict)
    addition: Addition = ""
    _: KW_ONLY
    work_folder: str = ""
    earlier: Mapping[str, int] = field(default_factory=dict)
    spills: bool = True

    @property
    def work(self) -> str:
        """The folder for files between stages: local if `spills`, else any URI."""
        return self.work_folder or storage.join(self.output, ".work")

    def put_aside(self, name: str, content: bytes) -> None:
        """Writes a file of the work folder; a retry writes the same file again."""
        if self.spills:
            with self.spilling():
                (Path(self.work) / name).write_bytes(content)
        else:
            storage.write_bytes(storage.join(self.work, name), content)

    @contextmanager
    def spilling(self) -> Iterator[None]:
        """Translates errors of writing to the work folder; a removed work folder is a platform error.

        Raises:
            UsageError: it cannot be written.
            PlatformError: the folder was removed, or the disk is full or failed.
        """
        with storage.writing(self.output):
            try:
                yield
            except FileNotFoundError as error:
                raise PlatformError("the work folder is gone", where=self.work, received=str(error)) from error

    def aside(self, pattern: str) -> list[str]:
        """The files of the work folder that match, sorted by name."""
        if not storage.is_remote(self.work):
            return sorted(str(path) for path in Path(self.work).glob(pattern))
        try:
            return storage.list_files(storage.join(self.work, pattern), (PurePath(pattern).suffix,))
        except DataError:
            return []
