"""Prepare function: user code that computes columns that a Problem declares from other columns of the table.

Preprocessing and batch scoring run it; an endpoint does not, and expects the computed columns. It is sent to workers as
text, with the user's modules that the file imports, and is executed once per process.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headrace.core import storage
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.model import open_model
from headrace.core.errors import DataError, PlatformError, ProblemError
from headrace.core.problem.file import ProblemFile, execute, own_line
from headrace.core.problem.user_modules import UserModule
from headrace.core.sources.source import Rows
from headrace.core.values.mixed import as_plain_text


@dataclass(frozen=True)
class Prepare:
    """A prepare function.

    Attributes:
        path: of the Problem file that defines it, for messages.
        source: the file's text.
        modules: the user's modules that it imports.
        reads: the columns of the table that are passed to it, in this order.
    """

    path: str
    source: str
    modules: tuple[UserModule, ...]
    reads: tuple[str, ...]

    @classmethod
    def of(cls, file: ProblemFile) -> Prepare | None:
        """The prepare function of a Problem file; None without one."""
        reads = tuple(file.problem.reads)
        return cls(file.path, file.source, file.modules, reads) if reads else None

    @classmethod
    def of_model(cls, uri: str) -> Prepare | None:
        """The prepare function of a Model, or of the live Model of an Endpoint folder; None without one.

        The Model's copy of the Problem file is executed, so its files must be those that training wrote.

        Raises:
            DataError: one of these files changed, or is missing.
        """
        endpoint = storage.join(uri, "endpoint.json") if uri else ""
        if uri and storage.exists(endpoint):
            uri = storage.join(uri, "versions", str(storage.read_json(endpoint).get("live")))
        if not uri or not is_there("Model", uri):
            return None
        model = open_model(uri)
        if not model.problem.get("reads"):
            return None
        recorded = model.training.get("code")
        texts: dict[str, str] = {}
        for name, digest in (recorded if isinstance(recorded, dict) else {"problem.py": None}).items():
            where = storage.join(uri, name)
            content = storage.read_bytes(where) if storage.exists(where) else None
            if content is None or hashlib.sha256(content).hexdigest() != digest:
                raise DataError(
                    "the Model's code is not what was trained with, and is not executed",
                    where=where,
                    expected=f"SHA-256 {str(digest)[:12]}",
                    received="no file" if content is None else hashlib.sha256(content).hexdigest()[:12],
                    fix="Copy the Model again, or train again",
                )
            texts[name] = content.decode()
        source = texts.pop("problem.py")
        modules = tuple(UserModule(_name(f), f, storage.join(uri, f), text) for f, text in texts.items())
        return cls(storage.join(uri, "problem.py"), source, modules, tuple(map(str, model.problem["reads"])))

    def __call__(self, rows: Rows) -> Rows:
        """Rows with the columns that the function returns, added or replacing columns of the same name.

        Args:
            rows: with the columns of `reads` at least.

        Raises:
            ProblemError: the function fails, or does not return the same number of rows.
        """
        function = _function(self)
        read = [as_plain_text(rows.batch.column(name)) for name in self.reads]
        given = pa.RecordBatch.from_arrays(read, names=list(self.reads))
        try:
            made = function(given)
        except PlatformError:
            # Such as a SIGTERM at this moment, which is no fault of the function.
            raise
        except Exception as error:
            raise ProblemError(
                "prepare failed",
                where=self._line(error),
                received=f"{type(error).__name__}: {error}".rstrip("."),
                fix=f"It was given the columns {', '.join(f'{field.name} ({field.type})' for field in given.schema)}",
            ) from error
        self._check(given, made)
        columns = dict(zip(rows.batch.schema.names, rows.batch.columns, strict=True))
        columns |= dict(zip(made.schema.names, made.columns, strict=True))
        batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        return dataclasses.replace(rows, batch=batch, unprepared=rows.batch)

    def check_rows(self, rows: Rows) -> None:
        """Checks on some rows that the function's result for a row does not depend on the rest of its batch.

        Raises:
            ProblemError: it depends on them; also errors of `__call__`.
        """
        count = rows.batch.num_rows
        if count < 2:
            return
        halves = [rows.batch.slice(0, count // 2), rows.batch.slice(count // 2)]
        whole = self(rows).batch
        parts = [self(dataclasses.replace(rows, batch=half)).batch for half in halves]
        for name in whole.schema.names:
            together = whole.column(name).to_pylist()
            apart = [value for part in parts for value in part.column(name).to_pylist()]
            if repr(together) == repr(apart):
                continue
            row = next(
                n for n, (one, other) in enumerate(zip(together, apart, strict=True)) if repr(one) != repr(other)
            )
            raise ProblemError(
                "prepare gives a row other values in another batch",
                where=self.path,
                expected="each row's values to follow from that row alone: batches have any size",
                received=f'column "{name}" of row {row + 1}: {together[row]!r}, and {apart[row]!r} in a smaller batch',
                fix="Use numbers that stand in the file in the place of means, ranks or random numbers of the batch",
            )

    def _check(self, given: pa.RecordBatch, made: object) -> None:
        expected = f"a pyarrow.RecordBatch of {given.num_rows} rows"
        received = None
        if not isinstance(made, pa.RecordBatch):
            received = f"a value of type {type(made).__module__}.{type(made).__name__}"
        elif made.num_rows != given.num_rows:
            received = f"{made.num_rows} rows"
            expected += ", in their order: rules of the Problem put rows in quarantine"
        elif len(set(made.schema.names)) != made.num_columns:
            expected, received = "columns of different names", ", ".join(made.schema.names)
        if received is not None:
            raise ProblemError(
                "prepare gives something else than prepared rows",
                where=self.path,
                expected=expected,
                received=received,
                fix="Give the batch back with columns added, as batch.append_column(name, values)",
            )

    def _line(self, error: Exception) -> str:
        texts = {self.path: self.source, **{module.place: module.source for module in self.modules}}
        return own_line(error.__traceback__, texts) or f"{self.path}, prepare"


def prepared(rows: Rows) -> Rows:
    """Rows after the prepare function of their part; unchanged without one."""
    prepare = rows.part.prepare
    return rows if prepare is None else prepare(rows)


def prepared_columns(reads: Sequence[str], wanted: Sequence[str], available: Sequence[str], where: str) -> list[str]:
    """The columns of a file to read, where a prepare function computes others.

    Args:
        reads: the columns that the function reads.
        wanted: the columns needed from its result, any of which it may compute.
        available: the file's columns.
        where: the file.

    Raises:
        DataError: the file lacks a column of `reads`.
    """
    for name in reads:
        if available.count(name) != 1:
            raise DataError(
                f'the column "{name}", which prepare reads, does not exist'
                if name not in available
                else f'there are several columns named "{name}", which prepare reads',
                where=where,
                expected=f"each column of reads={list(reads)!r} of the Problem once",
                received=", ".join(available),
            )
    return [*reads, *(name for name in wanted if name in available and name not in reads)]


@functools.cache
def _function(prepare: Prepare) -> Callable[[pa.RecordBatch], Any]:
    function: Callable[[pa.RecordBatch], Any] = execute(prepare.path, prepare.source, prepare.modules)["prepare"]
    return function


def _name(file: str) -> str:
    return file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
