"""Engines that may call a model in place of TensorFlow's eager call, and how they are proven equal to it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.saved_model.interface import KEY, ModelBinding
from headrace.core.scoring.predictor import ArrayCall, BatchPredictions, Predictor

Arrays = Mapping[str, npt.NDArray[Any]]
# Within which predictions of LiteRT and of TensorFlow must agree: |a - b| <= ABSOLUTE + RELATIVE * |b|.
RELATIVE, ABSOLUTE = 1e-5, 1e-6
# Calls by which an engine is found faster than another.
_CALLS = 3
UNKNOWN = "\ufffd a text that no vocabulary has"


class Unsuitable(Exception):
    """An engine does not serve a model; the message is the reason, as a clause."""


def trial_columns(columns: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Rows to compare engines with: those given, the same with unknown texts, and the same without numbers."""
    rows = len(next(iter(columns.values())))
    tried = {}
    for name, column in columns.items():
        if name == KEY:
            others = [column, column]
        elif column.dtype == object:
            others = [np.full(rows, UNKNOWN, object), column]
        else:
            others = [column, np.full(rows, np.nan, column.dtype)]
        tried[name] = np.concatenate([column, *others])
    return tried


def worst_difference(ours: BatchPredictions, theirs: BatchPredictions) -> str:
    """Where predictions of both engines are not equal within the tolerance, as a clause; "" where they are."""
    if ours.at.tolist() != theirs.at.tolist() or set(ours.faults) != set(theirs.faults):
        return "it has predictions for other rows"
    for name, values in theirs.outputs.items():
        mine = ours.outputs[name]
        if mine.dtype != values.dtype or mine.shape != values.shape:
            return f"{name} is {mine.dtype} of shape {mine.shape}, TensorFlow's {values.dtype} of shape {values.shape}"
        if values.dtype.kind != "f":
            if not np.array_equal(mine, values):
                return f"{name} is not equal"
        elif not np.allclose(mine, values, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
            worst = float(np.nanmax(np.abs(mine.astype(np.float64) - values)))
            return f"{name} differs by {worst:.2g}, more than {RELATIVE:g} of it"
    return ""


def synthetic_rows(takes: ModelBinding) -> Arrays:
    """Rows for a model of which no rows are known."""
    from headrace.core.saved_model.independence import trial_rows

    some, others = trial_rows(takes), trial_rows(takes, companions=True)
    return {name: np.concatenate([rows.numpy(), others[name].numpy()]) for name, rows in some.items()}


def prove(predictor: Predictor, session: ArrayCall, tried: Arrays) -> None:
    """Lets a session call the model of a predictor from now on.

    Args:
        predictor: of the model.
        session: calls the same signature.
        tried: columns to compare both calls with.

    Raises:
        Unsuitable: its predictions are not equal, bit for bit, or it is not faster.
    """
    if not tried:
        raise Unsuitable("it has no golden rows")
    theirs, eager_s = _timed(predictor, tried)
    if not len(theirs.at):
        raise Unsuitable("it fails on synthetic rows")
    predictor.session = session
    ours, session_s = _timed(predictor, tried)
    if not equal(ours, theirs):
        raise Unsuitable("its predictions are not equal")
    if session_s > eager_s:
        raise Unsuitable("it is not faster")


def _timed(predictor: Predictor, columns: Arrays) -> tuple[BatchPredictions, float]:
    """Predictions, and the shortest time of several calls after the first one, in seconds."""
    found = predictor.predict(columns)
    times = []
    for _ in range(_CALLS):
        begin = time.perf_counter()
        predictor.predict(columns)
        times.append(time.perf_counter() - begin)
    return found, min(times)


def equal(ours: BatchPredictions, theirs: BatchPredictions) -> bool:
    """Whether two predictions of the same rows are equal, bit for bit."""
    return (
        ours.at.tolist() == theirs.at.tolist()
        and ours.faults == theirs.faults
        and all(_bits(ours.outputs[name]) == _bits(values) for name, values in theirs.outputs.items())
    )


def _bits(values: npt.NDArray[Any]) -> tuple[Any, ...]:
    content = [_bits(row) if isinstance(row, np.ndarray) else row for row in values.tolist()]
    return values.dtype, values.shape, content if values.dtype == object else values.tobytes()
