"""Input conversion: checks and converts whole Arrow columns to a model's inputs; without TensorFlow.

The rules are those of preprocessing: text that spells a number is that number, 1 and 1.0 are the category "1", and an
empty text is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts.quarantine import Reason
from headrace.core.errors import DataError
from headrace.core.rules.column import CategoryRule, NumberRule
from headrace.core.rules.fault import RuleViolation
from headrace.core.saved_model.interface import FLOATS, ModelInput
from headrace.core.scoring.feeds import Feed, Feeds, Numbers
from headrace.core.scoring.nested_lists import flat_lists
from headrace.core.scoring.ruled import ruled_numbers, ruled_texts
from headrace.core.scoring.texts import spread, texts_of
from headrace.core.sources.json_values import column_of
from headrace.core.values.columns import Mask, as_text, blank, is_text, logical
from headrace.core.values.mixed import is_mixed, numbers_as_texts
from headrace.core.values.numbers import parse_integers, parse_numbers

# TensorFlow converts float32 to bfloat16, which numpy lacks.
_MOST_BFLOAT16 = float.fromhex("0x1.fep127")
_TRUE = ("true", "1")
_FALSE = ("false", "0")
_EMPTY_LISTS = pa.list_(pa.null())


def feeds_of(batch: pa.RecordBatch, inputs: Sequence[ModelInput]) -> Feeds:
    """Converts the columns of a batch to the inputs of a model.

    Args:
        batch: the inputs' columns; columns of optional inputs may be absent.
        inputs: the model's inputs.

    Raises:
        DataError: a column's type does not fit the input.
    """
    made = Feeds(batch.num_rows)
    for taken in inputs:
        columns = [_column(batch, name, taken) for name in taken.columns]
        if taken.from_lists:
            made.feeds.append(_from_lists(taken, columns[0], made.faults))
        elif taken.dtype == "string":
            texts = (_texts(n, taken, c, made.faults) for n, c in zip(taken.columns, columns, strict=True))
            made.feeds.append(Feed(taken, None, tuple(texts)))
        else:
            vectors = [_numbers(n, taken, c, made.faults) for n, c in zip(taken.columns, columns, strict=True)]
            made.feeds.append(Feed(taken, vectors[0] if taken.width is None else np.stack(vectors, axis=1)))
    return made


def _column(batch: pa.RecordBatch, name: str, taken: ModelInput) -> pa.Array:
    at = batch.schema.get_field_index(name)
    if at >= 0:
        return blank(batch.column(at), taken.missing)
    if taken.optional:
        return pa.nulls(batch.num_rows)
    raise DataError(
        "a column is missing from the rows",
        where=name,
        expected=f"a column {name}, for the model's input {taken.name}",
        received=f"columns {', '.join(batch.schema.names)}",
    )


def _from_lists(taken: ModelInput, column: pa.Array, faults: list[RuleViolation]) -> Feed:
    """A column of lists, each as long as the input's width, as one dense input."""
    name = taken.columns[0]
    if pa.types.is_null(column.type):
        column = column.cast(pa.list_(pa.string() if taken.dtype == "string" else pa.float32()))
    if is_text(column.type):
        column = _lists_of_texts(name, taken, logical(column), faults)
    if not pa.types.is_nested(column.type):
        # A single value is a list of one value, as in a batch of TFRecords whose lists all have one value.
        column = _lists_of_one(column)
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(
            "the column is not of lists",
            where=name,
            expected=f"lists of {taken.width or 'as many'} values, for the model's input {taken.name} {taken.shape}",
            received=str(kind),
            fix=f"Name the columns that {taken.name} is made of, in their order",
        )
    shapes = None
    if taken.dims:
        column, shapes = flat_lists(column, taken, faults)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    if not taken.width:
        return _of_any_length(taken, column, lengths, shapes, faults)
    width = taken.width
    blamed = np.logical_or.reduce([fault.rows for fault in faults if fault.column == name], initial=False)
    missing = _mask(pc.is_null(column))
    _blame(faults, name, "missing_value", missing & ~blamed, lambda _: f"{name} is missing")
    wrong = (lengths != width) & ~missing
    shorter: Reason = "too_few_fields"
    longer: Reason = "too_many_fields"
    for reason, mask in ((shorter, wrong & (lengths < width)), (longer, wrong & (lengths > width))):
        _blame(faults, name, reason, mask, lambda value: f"{name} is {value}, which is not {width} values")
    bad = missing | wrong
    good = column.filter(pa.array(~bad)) if bad.any() else column
    inner: list[RuleViolation] = []
    flat = good.flatten()
    if taken.dtype == "string":
        texts = spread(_texts(name, taken, flat, inner), width, bad)
        feed = Feed(taken, None, texts)
    else:
        values = _numbers(name, taken, flat, inner)
        whole = np.zeros((len(bad), width), values.dtype)
        whole[~bad] = values.reshape(-1, width)
        feed = Feed(taken, whole)
    for fault in inner:
        rows = np.zeros(len(bad), np.bool_)
        rows[~bad] = fault.rows.reshape(-1, width).any(axis=1)
        _blame(faults, name, fault.reason, rows, lambda value, of=fault.message: of(value))  # type: ignore[misc]
    return feed


