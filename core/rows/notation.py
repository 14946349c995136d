"""Numbers in another notation, such as 1,234: as a group in quarantine, they would leave a biased sample."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pyarrow as pa

from headrace.core.errors import DataError
from headrace.core.rules.fault import RuleViolation
from headrace.core.sources.csv.numbers import reading_option
from headrace.core.text import counted
from headrace.core.values.columns import as_text, is_text

# As many rows as a table may have by mistake.
_STRAY_ROWS, _STRAY_SHARE = 1, 0.001
_NO_OPTION = "Write the column as numbers where the table is written, or convert it in `prepare` of the Problem file"
_COUNT = re.compile(r"marked (.*?) in (.*)\Z", re.DOTALL)


def marked_seen(column: pa.Array, faults: Iterable[RuleViolation], *, csv: bool) -> Counter[str]:
    """Counts for `check_notation` of a batch.

    Args:
        column: as it was read.
        faults: of the column.
        csv: whether it is of a CSV file: texts of other formats have no dialect.

    Returns:
        "marked OPTION in COLUMN": the values that are no numbers, and would be with the option of the CSV dialect; the
        option is empty without `csv`.
    """
    seen: Counter[str] = Counter()
    for fault in faults:
        if fault.reason == "not_a_number" and fault.rows.any() and is_text(column.type):
            # Views of texts cannot be filtered.
            texts = as_text(column).filter(pa.array(fault.rows)).to_pylist()
            options = filter(None, map(reading_option, texts))
            seen.update(f"marked {option if csv else ''} in {fault.column}" for option in options)
    return seen


def check_notation(data: str, rows: int, seen: Mapping[str, int]) -> list[str]:
    """Checks that quarantine does not hold the numbers of one notation, such as all above 999, as a group.

    Args:
        data: source of the rows, for errors.
        rows: number of rows read.
        seen: the sum of `marked_seen` over all batches.

    Returns:
        A warning for each column in which so few values are written so that they may be mistakes.

    Raises:
        DataError: of a column, more values than one and than a thousandth of the rows are.
    """
    warnings = []
    for key, count in seen.items():
        if not (match := _COUNT.match(key)):
            continue
        option, name = match.groups()
        if count > max(_STRAY_ROWS, _STRAY_SHARE * rows):
            raise DataError(
                f'the column "{name}" has numbers in another notation',
                where=data,
                expected="numbers such as 1234.5 in every row: without those in quarantine, the rest would be biased",
                received=f"{counted(count, 'row')} of {rows:,} in quarantine",
                fix=f"Give {option}" if option else _NO_OPTION,
            )
        marks = f"that {option} reads" if option else "for their marks, such as 1,234"
        warnings.append(f'warning: "{name}" has {count:,} of its numbers in quarantine {marks}')
    return warnings
