"""Inference of a column's meaning: number, category, identifier or time; and of the texts for missing values."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.sources.csv.numbers import reading_option
from headrace.core.values.columns import as_text, blank, is_bytes, is_text, logical
from headrace.core.values.missing import HARDLY_A_CATEGORY, LOOKS_MISSING
from headrace.core.values.numbers import parse_numbers
from headrace.core.values.scaling import FLOAT32_MAXIMUM

# Whole numbers are categories up to this many distinct values, with this many rows per value on average.
_WHOLE_CATEGORIES, _ROWS_A_CATEGORY = 10, 5
# A column of text is numeric if at most this fraction of it is not a number; these rows are quarantined.
_WRONG = 0.01
# A column in which a smaller fraction is not a number was meant to hold numbers.
_MOSTLY = 0.5
# Text is a name, a remark or an identifier if more than this fraction of the rows has a unique value.
_OWN_VALUES, _FEW_VALUES = 0.5, 20
# Text is free text with at least this many values, most of so many characters and words, and fewer rows per value; and
# with a third of the values in two rows or one, which names of places, such as "Place number 7 of the list", are not.
_REMARKS, _LONG, _WORDS, _ROWS_A_REMARK = 5, 16, 3, 10
_RARE, _RARE_SHARE = 2, 3
_SHOWN = 40
# A column with values in a smaller fraction of the rows, or in fewer rows, is not useful as a feature.
_PRESENT, _PRESENT_ROWS = 0.02, 5
_IDENTIFIER = re.compile(r"(^|[^A-Za-z])([iI][dD]|[kK]ey|KEY|[uU]uid|UUID|[gG]uid|GUID)$|[a-z](Id|ID)$")
_INDEX = re.compile(r"(unnamed: ?[0-9]+|index|rownames?|row[ ._]?(number|nr|no)|)$", re.IGNORECASE)
_TIME = r"^([0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}([T ].*)?|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4}([T ].*)?)$"
# Numbers in another notation than 1234.5, which would be read as text.
_NOTATION = r"^[+-]?([0-9]+|[0-9]{1,3}([.,' \x{a0}\x{202f}\x{2009}][0-9]{3})+)([.,][0-9]+)?$"
_CODE = r"^[A-Z]{2,3}$"
Kind = Literal["numeric", "categorical", "neither"]


@dataclass(frozen=True)
class InferredColumn:
    """The inferred meaning of a column.

    Attributes:
        name: of the column.
        kind: the declaration that fits it.
        rows: number of rows read.
        missing: number of rows without a value.
        distinct: number of distinct values.
        unique: whether every row has a unique value that is not a measured number.
        identifies: whether its name or its values identify rows, so that it can be the key and is not a feature.
        values: of a category: whole numbers in their order, others by frequency.
        rarest: rows of the rarest value, of a category.
        low, high, middle: the minimum, maximum and median, of a number.
        whole: whether its numbers, or the names of its categories, are whole numbers.
        wrong: number of values that are not numbers, of a column in which most are.
        note: why it has no kind, or is not a feature; or a point to check.
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
    """The texts for missing values in a table.

    In a column of numbers, all known texts are accepted; in a column of categories, only those that are rarely a
    category; in a column of codes such as countries, none (NA is Namibia).
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


def infer(name: str, column: pa.ChunkedArray, missing: Sequence[str]) -> InferredColumn:
    """Infers the meaning of a column, with the texts for missing values."""
    values = blank(pa.concat_arrays(column.chunks) if column.num_chunks else column.combine_chunks(), missing)
    text = as_text(values)
    text = pc.if_else(pc.equal(text, ""), None, text)
    counts = _counts(text)
    distinct, absent, rows = len(counts), text.null_count, len(text)
    unique = not absent and distinct == rows > 1
    found = InferredColumn(name, "neither", rows, absent, distinct, unique)
    note = _why_neither(found, values, text)
    if note:
        return dataclasses.replace(found, note=note)
    typed = pa.types.is_boolean(values.type) or is_bytes(values.type)
    number = None if typed else _as_number(found, values)
    if number is not None and number.kind == "neither":
        return number
    if number is not None and not _few_whole_numbers(number):
        return number
    shown = sorted(counts, key=float) if number is not None else list(counts)
    # Whatever is declared missing, such words are no remarks.
    words = {value: count for value, count in counts.items() if value.strip() not in LOOKS_MISSING}
    textual = number is None and not pa.types.is_boolean(values.type)
    own = textual and len(words) > max(_FEW_VALUES, _OWN_VALUES * sum(words.values()))
    why = "" if number is not None else _notation(text)
    if why and (own or unique):
        # Measured numbers, though each may be another, are no key.
        return dataclasses.replace(found, unique=False, note=why)
    if textual and not why and _is_free_text(words):
        own, why = True, f"free text, such as {quoted(_shortened(next(iter(words))))}: {len(words):,} values"
    wrong = _not_numbers(values) if own and not typed else None
    if wrong is not None:
        shown_wrong = quoted(_shortened(wrong[0]))
        why = f"{len(wrong):,} of its {rows - absent:,} values are no finite numbers, such as {shown_wrong}"
        why += _advice(wrong)
    elif own and not why:
        why = f"{distinct:,} values in {rows:,} rows: a model would memorize it"
    return dataclasses.replace(
        found,
        kind="categorical",
        wrong=0 if wrong is None else len(wrong),
        values=tuple(shown),
        rarest=min(counts.values()),
        whole=number is not None,
        identifies=own or unique,
        note=why,
    )


def _counts(text: pa.Array) -> dict[str, int]:
    """The rows of each text, the most frequent first, ties in the order of their text."""
    counted = pc.value_counts(text.drop_null())
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _is_free_text(words: Mapping[str, int]) -> bool:
    """Whether texts are remarks: several words long, and many of them in hardly a row but one."""
    rows = sum(words.values())
    rare = sum(count <= _RARE for count in words.values())
    if len(words) < _REMARKS or rows >= _ROWS_A_REMARK * len(words) or _RARE_SHARE * rare < len(words):
        return False
    long = sum(count for text, count in words.items() if len(text) >= _LONG and len(text.split()) >= _WORDS)
    return long > rows / 2


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _why_neither(found: InferredColumn, values: pa.Array, text: pa.Array) -> str:
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
    if not _all_match(text, _NOTATION):
        return ""
    known = ((value, reading_option(value)) for value in pc.unique(text.drop_null()).to_pylist())
    for value, option in known:
        if option:
            return f'its values look like numbers in another notation, such as "{value}": give {option}'
    return "its values look like numbers in another notation: see --csv decimal= and --csv thousands="


def _as_number(found: InferredColumn, values: pa.Array) -> InferredColumn | None:
    parsed, missing, wrong = parse_numbers(values)
    present = ~missing & ~wrong
    if not present.any() or wrong.sum() > _WRONG * (len(values) - missing.sum()):
        return None
    texts = as_text(values).filter(pa.array(wrong)).to_pylist() if wrong.sum() > 1 else []
    if advice := _advice(texts):
        note = f"{len(texts):,} of its values are numbers in another notation, such as {quoted(texts[0])}{advice}"
        return dataclasses.replace(found, kind="neither", note=note)
    numbers = parsed[present]
    whole = bool((numbers == np.floor(numbers)).all())
    unique = found.unique and whole
    number = dataclasses.replace(
        found,
        kind="numeric",
        missing=int(missing.sum()),
        unique=unique,
        low=float(numbers.min()),
        high=float(numbers.max()),
        middle=float(np.median(numbers)),
        whole=whole,
        wrong=int(wrong.sum()),
    )
    if max(abs(number.low), abs(number.high)) > FLOAT32_MAXIMUM >= abs(number.middle):
        return dataclasses.replace(number, kind="neither", note="a few of its numbers are too large for float32")
    if whole and _IDENTIFIER.search(found.name) and not _few_whole_numbers(number):
        return dataclasses.replace(number, identifies=True, note="an identifier, by its name")
    consecutive = unique and number.high - number.low + 1 == found.rows
    # A column of years may be in order too, and does not number the rows.
    if consecutive and (_INDEX.match(found.name) or (number.low in (0, 1) and _ascending(parsed))):
        return dataclasses.replace(number, identifies=True, note="it numbers the rows")
    return number


def _not_numbers(values: pa.Array) -> list[str] | None:
    """The values that are not finite numbers, as text, where most values are numbers; None in another column."""
    _, missing, wrong = parse_numbers(values)
    if not wrong.any() or wrong.sum() >= _MOSTLY * (len(values) - missing.sum()):
        return None
    texts: list[str] = as_text(values).filter(pa.array(wrong)).to_pylist()
    return texts


def _advice(texts: Iterable[str]) -> str:
    """The option that reads most texts as numbers, for the end of a note; "" where none reads any."""
    options = Counter(filter(None, map(reading_option, texts)))
    return f": give {options.most_common(1)[0][0]}" if options else ""


def _ascending(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    return bool((np.diff(values) == 1).all())


def _few_whole_numbers(number: InferredColumn) -> bool:
    """Whether its numbers are categories: two whole numbers, or few ones with many rows each."""
    if not number.whole or number.wrong or number.high - number.low > 1000:
        return False
    few = number.distinct <= _WHOLE_CATEGORIES and number.rows - number.missing >= _ROWS_A_CATEGORY * number.distinct
    return number.distinct == 2 or few


def _all_match(text: pa.Array, pattern: str) -> bool:
    present = text.drop_null()
    return bool(len(present)) and bool(pc.all(pc.match_substring_regex(present, pattern)).as_py())


def quoted(value: str) -> str:
    """A Python string literal, in double quotes if possible."""
    plain = repr(value)
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in plain and "\\'" not in plain else plain
