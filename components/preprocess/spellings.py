"""Spelling check: different spellings of one category, such as True and true, or 2 and 2.0, are reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Problem
from headrace.core.values.missing import LOOKS_MISSING, declaration
from headrace.core.values.spellings import several_spellings

_SHOWN = 3
_BOOLEANS = ("true", "false")


def check_spellings(
    problem: Problem, data: str, statistics: Mapping[str, Any] | None, seen: Mapping[str, int]
) -> list[str]:
    """Checks that each category has one spelling, in columns whose categories the Problem does not declare.

    Args:
        problem: declares the columns.
        data: source of the rows, for errors.
        statistics: as in statistics.json; None if not measured.
        seen: `ValidatedRows.seen` of all rows: the number of text values, and of booleans and numbers, by column.

    Returns:
        A warning for each column with only text in which numbers have several spellings, because text is not changed,
        and for each column with categories that look like missing values.

    Raises:
        DataError: a boolean has several spellings, or a number occurs both as text and as a number.
    """
    warnings = []
    for declared in problem.columns:
        if not isinstance(declared, Categorical) or declared.vocabulary is not None or statistics is None:
            continue
        name = declared.name
        categories = [text for text, _ in statistics["columns"][name]["vocabulary"]]
        if words := LOOKS_MISSING.intersection(categories):
            warnings.append(
                f'warning: "{name}" has categories that look like missing values; {declaration(words)} in the Problem '
                "makes them missing"
            )
        groups = several_spellings(categories)
        if not groups:
            continue
        shown = "; ".join(" and ".join(f'"{text}"' for text in group) for group in groups[:_SHOWN])
        mixed = bool(seen.get(f"typed {name}") and seen.get(f"text {name}"))
        if mixed or any(group[0].lower() in _BOOLEANS for group in groups):
            raise DataError(
                f'the column "{name}" has several spellings of one value',
                where=data,
                expected="one category a value",
                received=shown + (": some files have it as text, others as booleans or numbers" if mixed else ""),
                fix=f'Write them alike, or declare Categorical("{name}", vocabulary=[...]): a typed value is then the '
                "category with its text, and text is the category itself",
            )
        warnings.append(f'warning: "{name}" has categories that are one number: {shown}; text stays as it is written')
    return warnings
