"""Maximum fractions of missing and unknown values in the data as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric
from headrace.core.text import counted

COLUMNS = ["column", "measure", "seen", "expected", ""]


def check_shares(
    columns: Iterable[Numeric | Categorical], data: str, rows: int, seen: Callable[[str, str], int], *, fix: str = ""
) -> None:
    """Checks the fractions of missing and unknown values among the valid rows.

    Args:
        columns: the columns with max_missing or max_unknown.
        data: source of the rows, for the message.
        rows: number of rows.
        seen: number of rows whose value is "missing" or "unknown", by that word and the column's name.
        fix: the advice; by default, to raise the bound in the Problem file.

    Raises:
        DataError: a fraction is above its bound, with a table of all that were checked.
    """
    judged: list[tuple[str, str, float, float]] = []
    for declared in columns:
        bounds = {"missing": declared.max_missing}
        if isinstance(declared, Categorical):
            bounds["unknown"] = declared.max_unknown
        for measure, bound in bounds.items():
            if bound is not None and rows:
                judged.append((declared.name, measure, seen(measure, declared.name) / rows, bound))
    broken = [row for row in judged if row[2] > row[3]]
    if not broken:
        return
    name, measure, share, bound = broken[0]
    raise DataError(
        f'more values of "{name}" are {measure} than the Problem allows' + and_more(len(broken)),
        where=data,
        expected=f"at most {100 * bound:g} % of {counted(rows, 'row')}",
        received=f"{share:.2%} ({counted(seen(measure, name), 'row')})",
        fix=fix or f"Correct the rows, or raise max_{measure} in the Problem file",
        table=[
            COLUMNS,
            *(
                [name, f"{measure} values", f"{share:.2%}", f"at most {100 * bound:g} %", mark(share, bound)]
                for name, measure, share, bound in judged
            ),
        ],
    )


def and_more(count: int) -> str:
    """The addition to a message that names only the first of several columns."""
    return f", and {count - 1} more" if count > 1 else ""


def mark(seen: float, bound: float) -> str:
    """The last cell of a row of the table."""
    return "too much" if seen > bound else "ok"