def _of_any_length(
    taken: ModelInput,
    column: pa.Array,
    lengths: npt.NDArray[Any],
    shapes: npt.NDArray[np.int64] | None,
    faults: list[RuleViolation],
) -> Feed:
    """Lists for an input of any width, with each row's own length, or its shape of nested ones."""
    name = taken.columns[0]
    blamed = np.logical_or.reduce([fault.rows for fault in faults if fault.column == name], initial=False)
    _blame(faults, name, "missing_value", _mask(pc.is_null(column)) & ~blamed, lambda _: f"{name} is missing")
    sizes = lengths.astype(np.int64)
    inner: list[RuleViolation] = []
    # A null list of fixed size still has values in the child array, which do not count.
    flat = column.drop_null().flatten()
    if taken.dtype == "string":
        feed = Feed(taken, None, (_texts(name, taken, flat, inner),), sizes, shapes)
    else:
        feed = Feed(taken, _numbers(name, taken, flat, inner), (), sizes, shapes)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for fault in inner:
        rows = np.zeros(len(sizes), np.bool_)
        rows[owner[fault.rows]] = True
        _blame(faults, name, fault.reason, rows, lambda value, of=fault.message: of(value))  # type: ignore[misc]
    return feed.take(np.arange(len(sizes)))


def _lists_of_one(column: pa.Array) -> pa.Array:
    """Each value as a list of one value; a missing value as a missing list."""
    lengths = pc.is_valid(column).to_numpy(zero_copy_only=False).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), column.drop_null(), mask=pc.is_null(column))


def _lists_of_texts(name: str, taken: ModelInput, column: pa.Array, faults: list[RuleViolation]) -> pa.Array:
    """Lists in JSON text, as JSON lines have them in a column that does not only hold lists."""
    lists = [None if text is None else _list(text, taken) for text in column.to_pylist()]
    wrong = _mask(pc.is_valid(column)) & np.array([value is None for value in lists], np.bool_)
    _blame(
        faults, name, "malformed_row", wrong, lambda value: f"{name} is {value}, which is not a list, for {taken.name}"
    )
    return column_of(lists) if any(value is not None for value in lists) else pa.nulls(len(lists), _EMPTY_LISTS)


def _list(text: str, taken: ModelInput) -> list[Any] | None:
    """Parses a list from a text, as deep as the input takes them; a single value is a list of one value."""
    levels = len(taken.dims) or 1
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list):
        return value if _is_nested(value, levels) else None
    if levels > 1:
        return None
    if taken.dtype == "string":
        return [text] if text else None
    return [value] if isinstance(value, bool | int | float) else None


def _is_nested(value: Any, levels: int) -> bool:
    """Whether a JSON value is lists of so many levels, with single values in the last."""
    if not levels:
        return not isinstance(value, list | dict)
    return isinstance(value, list) and all(_is_nested(member, levels - 1) for member in value)


def _texts(name: str, taken: ModelInput, column: pa.Array, faults: list[RuleViolation]) -> pa.Array:
    if isinstance(taken.rule, CategoryRule):
        return ruled_texts(taken.rule, name, taken, column, faults)
    texts, missing = texts_of(name, taken, column)
    if missing is not None and not taken.optional:
        _blame(faults, name, "missing_value", missing, lambda _: f"{name} is missing, and is not optional")
    return texts


