"""Quarantine budget: the fraction of rows, and of files, that may be quarantined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.core.errors import DataError
from headrace.core.text import counted, listed


def budget_table(reasons: Mapping[str, int], rows_in: int, budget: float) -> list[list[str]]:
    """Table of quarantined rows by reason, and of their total compared with the budget."""
    counted = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    total = sum(reasons.values())
    return [
        ["reason", "rows", "share", "expected"],
        *([reason, f"{count:,}", f"{count / rows_in:.2%}", ""] for reason, count in counted),
        ["all", f"{total:,}", f"{total / rows_in:.2%}", f"at most {100 * budget:g} %"],
    ]


def check_damaged_files(damaged: Sequence[DataError], files: int, budget: float, *, where: str, raise_it: str) -> None:
    """Checks the number of damaged files, which are quarantined as a whole.

    One of several files may always be damaged, unless the budget is 0.

    Args:
        damaged: the errors of the damaged files.
        files: number of all files.
        budget: maximum fraction of damaged files.
        where: the location of the files, for the message.
        raise_it: the way to raise the budget, for the message.

    Raises:
        DataError: too many files are damaged; if the only file is damaged, its error.
    """
    if damaged and files == 1:
        raise damaged[0]
    allowed = max(1, int(budget * files)) if budget else 0
    if len(damaged) <= allowed:
        return
    reasons = {error.what for error in damaged}
    raise DataError(
        f"{len(damaged)} of {files} files cannot be read",
        where=where,
        expected=f"at most {100 * budget:g} % of the files ({allowed})",
        received="; ".join(f"{error.where}: {error.what}" for error in damaged[:3]),
        fix=(damaged[0].fix if len(reasons) == 1 else None) or f"Restore or leave out these files, or {raise_it}",
    ) from damaged[0]


def left_out(files: Sequence[tuple[str, str]]) -> str:
    """The warning for one or more damaged files that are quarantined as a whole.

    Args:
        files: name and error paragraph of each; files of several folders may have one name.
    """
    names, errors = zip(*files, strict=True)
    rows, first = ("its rows are all", "") if len(files) == 1 else ("their rows are all", "The first error: ")
    what = f"{counted(len(files), 'file')} cannot be read, and {rows} left out: {listed(names)}"
    return f"warning: {what}. {first}{errors[0]}"
