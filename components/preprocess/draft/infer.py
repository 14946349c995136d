"""Columns of a table as what they mean: numbers, categories, identifiers, times; and the texts of missing values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.statistics.measure import CategoricalStatistics, NumericStatistics
from headrace.core.values.columns import as_text, blank, is_text, logical
from headrace.core.values.missing import HARDLY_A_CATEGORY, LOOKS_MISSING
from headrace.core.values.numbers import parse_numbers

# So many distinct whole numbers at most, each of them in so many rows on average at least, are categories.
_WHOLE_CATEGORIES, _ROWS_A_CATEGORY = 10, 5
# A column of text of which at most this fraction is no number is one of numbers, with rows for the quarantine.
_WRONG = 0.01
# Text of which more than this fraction of the rows has a value of its own is a name, a remark or an identifier.
_OWN_VALUES, _FEW_VALUES = 0.5, 20
# A column with values in fewer rows than this fraction, or than so many, has nothing to learn from.
_PRESENT, _PRESENT_ROWS = 0.02, 5
_IDENTIFIER = re.compile(r"(^|[^A-Za-z])([iI][dD]|[kK]ey|KEY|[uU]uid|UUID|[gG]uid|GUID)$|[a-z](Id|ID)$")
_INDEX = re.compile(r"(unnamed: ?[0-9]+|index|rownames?|row[ ._]?(number|nr|no)|)$", re.IGNORECASE)
_TIME = r"^([0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}([T ].*)?|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4}([T ].*)?)$"
# Numbers in another notation than 1234.5, which are text as they stand.
_NOTATION = r"^[+-]?[0-9]{1,3}([.,' ][0-9]{3})*([.,][0-9]+)?$"
_CODE = r"^[A-Z]{2,3}$"
_FLOAT32 = float(np.finfo(np.float32).max)
Kind = Literal["numeric", "categorical", "neither"]


@dataclass(frozen=True)
class Inferred:
    """What a column seems to be.

    Attributes:
        name: the column's.
        kind: what it can be declared as.
        rows: rows looked at.
        missing: those without a value.
        distinct: different values.
        unique: whether every row has a value of its own, which is not a measured number.
        identifies: whether it is one of those by its name or values, so that it may be the key and is no feature.
        values: the values of a category; the numbers of a column of whole numbers in their order, others by frequency.
        rarest: rows of the rarest value, of a category.
        low, high, middle: the minimum, maximum and median, of a number.
        whole: whether its numbers, or the names of its categories, are whole numbers.
        wrong: values that are no numbers, of a number.
        note: why it is neither, or no feature; or what to look at.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    distinct: int
    unique: bool
    identifies: bool = False
    values: tuple[str, ...] = ()
    rarest: int = 0
    low: float = 0.0
    high: float = 0.0
    middle: float = 0.0
    whole: bool = False
    wrong: int = 0
    note: str = ""

    @property
    def called_identifier(self) -> bool:
        """Whether its name says that it identifies something: "record_id", "PassengerId"."""
        return bool(_IDENTIFIER.search(self.name))

    @property
    def usable(self) -> bool:
        """Whether it can be a feature."""
        return self.kind != "neither" and not self.identifies


def missing_texts(columns: Iterable[pa.ChunkedArray]) -> tuple[str, ...]:
    """The texts that stand for missing values in a table.

    In a column of numbers it is any text of the known ones; in one of categories only those that are hardly a category,
    and none in a column of codes such as countries (NA is Namibia).
    """
    found: set[str] = set()
    for column in columns:
        if not is_text(column.type):
            continue
        text = pc.utf8_trim_whitespace(logical(pa.concat_arrays(column.chunks)))
        used = LOOKS_MISSING.intersection(pc.unique(text).to_pylist())
        if not used:
            continue
        rest = blank(text, [*used, ""]).drop_null()
        if len(rest) and not parse_numbers(rest)[2].any():
            found.update(used)
        elif not _are_codes(rest):
            found.update(used & HARDLY_A_CATEGORY)
    return tuple(sorted(found))


def _are_codes(text: pa.Array) -> bool:
    return len(pc.unique(text)) >= 10 and _all_match(text, _CODE)


