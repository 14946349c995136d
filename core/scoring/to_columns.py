"""Output conversion: a model's answers to Arrow columns, and the rows without a valid answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.errors import DataError
from headrace.core.rules.fault import RuleViolation
from headrace.core.saved_model.interface import ModelOutput
from headrace.core.scoring.predictor import not_finite
from headrace.core.values.columns import Mask

# A model's answer: numbers as numpy, [rows, ...]; text as flat Arrow binary.
Answer: TypeAlias = npt.NDArray[Any] | pa.Array

_TYPES = {"bfloat16": pa.float32(), "string": pa.string(), "bool": pa.bool_()}


@dataclass
class Columns:
    """The outputs of a batch as columns.

    Attributes:
        arrays: one per output.
        faults: faults of rows, whose values are then meaningless.
    """

    arrays: list[pa.Array] = field(default_factory=list)
    faults: list[RuleViolation] = field(default_factory=list)


def type_of(output: ModelOutput) -> pa.DataType:
    """The type of an output's column, by its dtype; a list of fixed size if its width is above 1, or nested ones."""
    inner = pa.binary() if output.binary else _TYPES.get(output.dtype) or pa.from_numpy_dtype(np.dtype(output.dtype))
    if output.width is None:
        return inner
    for size in reversed(output.dims):
        inner = pa.list_(inner, size) if size else pa.list_(inner)
    if output.dims:
        return inner
    return pa.list_(inner, output.width) if output.width else pa.list_(inner)


def columns_of(answers: Mapping[str, Answer], outputs: Sequence[ModelOutput], rows: int) -> Columns:
    """Converts answers to columns; a number that is not finite or a text that is not UTF-8 is a fault of its row.

    Args:
        answers: the answers by output.
        outputs: the model's outputs.
        rows: number of rows.
    """
    made = Columns()
    for output in outputs:
        answer = answers[output.name]
        if isinstance(answer, pa.Array):
            flat, bad = (answer, None) if output.binary else _texts(answer)
        else:
            values = answer.reshape(-1)
            if output.dtype == "bfloat16":
                values = values.astype(np.float32)
            flat, bad = pa.array(values), not_finite(values)
        if bad is not None and bad.any():
            made.faults.append(_fault(output, bad.reshape(rows, -1)))
        shape = answer.shape[1:] if isinstance(answer, np.ndarray) else ()
        made.arrays.append(_shaped(flat, output, rows, shape))
    return made


def _texts(answer: pa.Array) -> tuple[pa.Array, Mask | None]:
    try:
        return answer.cast(pa.string()), None
    except pa.ArrowInvalid:
        texts = [_decoded(value) for value in answer.to_pylist()]
        bad = np.array([text is None for text in texts])
        return pa.array([text or "" for text in texts], pa.string()), bad


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _fault(output: ModelOutput, bad: Mask) -> RuleViolation:
    """`bad`: [rows, n]."""
    name, rows = output.name, np.logical_or.reduce(bad, axis=1)
    if output.dtype == "string":
        return RuleViolation(
            None,
            "model_failed",
            rows,
            lambda _: f"the model's output {name} is not UTF-8 text (an output whose name ends in _bytes is bytes)",
        )
    return RuleViolation(None, "not_finite", rows, lambda _: f"the model's output {name} is not a finite number")


def _shaped(flat: pa.Array, output: ModelOutput, rows: int, shape: Sequence[int]) -> pa.Array:
    """The lists of rows. Of texts `shape` is not known: only one of their dimensions is open."""
    if output.width is None:
        return flat
    declared = output.dims or (output.width,)
    if len(shape) != len(declared):
        known = math.prod(size for size in declared if size) * rows
        shape = [size or (len(flat) // known if known else 0) for size in declared]
    for level in reversed(range(len(declared))):
        size = shape[level]
        if declared[level]:
            flat = pa.FixedSizeListArray.from_arrays(flat, size)
        else:
            lists = rows * math.prod(shape[:level])
            flat = pa.ListArray.from_arrays(pa.array(np.arange(lists + 1) * size, pa.int32()), flat)
    return flat


def joined(pieces: Sequence[dict[str, Answer]], outputs: Sequence[ModelOutput]) -> dict[str, Answer]:
    """Concatenates the answers for pieces of a batch."""
    if len(pieces) == 1:
        return pieces[0]
    return {given.name: _joined(given, [piece[given.name] for piece in pieces]) for given in outputs}


def _joined(given: ModelOutput, pieces: list[Answer]) -> Answer:
    if not pieces:
        return pa.array([], pa.binary()) if given.dtype == "string" else np.zeros([0], _numpy(given.dtype))
    if isinstance(pieces[0], pa.Array):
        return pa.concat_arrays(pieces)
    shapes = {piece.shape[1:] for piece in pieces}
    if len(shapes) > 1:
        raise DataError(
            f"the model's output {given.name} has other lists in other calls",
            expected="lists that follow from the row alone",
            received=" and ".join(sorted(f"shape {['rows', *shape]}" for shape in shapes)),
            fix="Export it with an output of one width, or score all rows in one call (--batch whole)",
        )
    return np.concatenate(pieces)


def _numpy(dtype: str) -> str:
    return "float32" if dtype == "bfloat16" else dtype


def same(one: Answer, other: Answer) -> bool:
    """Whether two answers are equal to the last bit."""
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    return bool(one.equals(other))
