"""Predictor: scores rows with a SavedModel, from numpy to numpy and faults by row; without Arrow.

All scoring calls the model through it. It pads calls to whole blocks of rows, translates TensorFlow's errors, bisects a
failed call until the failing rows are known, and finds outputs that are not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.core.errors import PlatformError
from headrace.core.scoring.bisect import Answer, RowsFailed, answered
from headrace.core.scoring.ragged import Indices, concatenated, dense, groups_of_one_shape, is_ragged

if TYPE_CHECKING:
    from headrace.core.saved_model.loaded import SavedModel

# Calls are padded to a multiple of this number of rows. Matrix products work in blocks of 4, 8, 12, 16, 24 or 48 rows,
# and sum the remainder in another order. In whole blocks, a row's prediction depends neither on the other rows nor on
# the size of batches nor on rows that were removed.
BLOCK_ROWS = 48


class Texts(NamedTuple):
    """A dictionary-encoded column of strings.

    Attributes:
        codes: [rows] int32, indices in `values`.
        values: the distinct values.
    """

    codes: npt.NDArray[np.int32]
    values: Sequence[bytes]


# One value per row of an input: numbers of its dtype, or strings.
InputColumn = npt.NDArray[Any] | Texts


@dataclass(frozen=True)
class PredictionFault:
    """Why a row has no prediction.

    Attributes:
        reason: model_failed (the model raised an error for this row alone) or not_finite (an output is NaN or inf).
        message: the error message.
        value: the output as text; "" without an output.
    """

    reason: Literal["model_failed", "not_finite"]
    message: str
    value: str = ""


@dataclass(frozen=True)
class BatchPredictions:
    """Predictions of a batch.

    Attributes:
        outputs: by name, [answered, ...]: numbers, or bytes as objects; bfloat16 as float32. Where an output's lists
            differ in length, [answered] of objects, one array per row.
        at: [answered] the rows that the model answered, ascending, including those with a fault `not_finite`.
        faults: by row, in ascending order.
        model_version: the model's version.
    """

    outputs: Mapping[str, npt.NDArray[Any]]
    at: npt.NDArray[np.int64]
    faults: Mapping[int, PredictionFault]
    model_version: str


# The signature's outputs by name for arrays by input, in place of an eager call.
ArrayCall = Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]
# Outputs by name for rows of columns, from the first up to the second number; None where the model is to answer.
Engine = Callable[[Mapping[str, Any], int, int], Mapping[str, npt.NDArray[Any]] | None]


class Predictor:
    """Calls a loaded SavedModel; safe to use from several threads at a time.

    Args:
        model: the model to call.
        model_version: its version.
        outputs: the requested outputs; all by default.
        constants: the tensors of inputs of shape [], by name.
        batch: rows that every call must have, or None.
        whole: whether rows depend on each other: a call then has exactly the rows of `predict`, without padding.

    Attributes:
        outputs: names of the requested outputs.
        engine: answers rows instead of the model, where it can; None for the model alone.
        session: calls the model's signature instead of an eager call; None for the eager call.
    """

    def __init__(
        self,
        model: SavedModel,
        model_version: str,
        outputs: Sequence[str] | None = None,
        *,
        constants: Mapping[str, Any] | None = None,
        batch: int | None = None,
        whole: bool = False,
    ) -> None:
        self.model_version = model_version
        self._model = model
        self.outputs = tuple(sorted(model.outputs) if outputs is None else outputs)
        self._constants = dict(constants or {})
        self._batch = batch
        self._whole = whole
        self.engine: Engine | None = None
        self.session: ArrayCall | None = None

    def predict(self, columns: Mapping[str, InputColumn]) -> BatchPredictions:
        """Predictions for rows.

        Args:
            columns: one per input of the signature, with the same number of rows: [rows], [rows, n], or [rows] of
                arrays where lists differ in length.

        Raises:
            PlatformError: the model fails for a reason that is not in the rows.
            DataError: it does not answer every row.
        """
        rows = len(_first(columns))
        groups = groups_of_one_shape(columns, rows)
        if groups is None:
            pieces, failed = self._pieces(columns, rows)
            at = np.delete(np.arange(rows), list(failed)) if failed else np.arange(rows)
            outputs = self._joined(pieces)
        else:
            pieces, failed, places = [], {}, []
            for group in groups:
                some, bad = self._pieces({name: _at(column, group) for name, column in columns.items()}, len(group))
                pieces += some
                failed.update({int(group[row]): message for row, message in bad.items()})
                places.append(np.delete(group, list(bad)))
            at = np.concatenate(places)
            order = np.argsort(at, kind="stable")
            outputs = {name: values[order] for name, values in self._joined(pieces).items()} if pieces else {}
            at = at[order]
        faults = {row: PredictionFault("model_failed", message) for row, message in failed.items()}
        for name, values in outputs.items():
            for place in _rows_not_finite(values):
                message = f"the model's output {name} is not a finite number"
                faults.setdefault(int(at[place]), PredictionFault("not_finite", message, str(values[place])))
        return BatchPredictions(outputs, at, dict(sorted(faults.items())), self.model_version)

    def _pieces(
        self, columns: Mapping[str, InputColumn], rows: int
    ) -> tuple[list[dict[str, npt.NDArray[Any]]], dict[int, str]]:
        """The outputs of calls in row order, and the model's error for each row on which it fails alone."""
        pieces: list[dict[str, npt.NDArray[Any]]] = []
        failed: dict[int, str] = {}
        step = self._batch or max(rows, 1)
        for first in range(0, rows, step):

            def piece(begin: int, end: int, first: int = first) -> dict[str, npt.NDArray[Any]]:
                def run(filled: int) -> Mapping[str, Any]:
                    if self.session is not None:
                        return self.session(
                            {n: _rows(c, first + begin, first + end, filled) for n, c in columns.items()}
                        )
                    tensors = {n: _tensor(c, first + begin, first + end, filled) for n, c in columns.items()}
                    return self._model({**tensors, **self._constants})

                if self.engine is not None:
                    found = self.engine(columns, first + begin, first + end)
                    if found is not None:
                        return {name: found[name] for name in self.outputs}
                count = end - begin
                exact = count if self._whole else self._batch
                # A slice by TensorFlow would take as long as a small model.
                return {name: _array(tensor)[:count] for name, tensor in self._called(run, count, exact).items()}

            count = min(step, rows - first)
            some, bad = _at_once(piece, count) if self._whole else answered(piece, count)
            pieces += some
            failed.update({first + row: message for row, message in bad.items()})
        return pieces, failed

    def _joined(self, pieces: Sequence[Mapping[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
        return {name: concatenated([one[name] for one in pieces]) if pieces else _none() for name in self.outputs}

    def call(self, run: Callable[[int], Mapping[str, Any]], rows: int, filled: int | None = None) -> dict[str, Any]:
        """One call of the model.

        Args:
            run: returns all outputs as tensors for the given number of rows, of which the first `rows` count.
            rows: number of rows, one or more.
            filled: rows of the call, if not whole blocks.

        Returns:
            Tensors of the requested outputs, [rows, ...].

        Raises:
            RowsFailed: the model failed, possibly because of some of the rows.
            PlatformError: it failed for another reason.
            DataError: it did not answer every row.
        """
        outputs = self._called(run, rows, filled)
        if filled == rows:
            return outputs
        return {name: tensor[:rows] for name, tensor in outputs.items()}

    def _called(self, run: Callable[[int], Mapping[str, Any]], rows: int, filled: int | None) -> dict[str, Any]:
        """As `call`, with the outputs for the padding."""
        from headrace.core.saved_model import loaded

        filled = filled_rows(rows) if filled is None else filled
        try:
            outputs = run(filled)
        except loaded.PLATFORM_ERRORS as error:
            if rows > 1 and isinstance(error, loaded.TOO_LARGE):
                raise RowsFailed(loaded.cause(error)) from error
            raise PlatformError("the model failed", received=loaded.cause(error)) from error
        except loaded.OpError as error:
            raise RowsFailed(loaded.cause(error)) from error
        loaded.check_answers(outputs, filled)
        return {name: outputs[name] for name in self.outputs}


def _at_once(call: Callable[[int, int], Answer], rows: int) -> tuple[list[Answer], dict[int, str]]:
    """As `bisect.answered`, for rows that depend on each other: all of them fail together."""
    try:
        return [call(0, rows)], {}
    except RowsFailed as error:
        return [], dict.fromkeys(range(rows), str(error))


def filled_rows(rows: int) -> int:
    """Number of rows of a call for `rows` rows, in whole blocks."""
    return -(-rows // BLOCK_ROWS) * BLOCK_ROWS


def not_finite(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Mask of numbers that are NaN or infinite; None for types without such values."""
    return ~np.isfinite(values) if values.dtype.kind == "f" else None


def _rows_not_finite(values: npt.NDArray[Any]) -> list[int]:
    """The indices of rows with a number that is NaN or infinite."""
    bad = not_finite(values)
    if bad is not None:
        return np.flatnonzero(bad.any(axis=tuple(range(1, bad.ndim)))).tolist() if bad.any() else []
    return (
        [at for at, row in enumerate(values) if row.dtype.kind == "f" and not np.isfinite(row).all()]
        if is_ragged(values)
        else []
    )


def _at(column: InputColumn, at: Indices) -> InputColumn:
    return Texts(column.codes[at], column.values) if isinstance(column, Texts) else dense(column, at)


def _tensor(column: InputColumn, begin: int, end: int, filled: int) -> Any:
    """Rows from `begin` up to `end` of a column, padded with copies of the last one to `filled` rows."""
    import tensorflow as tf

    if isinstance(column, Texts):
        return tf.gather(tf.constant(list(column.values), tf.string), _filled(column.codes[begin:end], filled))
    values = _filled(column[begin:end], filled)
    # Without a value, the dtype of an array of objects is unknown.
    return tf.constant(values) if values.size or values.dtype != object else tf.fill(values.shape, "")


def _rows(column: InputColumn, begin: int, end: int, filled: int) -> npt.NDArray[Any]:
    """As `_tensor`, as an array."""
    if isinstance(column, Texts):
        texts: npt.NDArray[Any] = np.array(column.values, object).take(_filled(column.codes[begin:end], filled))
        return texts
    return _filled(column[begin:end], filled)


def _filled(values: npt.NDArray[Any], filled: int) -> npt.NDArray[Any]:
    more = filled - len(values)
    return np.concatenate([values, np.repeat(values[-1:], more, axis=0)]) if more else values


def _array(tensor: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = tensor if isinstance(tensor, np.ndarray) else tensor.numpy()
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values


def _first(columns: Mapping[str, InputColumn]) -> npt.NDArray[Any]:
    column = next(iter(columns.values()))
    return column.codes if isinstance(column, Texts) else column


def _none() -> npt.NDArray[Any]:
    return np.zeros(0)