def infer(name: str, column: pa.ChunkedArray, missing: Sequence[str]) -> Inferred:
    """What a column seems to be, given the texts of missing values."""
    values = blank(pa.concat_arrays(column.chunks) if column.num_chunks else column.combine_chunks(), missing)
    text = as_text(values)
    text = pc.if_else(pc.equal(text, ""), None, text)
    measured = CategoricalStatistics.measure(text)
    distinct, absent, rows = int(pc.count_distinct(text).as_py()), len(text) - measured.count, len(text)
    unique = not absent and distinct == rows > 1
    found = Inferred(name, "neither", rows, absent, distinct, unique)
    note = _why_neither(found, values, text)
    if note:
        return dataclasses.replace(found, note=note)
    number = None if pa.types.is_boolean(values.type) else _as_number(found, values)
    if number is not None and number.kind == "neither":
        return number
    if number is not None and not _few_whole_numbers(number):
        return number
    counts = measured.ordered()
    shown = sorted(counts, key=float) if number is not None else list(counts)
    own = number is None and not pa.types.is_boolean(values.type) and distinct > _FEW_VALUES
    own = own and distinct > _OWN_VALUES * (rows - absent)
    why = (
        f"{distinct:,} values in {rows:,} rows: it would be learned by heart"
        if own
        else ""
        if number is not None
        else _notation(text)
    )
    return dataclasses.replace(
        found,
        kind="categorical",
        values=tuple(shown),
        rarest=min(counts.values()),
        whole=number is not None,
        identifies=own or unique,
        note=why,
    )


def _why_neither(found: Inferred, values: pa.Array, text: pa.Array) -> str:
    present = found.rows - found.missing
    if not found.distinct:
        return "it has no values"
    if pa.types.is_temporal(values.type) or _all_match(text, _TIME):
        return "a date or a time: derive numbers or categories from it"
    if present < max(_PRESENT_ROWS if found.missing else 0, _PRESENT * found.rows):
        return f"{found.missing / found.rows:.1%} of the rows have no value"
    if found.distinct == 1:
        return f"it is always {quoted(text.drop_null()[0].as_py()[:60])}"
    return ""


def _notation(text: pa.Array) -> str:
    if _all_match(text, _NOTATION):
        return "its values look like numbers in another notation: see --csv decimal= and --csv thousands="
    return ""


def _as_number(found: Inferred, values: pa.Array) -> Inferred | None:
    parsed, missing, wrong = parse_numbers(values)
    present = ~missing & ~wrong
    if not present.any() or wrong.sum() > _WRONG * (len(values) - missing.sum()):
        return None
    measured = NumericStatistics.measure(pa.array(parsed[present]))
    whole = bool((parsed[present] == np.floor(parsed[present])).all())
    unique = found.unique and whole
    number = dataclasses.replace(
        found,
        kind="numeric",
        missing=int(missing.sum()),
        unique=unique,
        low=measured.minimum,
        high=measured.maximum,
        middle=float(np.median(parsed[present])),
        whole=whole,
        wrong=int(wrong.sum()),
    )
    if max(abs(number.low), abs(number.high)) > _FLOAT32:
        return dataclasses.replace(number, kind="neither", note="its numbers are too large for float32")
    if whole and _IDENTIFIER.search(found.name) and not _few_whole_numbers(number):
        return dataclasses.replace(number, identifies=True, note="an identifier, by its name")
    consecutive = unique and number.high - number.low + 1 == found.rows
    # A table of years has them in order too, and they are no row numbers.
    if consecutive and (_INDEX.match(found.name) or (number.low in (0, 1) and _ascending(parsed))):
        return dataclasses.replace(number, identifies=True, note="it numbers the rows")
    return number


def _ascending(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    return bool((np.diff(values) == 1).all())


def _few_whole_numbers(number: Inferred) -> bool:
    """Whether its numbers name categories: two whole numbers, or few that many rows share."""
    if not number.whole or number.wrong or number.high - number.low > 1000:
        return False
    few = number.distinct <= _WHOLE_CATEGORIES and number.rows - number.missing >= _ROWS_A_CATEGORY * number.distinct
    return number.distinct == 2 or few


def _all_match(text: pa.Array, pattern: str) -> bool:
    present = text.drop_null()
    return bool(len(present)) and bool(pc.all(pc.match_substring_regex(present, pattern)).as_py())


def quoted(value: str) -> str:
    """A Python string, in double quotes where it can be."""
    plain = repr(value)
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in plain and "\\'" not in plain else plain
