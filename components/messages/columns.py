"""Columns of spans: the fields of a message that a Problem reads, and their values in Parquet files and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.core.errors import UsageError
from headrace.core.problem import Numeric, Problem
from headrace.core.saved_model.json.messages import kind_of, shown
from headrace.core.values.scalars import number_of, text_of
from headrace.core.values.spellings import spellings

# The column with the id of each message, by which a span detects repeated messages.
MESSAGE_ID = "headrace_message_id"
Kind = Literal["number", "text"]
Value = float | str | None


class NotStorable(ValueError):
    """A value that the column cannot store; the text names the column, what is expected and what was received."""


@dataclass(frozen=True)
class MessageColumn:
    """A column of spans.

    Attributes:
        name: name of the field in messages, and of the column.
        kind: number (float64) or text.
        spellings: the category that spells a boolean or a number, by its text; see `values.spellings`.
        missing: texts that stand for a missing number.
    """

    name: str
    kind: Kind
    spellings: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()

    def value(self, value: Any) -> Value:
        """The value to store for a JSON value; None if it is missing. The Problem's rules are not applied.

        Raises:
            NotStorable: the column is numeric and the value is not a number; or the column is text, and the value is an
                array, an object, or a text with an unpaired surrogate.
        """
        if value is None or value != value:
            return None
        if self.kind == "number":
            if isinstance(value, str) and value.strip() in self.missing:
                return None
            try:
                return number_of(value)
            except ValueError:
                raise NotStorable(f"{self.name} is {kind_of(value)}, not a number: {shown(value)}") from None
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise NotStorable(f"{self.name} holds half of a surrogate pair, which is not a character") from None
            return value
        try:
            text = text_of(value)
        except TypeError:
            raise NotStorable(f"{self.name} is {kind_of(value)}, not a text or a number: {shown(value)}") from None
        return dict(self.spellings).get(text) or text


def columns_of(problem: Problem) -> tuple[MessageColumn, ...]:
    """The columns that a Problem reads: key, label, features, inputs of derived columns, and the split's.

    Raises:
        UsageError: the Problem has a prepare function, whose input columns have no declared type, or a column with the
            name that is reserved for message ids.
    """
    if problem.reads:
        raise UsageError(
            "the Problem has a prepare function, whose columns have no types that messages could be checked against",
            where=f"Problem {problem.name}",
            expected="a Problem without `prepare`",
            fix="Declare derived columns with `derive`, or prepare the rows before they are published",
        )
    blanks = tuple(problem.missing)
    found: dict[str, MessageColumn] = {}
    if problem.key is not None:
        found[problem.key] = MessageColumn(problem.key, "text")
    for declared in problem.derivation.read:
        name = declared.source_column
        if isinstance(declared, Numeric):
            found.setdefault(name, MessageColumn(name, "number", missing=blanks))
        else:
            known: Mapping[str, str] = spellings(declared.vocabulary or ())
            found.setdefault(name, MessageColumn(name, "text", spellings=tuple(sorted(known.items()))))
    split = problem.splits.column
    others = {*found, *problem.derive, *(each.name for each in problem.derivation.read)}
    if split is not None and split not in others:
        found[split] = MessageColumn(split, "text")
    if MESSAGE_ID in found:
        raise UsageError(
            "the column has the name in which spans hold the ids of messages",
            where=f"Problem {problem.name}",
            received=MESSAGE_ID,
            fix="Rename the column",
        )
    return tuple(found.values())