def _numbers(name: str, taken: ModelInput, column: pa.Array, faults: list[RuleViolation]) -> Numbers:
    """[rows] of the input's dtype, checked."""
    if pa.types.is_null(column.type):
        column = column.cast(pa.float32())
    column = numbers_as_texts(column) if is_mixed(column.type) else logical(column)
    if not _may_be_number(column.type):
        raise DataError(
            f"a column of {column.type} is not what the model accepts",
            where=name,
            expected=f"numbers, booleans or text that holds them, for the model's input {taken.name} {taken.dtype}",
            received=f"a column of {column.type}",
            fix=f"Make it what the model was trained with, or feed {taken.name} from another column",
        )
    if taken.dtype in FLOATS:
        return _floats(name, taken, column, faults)
    if taken.dtype == "bool":
        return _booleans(name, column, faults)
    return _integers(name, taken.dtype, column, faults)


def _may_be_number(kind: pa.DataType) -> bool:
    return any(
        allowed(kind)
        for allowed in (
            pa.types.is_floating,
            pa.types.is_integer,
            pa.types.is_string,
            pa.types.is_boolean,
            pa.types.is_decimal,
            pa.types.is_large_string,
        )
    )


def _floats(name: str, taken: ModelInput, column: pa.Array, faults: list[RuleViolation]) -> Numbers:
    dtype = np.dtype("float32" if taken.dtype == "bfloat16" else taken.dtype)
    kind = column.type
    if (taken.optional or not column.null_count) and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        # Missing values are NaN here.
        plain = column.to_numpy(zero_copy_only=False)
        if kind.bit_width == 64 and plain.dtype.kind != "f":
            # Through float64, as preprocessing rounds.
            plain = plain.astype(np.float64)
        with np.errstate(over="ignore"):
            values: Numbers = plain.astype(dtype, copy=False)
        if isinstance(taken.rule, NumberRule):
            good = taken.rule.hold(plain)
        else:
            wrong = np.isinf(values) if taken.optional else ~np.isfinite(values)
            good = taken.dtype != "bfloat16" and not wrong.any()
        if good:
            return values
    if isinstance(taken.rule, NumberRule):
        return ruled_numbers(taken.rule, name, column, faults)
    wide, missing, wrong = parse_numbers(column)
    _blame(faults, name, "not_a_number", wrong, lambda value: f"{name} is {value}, which is not a finite number")
    if not taken.optional:
        _blame(faults, name, "missing_value", missing, lambda _: f"{name} is missing, and is not optional")
    most = _MOST_BFLOAT16 if taken.dtype == "bfloat16" else float(np.finfo(dtype).max)
    with np.errstate(over="ignore"):
        narrow: Numbers = np.where(missing, np.nan, wide).astype(dtype)
    # Values slightly above the maximum number are rounded to it.
    beyond = np.abs(narrow) > most
    _blame(
        faults,
        name,
        "out_of_range",
        beyond,
        lambda value: f"{name} is {value}, which is not between {-most:g} and {most:g}",
    )
    return narrow


def _integers(name: str, dtype: str, column: pa.Array, faults: list[RuleViolation]) -> Numbers:
    bounds = np.iinfo(dtype)
    found = parse_integers(column, dtype)
    missing, wrong, beyond = found.missing, found.wrong, found.beyond
    _blame(faults, name, "missing_value", missing, lambda _: f"{name} is missing, and {dtype} has no missing value")
    _blame(faults, name, "not_a_number", wrong, lambda value: f"{name} is {value}, which is not a whole number")
    _blame(
        faults,
        name,
        "out_of_range",
        beyond,
        lambda value: f"{name} is {value}, which is not between {bounds.min} and {bounds.max}",
    )
    narrow: Numbers = found.values.astype(dtype)
    return narrow


def _booleans(name: str, column: pa.Array, faults: list[RuleViolation]) -> Numbers:
    text = pc.utf8_lower(as_text(column))
    missing = _mask(pc.is_null(text)) | _mask(pc.equal(text, ""))
    true = _mask(pc.is_in(text, pa.array(_TRUE, text.type)))
    wrong = ~true & ~missing & ~_mask(pc.is_in(text, pa.array(_FALSE, text.type)))
    _blame(faults, name, "missing_value", missing, lambda _: f"{name} is missing, and is not optional")
    _blame(faults, name, "unknown_value", wrong, lambda value: f"{name} is {value}, which is not true or false")
    return true


def _blame(faults: list[RuleViolation], column: str, reason: Reason, rows: Mask, message: Callable[[str], str]) -> None:
    if rows.any():
        faults.append(RuleViolation(column, reason, rows, message))


def _mask(values: pa.Array) -> Mask:
    mask: Mask = values.fill_null(False).to_numpy(zero_copy_only=False)
    return mask
