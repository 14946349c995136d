"""JSON tensors: converts JSON to the inputs of any SavedModel, with TensorFlow Serving's {"b64": ...} for bytes.

Every dtype and lists are supported. Columns are numpy arrays: [rows], or [rows, n] for lists. Where an input accepts
lists of any length and the lengths differ, the column is [rows] of objects, one array per row; so are nested lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.rules.fault import RuleViolation
from headrace.core.saved_model.interface import FLOATS, ModelInput
from headrace.core.saved_model.json.inputs import InputFeature, texts_or_bytes
from headrace.core.saved_model.json.messages import kind_of, shown
from headrace.core.saved_model.json.ranges import expected, first_outside

Where = Callable[[int], str]


@dataclass(frozen=True)
class TensorInput(InputFeature):
    """An input of a SavedModel that is not a Model artifact.

    Args:
        width: None for one value per row; n for lists of n values; 0 for lists of any length.
        dims: of nested lists, the size of each level, 0 for any; `width` is their product.
    """

    width: int | None = None
    dims: tuple[int, ...] = ()

    @classmethod
    def of(cls, taken: ModelInput) -> TensorInput:
        """The JSON form of an input."""
        kind = "categorical" if taken.dtype == "string" else "numeric"
        return cls(taken.name, kind, dtype=taken.dtype, width=taken.width, dims=taken.dims)  # type: ignore[arg-type]

    def read(self, values: Sequence[Any], where: Where, faults: list[RuleViolation] | None = None) -> npt.NDArray[Any]:
        """The values of an input as a column; `faults` is used only for Models, which have rules.

        Raises:
            DataError: a value is missing, has the wrong type or list length, or is out of the dtype's range.
        """
        if self.width is None:
            return self._flat(list(values), where)
        if self.dims:
            return self._nested(values, where)
        lists = [self._list(value, where(row)) for row, value in enumerate(values)]
        lengths = [len(each) for each in lists]
        places = [(row, at) for row, length in enumerate(lengths) for at in range(length)]

        def inside(place: int) -> str:
            row, at = places[place]
            return f"{where(row)}[{at}]"

        flat = self._flat([value for each in lists for value in each], inside)
        if len(set(lengths)) <= 1:
            return flat.reshape(len(lists), lengths[0] if lengths else self.width)
        rows = np.empty(len(lists), object)
        rows[:] = np.split(flat, np.cumsum(lengths)[:-1])
        return rows

    def _nested(self, values: Sequence[Any], where: Where) -> npt.NDArray[Any]:
        """[rows, *dims] of lists of lists; [rows] of arrays where rows have several shapes."""
        shapes = [self._shape_of(value) for value in values]
        level: list[tuple[Any, str]] = [(value, where(row)) for row, value in enumerate(values)]
        owners = list(range(len(level)))
        for depth in range(len(self.dims)):
            below: list[tuple[Any, str]] = []
            of: list[int] = []
            for (value, place), row in zip(level, owners, strict=True):
                size = shapes[row][depth]
                if not isinstance(value, list) or len(value) != size:
                    raise DataError(
                        f"it is {kind_of(value)}" if not isinstance(value, list) else "the array is of another length",
                        where=place,
                        expected=f"arrays of shape [{', '.join(str(size or 'any') for size in self.dims)}]",
                        received=shown(value) if not isinstance(value, list) else f"{len(value)} values, not {size}",
                    )
                below += [(inner, f"{place}[{index}]") for index, inner in enumerate(value)]
                of += [row] * size
            level, owners = below, of
        flat = self._flat([value for value, _ in level], lambda place: level[place][1])
        if len(set(shapes)) <= 1:
            return flat.reshape(len(values), *(shapes[0] if shapes else self.dims))
        rows = np.empty(len(values), object)
        pieces = np.split(flat, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        rows[:] = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        return rows

    def _shape_of(self, value: Any) -> tuple[int, ...]:
        """The dimensions of a row's nested lists, of the first list at each level where the size is open."""
        shape = []
        for size in self.dims:
            shape.append(size or (len(value) if isinstance(value, list) else 0))
            value = value[0] if isinstance(value, list) and value else None
        return tuple(shape)

    def _list(self, value: Any, where: str) -> list[Any]:
        if self.width == 1 and not isinstance(value, list) and value is not None:
            # One value per row, in a tensor of width 1.
            return [value]
        if not isinstance(value, list) or (self.width and len(value) != self.width):
            raise DataError(
                f"it is {kind_of(value)}" if not isinstance(value, list) else "the array is of another length",
                where=where,
                expected=f"an array of {self.width or 'any number of'} values",
                received=shown(value) if not isinstance(value, list) else f"{len(value)} values",
            )
        return value

    def _flat(self, values: list[Any], where: Where) -> npt.NDArray[Any]:
        if self.dtype == "string":
            return texts_or_bytes(self, values, where)
        if self.dtype in FLOATS:
            return InputFeature.read(replace(self, width=None), values, where)
        # A null is of no dtype, and no value of such an input may be missing.
        missing = next((at for at, value in enumerate(values) if value is None), None)
        outside = first_outside(values, self.dtype) if missing is None else missing
        if outside is not None:
            raise DataError(
                f"it is no {self.dtype}" if missing is None else "the input is missing",
                where=where(outside),
                expected=expected(self.dtype),
                received=shown(values[outside]),
            )
        return np.array(list(map(bool if self.dtype == "bool" else int, values)), self.dtype)
