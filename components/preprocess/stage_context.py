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


@dataclass(frozen=True)
class StageContext:
    """What every stage needs to know.

    Attributes:
        problem: what is asked of the rows.
        sharding: which shard each row belongs to.
        output: the folder that becomes the artifact.
        batch_rows: rows of a batch, at most.
        marks: faults that a look at the whole data found before, by part and row; see `marks`.
        work_folder: where the stages leave files to each other; `.work` in the output if empty.
        spills: whether rows wait in files of the work folder, or travel through the runner.
        addition: what the rows are added to Examples as, if they are; what is asked of the whole is asked there.
    """

    problem: Problem
    sharding: Sharding
    output: str
    batch_rows: int
    marks: Mapping[int, Mapping[int, Fault]] = field(default_factory=dict)
    addition: Addition = ""
    _: KW_ONLY
    work_folder: str = ""
    spills: bool = True

    @property
    def work(self) -> str:
        """The folder where the stages leave files to each other: local if `spills`, any URI otherwise."""
        return self.work_folder or storage.join(self.output, ".work")

    def put_aside(self, name: str, content: bytes) -> None:
        """Writes a file of the work folder; a second try writes the same one again."""
        if self.spills:
            with self.spilling():
                (Path(self.work) / name).write_bytes(content)
        else:
            storage.write_bytes(storage.join(self.work, name), content)

    @contextmanager
    def spilling(self) -> Iterator[None]:
        """Turns what the system says of writing to the work folder into our errors; that it is gone is no user's fault.

        Raises:
            UsageError: it cannot be written.
            PlatformError: it is gone, the disk is full or failed.
        """
        with storage.writing(self.output):
            try:
                yield
            except FileNotFoundError as error:
                raise PlatformError("the work folder is gone", where=self.work, received=str(error)) from error

    def aside(self, pattern: str) -> list[str]:
        """The files of the work folder that match, in the order of their names."""
        if not storage.is_remote(self.work):
            return sorted(str(path) for path in Path(self.work).glob(pattern))
        try:
            return storage.list_files(storage.join(self.work, pattern), (PurePath(pattern).suffix,))
        except DataError:
            return []
