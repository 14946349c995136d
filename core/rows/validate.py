"""Checks rows against the Problem, column by column: what passes is typed, what does not goes to quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, Reason
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.sources.source import Rows

Mask = npt.NDArray[np.bool_]

# Text that stands for a missing number: what pandas, R and Arrow write. A category may well be called NA (Namibia),
# so there only an empty field is missing.
_MISSING_NUMBERS = ("", "na", "n/a", "#n/a", "nan", "-nan", "null", "none")
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_INFINITY = r"^[+-]?[iI][nN][fF]([iI][nN][iI][tT][yY])?$"
_FLOAT32_MAXIMUM = float(np.finfo(np.float32).max)
_SHOWN = 40


@dataclass(frozen=True)
class Checked:
    """What came of a batch.

    Attributes:
        batch: the rows that passed: numbers as float32, categories and the key as strings.
        numbers: their numbers in the file.
        quarantined: the others, in order.
        seen: of the rows that passed, `rows` and, for each column whose share is bounded, `missing NAME` and
            `unknown NAME`.
    """

    batch: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    quarantined: tuple[QuarantinedRow, ...]
    seen: Counter[str] = field(default_factory=Counter)


@dataclass
class _Column:
    """A column on its way: its typed values, and for each rule that rows broke, which rows and what to tell them.

    `seen` has what is no fault of a row, but may be one of the whole data: values that are missing or unknown.
    """

    values: pa.Array
    faults: list[tuple[Reason, Mask, Callable[[str], str]]] = field(default_factory=list)
    seen: dict[str, Mask] = field(default_factory=dict)

    def blame(self, reason: Reason, mask: Mask, message: Callable[[str], str]) -> None:
        if mask.any():
            self.faults.append((reason, mask, message))


def wanted_columns(problem: Problem) -> list[str]:
    """The columns of the table that a Problem reads: key, label, features, and what derived ones are computed from."""
    return [problem.key, *(column.name for column in problem.derivation.read)]


def validate(problem: Problem, rows: Rows, marked: Mapping[int, Fault] | None = None) -> Checked:
    """Checks a batch against the types, ranges, vocabularies and missing values that a Problem allows.

    Args:
        problem: what is asked of each column.
        rows: at least the columns of `wanted_columns`, and the derived ones; see `derive.with_derived`.
        marked: faults that a look at the whole data found, by the row's number in its part; see `marks`.
    """
    checked: dict[str, _Column] = {problem.key: _check_key(problem.key, rows.batch.column(problem.key))}
    # What a derived column is missing for is the fault to name first.
    for declared in (*problem.derivation.inputs, problem.label, *problem.columns):
        column = rows.batch.column(declared.name)
        checked[declared.name] = (
            _check_number(declared, column) if isinstance(declared, Numeric) else _check_category(declared, column)
        )
    bad = np.zeros(rows.batch.num_rows, np.bool_)
    for result in checked.values():
        for _, mask, _ in result.faults:
            bad |= mask
    whole = {i: marked[n] for i, n in enumerate(rows.numbers.tolist()) if n in marked} if marked else {}
    bad[list(whole)] = True
    batch = pa.RecordBatch.from_arrays([result.values for result in checked.values()], names=list(checked))
    quarantined = [
        *rows.refused,
        *(_quarantine(problem, rows, checked, int(row), whole) for row in np.flatnonzero(bad)),
    ]
    quarantined.sort(key=lambda row: row.row)
    seen = Counter(
        {name: int((mask & ~bad).sum()) for column in checked.values() for name, mask in column.seen.items()}
    )
    seen["rows"] = int((~bad).sum())
    if not bad.any():
        return Checked(batch, rows.numbers, tuple(quarantined), seen)
    return Checked(batch.filter(pa.array(~bad)), rows.numbers[~bad], tuple(quarantined), seen)


def quarantine(rows: Rows, row: int, columns: Sequence[str], *faults: Fault) -> QuarantinedRow:
    """The row at index `row` of a batch, with its faults and what it held in `columns`."""
    values = {name: _plain(rows.batch.column(name)[row]) for name in columns}
    return QuarantinedRow(rows.part.name, int(rows.numbers[row]), faults[0], values, tuple(faults[1:]))


def not_numbers(column: pa.Array) -> tuple[Mask, int]:
    """Which values of a column of text are not numbers, and how many are not missing."""
    _, missing, wrong = parse_numbers(column)
    return wrong, len(column) - int(missing.sum())


def as_text(column: pa.Array) -> pa.Array:
    """Any scalar column as strings: 1 and 1.0 as "1", true as "true", dates as Arrow writes them, NaN as null.

    Raises:
        DataError: bytes are not UTF-8.
        pa.ArrowNotImplementedError: the type has no text; `check_data` refuses such a column before.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_text(column.dictionary_decode())
    if pa.types.is_decimal(kind):
        text = column.cast(pa.string())
        # 1.50 is 1.5, and 1.00 is 1, as they are when they come as floats.
        return (
            pc.replace_substring_regex(text, r"^([^.eE]*)(\.[0-9]*[1-9])?\.?0*$", r"\1\2") if kind.scale > 0 else text
        )
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), None, column).cast(pa.float64())
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), float(1 << 53)))
        integers = pc.if_else(whole, column, None).cast(pa.int64()).cast(pa.string())
        return pc.coalesce(integers, column.cast(pa.string()))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return column.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise DataError("a column of bytes is not UTF-8", expected="text", received=str(error)) from error
    return column.cast(pa.string())


