"""Errors: the classes that a user can meet, and the exit status of each.

HeadraceError
├── UserError            exit 2   the user's mistake: a retry with the same input fails again
│   ├── ProblemError              the Problem file is wrong
│   ├── DataError                 the rows, or the path to them, are wrong
│   │   ├── UnreadableFile        a file is damaged, so that none of its rows can be trusted
│   │   └── EmptyFile             a file has neither rows nor columns
│   └── UsageError                an option or a path is wrong
├── NothingToDo          exit 0   the data has no rows: the run ends early, and nothing is written
├── GateRefused          exit 3   the gate refused the model: nothing failed, nothing is deployed
└── PlatformError        exit 75  the platform failed: the same command may succeed later (EX_TEMPFAIL)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any, ClassVar, Self

# Characters of a part of a paragraph: a longer one is shown by its beginning and its end.
_SHOWN, _SHOWN_AT_END = 1_500, 300
# The beginning of TensorFlow's message about a failed allocation.
_OUT_OF_MEMORY = "OOM when allocating"


class HeadraceError(Exception):
    """An error that is shown as one paragraph, and never as a traceback.

    Args:
        what: what is wrong, as a sentence without its full stop.
        where: the file, field, row or option that it is about.
        expected: what would have been valid.
        received: what was received instead.
        fix: what to do, as a sentence without its full stop, or a question.
        table: expected and received of many items, as rows of strings; the first row holds the column names. It is
            shown below the paragraph.
    """

    exit_status: ClassVar[int] = 1
    # Beam replaces an error of a transform by one of the same class with only a message, unless it has this mark.
    _tagged_with_step: ClassVar[bool] = True

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        received: str | None = None,
        fix: str | None = None,
        table: Sequence[Sequence[str]] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.expected = expected
        self.received = received
        self.fix = fix
        self.table = None if table is None else [list(row) for row in table]

    @property
    def paragraph(self) -> str:
        """Where, what, expected, received and fix, as one paragraph; a very long part is shortened."""
        what = _shown(self.what)
        parts = [f"{_shown(self.where)}: {what}." if self.where else f"{what}."]
        if self.expected is not None:
            parts.append(f"Expected {_shown(self.expected)}.")
        if self.received is not None:
            parts.append(f"Received: {_shown(self.received)}.")
        if self.fix is not None:
            parts.append(self.fix if self.fix.endswith("?") else f"{self.fix}.")
        return " ".join(parts)

    @property
    def text(self) -> str:
        """The paragraph and, if there is a table, the table below it in aligned columns."""
        if not self.table:
            return self.paragraph
        table = [[_shown(cell) for cell in row] for row in self.table]
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        return "\n".join([self.paragraph, "", *(f"  {line.rstrip()}" for line in lines)])

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` creates the same error in another process."""
        return {
            "kind": type(self).__name__,
            "exit_status": self.exit_status,
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "received": self.received,
            "fix": self.fix,
            **({} if self.table is None else {"table": self.table}),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> HeadraceError:
        """The error of a JSON object from `to_json`; an unknown kind becomes a PlatformError."""
        kinds: dict[str, type[HeadraceError]] = {kind.__name__: kind for kind in _every_kind(HeadraceError)}
        kind = kinds.get(str(data.get("kind")), PlatformError)
        return kind(
            str(data.get("what", "an error without a description")),
            where=data.get("where"),
            expected=data.get("expected"),
            received=data.get("received"),
            fix=data.get("fix"),
            table=data.get("table"),
        )

    def at(self, where: str) -> Self:
        """This error, with `where` set if it was not."""
        if self.where is None:
            self.where = where
        return self


def exhausted(error: BaseException) -> PlatformError | None:
    """The error of a full disk or memory, which libraries in C++ report only as a message; None for other messages."""
    message = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in message:
        return PlatformError("the disk is full", received=message, fix="Free some space, then run the same command")
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY in message:
        received = message or type(error).__name__
        fix = "Use a machine with more memory, or a smaller model or batch"
        return PlatformError("there is not enough memory", received=received, fix=fix)
    return None


def _shown(text: str) -> str:
    if len(text) > _SHOWN + _SHOWN_AT_END:
        text = f"{text[:_SHOWN]} ... {text[-_SHOWN_AT_END:]} ({len(text):,} characters)"
    return _encodable(text)


def _encodable(text: str) -> str:
    """A text that each stream can write: half of a surrogate pair is written as its number."""
    return text.encode("utf-8", "backslashreplace").decode()


class UserError(HeadraceError):
    """A mistake in the input. Exit 2."""

    exit_status = 2


class ProblemError(UserError):
    """The Problem file is wrong. Exit 2."""


class DataError(UserError):
    """The rows are wrong, or not at the given path. Exit 2."""


class UnreadableFile(DataError):
    """A file is damaged. Among other files it is quarantined as a whole; a single one fails the run. Exit 2."""


class EmptyFile(DataError):
    """A file has neither rows nor columns; among several files, it counts as one without rows."""


class UsageError(UserError):
    """An option, an argument or a path is wrong. Exit 2."""


class GateRefused(HeadraceError):
    """The gate refused the model. Exit 3."""

    exit_status = 3


class NothingToDo(HeadraceError):
    """The data has no rows, and the Problem skips such runs. Exit 0."""

    exit_status = 0


class PlatformError(HeadraceError):
    """The platform failed, and a retry may help. Exit 75."""

    exit_status = 75


def _every_kind(kind: type[HeadraceError]) -> list[type[HeadraceError]]:
    return [kind, *(inner for child in kind.__subclasses__() for inner in _every_kind(child))]
