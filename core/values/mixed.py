"""Mixed columns: texts beside booleans or numbers, as JSON has them, each value with the type that it was written in.

A category learned from text is the text of a text, and the spelling of a boolean or a number (see `spellings`). So a
column of both remembers which values were texts: its texts alone do not say it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.values.scalars import text_of

_STORAGE = pa.struct([("text", pa.string()), ("typed", pa.bool_())])


class _MixedScalar(pa.ExtensionScalar):
    def as_py(self, **_: Any) -> bool | int | float | str | None:
        """The JSON value."""
        if not self.is_valid or self.value["text"].as_py() is None:
            return None
        text: str = self.value["text"].as_py()
        value: bool | int | float | str = json.loads(text) if self.value["typed"].as_py() else text
        return value


class MixedType(pa.ExtensionType):
    """The Arrow type: the text of each value, and whether it is a boolean or a number."""

    def __init__(self) -> None:
        super().__init__(_STORAGE, "headrace.mixed")

    def __hash__(self) -> int:
        # Arrow's own fails for types that are defined in Python.
        return hash(self.extension_name)

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Self:
        return cls()

    def __arrow_ext_scalar_class__(self) -> type[_MixedScalar]:
        return _MixedScalar


# A worker of Beam reads batches that another process wrote: Arrow must know the type there.
pa.register_extension_type(MixedType())


def mixed_array(values: Sequence[bool | int | float | str | None]) -> pa.ExtensionArray:
    """A mixed column of finite numbers, booleans and texts; None for missing values."""
    texts = pa.array([None if value is None else text_of(value) for value in values], pa.string())
    typed = pa.array([value is not None and not isinstance(value, str) for value in values])
    return _of(texts, typed)


def member(value: float, *, single: bool) -> float | str | None:
    """A fraction as a value of a mixed column: None for NaN, and infinity as text.

    Args:
        value: any number.
        single: whether it is a float32, whose text has fewer digits than the float64 of the same value.
    """
    if math.isnan(value):
        return None
    if math.isinf(value):
        return text_of(value)
    return float(str(np.float32(value))) if single and not value.is_integer() else value


def is_mixed(kind: pa.DataType) -> bool:
    """Whether a column of this type is mixed."""
    return isinstance(kind, MixedType)


def texts_in(column: pa.ExtensionArray) -> pa.Array:
    """The text of each value of a mixed column, [rows] of strings."""
    return pc.struct_field(column.storage, "text")


def typed_in(column: pa.ExtensionArray) -> npt.NDArray[np.bool_]:
    """Mask of the values of a mixed column that are booleans or numbers, [rows]."""
    typed: npt.NDArray[np.bool_] = (
        pc.struct_field(column.storage, "typed").fill_null(False).to_numpy(zero_copy_only=False)
    )
    return typed


def numbers_as_texts(column: pa.ExtensionArray) -> pa.Array:
    """The texts of a mixed column, with 1 and 0 for booleans."""
    text, typed = texts_in(column), pa.array(typed_in(column))
    for boolean, number in (("true", "1"), ("false", "0")):
        text = pc.if_else(pc.and_(typed, pc.equal(text, boolean).fill_null(False)), number, text)
    return text


def as_plain_text(column: pa.Array) -> pa.Array:
    """The texts of a mixed column; any other column unchanged."""
    return texts_in(column) if is_mixed(column.type) else column


def blanked(column: pa.ExtensionArray, missing: npt.NDArray[np.bool_]) -> pa.ExtensionArray:
    """A mixed column in which the values of a mask are missing."""
    text = pc.if_else(pa.array(missing), None, texts_in(column))
    typed = pa.array(typed_in(column) & ~missing)
    return _of(text, typed)


def _of(texts: pa.Array, typed: pa.Array) -> pa.ExtensionArray:
    storage = pa.StructArray.from_arrays([texts, typed], fields=list(_STORAGE), mask=pc.is_null(texts))
    return pa.ExtensionArray.from_storage(MixedType(), storage)