def _check_key(name: str, column: pa.Array) -> _Column:
    text = as_text(column)
    result = _Column(text)
    missing = _mask(pc.is_null(text)) | _mask(pc.equal(text, ""))
    result.blame("missing_key", missing, lambda _: f"{name} is empty, and is the key")
    return result


def _check_category(declared: Categorical, column: pa.Array) -> _Column:
    text = as_text(column)
    text = pc.if_else(pc.equal(text, ""), None, text)
    result = _Column(text)
    _blame_missing(result, declared, _mask(pc.is_null(text)))
    if declared.vocabulary is not None:
        known = _mask(pc.is_in(text, pa.array(declared.vocabulary, text.type)))
        unknown = ~known & _mask(pc.is_valid(text))
        allowed = listed(declared.vocabulary)
        if declared.max_unknown is not None:
            result.seen[f"unknown {declared.name}"] = unknown
        else:
            result.blame(
                "unknown_value", unknown, lambda value: f"{declared.name} is {value}, which is not one of {allowed}"
            )
    return result


def _check_number(declared: Numeric, column: pa.Array) -> _Column:
    name = declared.name
    values, missing, wrong = parse_numbers(column)
    present = ~missing & ~wrong
    result = _Column(pa.array(values, pa.float32(), mask=~present))
    result.blame("not_a_number", wrong, lambda value: f"{name} is {value}, which is not a finite number")
    _blame_missing(result, declared, missing)
    low = max(-_FLOAT32_MAXIMUM, -np.inf if declared.minimum is None else declared.minimum)
    high = min(_FLOAT32_MAXIMUM, np.inf if declared.maximum is None else declared.maximum)
    result.blame(
        "out_of_range",
        present & ((values < low) | (values > high)),
        lambda value: f"{name} is {value}, which is not between {low:g} and {high:g}",
    )
    return result


def parse_numbers(column: pa.Array) -> tuple[npt.NDArray[np.float64], Mask, Mask]:
    """The numbers in a column, which values are missing, and which are no finite numbers."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    missing = _mask(pc.is_null(column))
    if textual:
        try:
            parsed = column.cast(pa.float64())
        except pa.ArrowInvalid:
            # One value or more is not a number as Arrow reads it; only now is every value looked at.
            text = pc.ascii_trim_whitespace(column)
            missing |= _mask(pc.is_in(pc.ascii_lower(text), pa.array(_MISSING_NUMBERS, text.type)))
            numeric = _mask(pc.match_substring_regex(text, _NUMBER)) & ~missing
            wrong = ~missing & ~numeric
            parsed = pc.if_else(pa.array(numeric), text, None).cast(pa.float64())
        else:
            wrong = np.zeros(len(column), np.bool_)
    else:
        parsed = column.cast(pa.float64(), safe=False)
        wrong = np.zeros(len(column), np.bool_)
    values = parsed.to_numpy(zero_copy_only=False)
    missing |= np.isnan(values) & ~wrong
    wrong |= _written_as_infinity(column) if textual and np.isinf(values).any() else np.isinf(values) & (not textual)
    return np.where(missing | wrong, 0.0, values), missing, wrong


def _written_as_infinity(column: pa.Array) -> Mask:
    """1e400 is a number, if one out of every range, and becomes infinite too; "inf" is not."""
    return _mask(pc.match_substring_regex(column, _INFINITY))


def _blame_missing(result: _Column, declared: Numeric | Categorical, missing: Mask) -> None:
    if not declared.optional:
        result.blame("missing_value", missing, lambda _: f"{declared.name} is missing, and is not optional")
    elif declared.max_missing is not None:
        result.seen[f"missing {declared.name}"] = missing


def _quarantine(
    problem: Problem, rows: Rows, checked: dict[str, _Column], row: int, whole: Mapping[int, Fault]
) -> QuarantinedRow:
    faults = [
        Fault(name, reason, message(_shown(_plain(rows.batch.column(name)[row]))))
        for name, column in checked.items()
        for reason, mask, message in column.faults
        if mask[row]
    ]
    if row in whole:
        faults.append(whole[row])
    return quarantine(rows, row, wanted_columns(problem), *faults)


def _mask(values: pa.Array) -> Mask:
    mask: Mask = values.fill_null(False).to_numpy(zero_copy_only=False)
    return mask


def _plain(scalar: pa.Scalar) -> Any:
    """A value as JSON can hold it: what JSON has no form for becomes its text."""
    value = scalar.as_py()
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and np.isfinite(value)):
        return value
    return str(value)


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def listed(values: Sequence[str]) -> str:
    """The first ten values, and how many more there are."""
    more = len(values) - 10
    return ", ".join(values[:10]) + (f" and {more} more" if more > 0 else "")
