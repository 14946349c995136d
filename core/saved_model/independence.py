"""Row independence: checks by a few small calls whether a prediction depends on the other rows of its batch.

Batch scoring pads calls with copies of rows and splits them to fit into memory, which is correct only if rows are
independent. A sort, statistics of the batch, a softmax over the rows or active dropout make rows dependent: such a
model is refused, unless all rows are scored in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from headrace.core.errors import DataError
from headrace.core.saved_model.interface import FLOATS, ModelBinding, ModelInput

Tensors = Mapping[str, Any]
Answers = Mapping[str, npt.NDArray[Any]]
ModelCall = Callable[[Tensors], Tensors]

# Rows of a probe: enough that a sort moves most of them, few enough to be cheap.
PROBE_ROWS = 8
_FEW_ROWS = 3
# Calls after which a model that gave the same answers each time is not random.
_REPEATS = 5
_OPEN_WIDTH = 3
# Control characters other than tab, line feed and carriage return, which text does not contain.
_CONTROLS = frozenset(range(32)) - {9, 10, 13}
_WORDS = (b"a", b"b", b"0", b"1")
# Differences due to rounding, relative to the largest prediction, and absolute. In the same place of a call of the same
# size, a row's prediction is bit for bit the same whatever the other rows are, except for models that concatenate the
# values of all rows, such as lists. In another place, or in a call of another size, matrix products sum in another
# order.
_SAME_PLACE = (1e-3, 0.0)
_OTHER_PLACE = (1e-2, 1e-6)


@dataclass(frozen=True)
class _Difference:
    output: str
    one: str
    other: str


def trial_rows(takes: ModelBinding, *, companions: bool = False) -> dict[str, Any]:
    """Synthetic rows for a first call of a model without known rows; the same rows each time.

    Args:
        takes: the model's interface.
        companions: whether to make other rows, with numbers far from the first ones.

    Returns:
        By input, PROBE_ROWS rows.
    """
    chance = np.random.default_rng(int(companions))
    inputs = [*takes.inputs, *([ModelInput(takes.key_input, "string")] if takes.key_input else [])]
    return {taken.name: _values(chance, taken, companions) for taken in inputs}


def _values(chance: np.random.Generator, taken: ModelInput, companions: bool) -> Any:
    inner = [size or _OPEN_WIDTH for size in taken.dims or ([] if taken.width is None else [taken.width])]
    shape = [PROBE_ROWS, *inner]
    if taken.dtype == "string":
        return tf.constant(chance.choice(np.array(_WORDS, object), shape), tf.string)
    if taken.dtype in FLOATS:
        return tf.cast(tf.constant(chance.uniform(0.0, 1000.0 if companions else 1.0, shape)), taken.dtype)
    # Small enough for most vocabularies.
    return tf.cast(tf.constant(chance.integers(0, 2 if taken.dtype == "bool" else 4, shape)), taken.dtype)


def answers_to(call: ModelCall, rows: Tensors, batch: int | None) -> Answers | None:
    """A model's predictions for rows, repeated to fill a call of a fixed size; None if the call fails.

    Args:
        call: the model.
        rows: by input, one or more rows.
        batch: rows that every call must have, or None.
    """
    there = len(next(iter(rows.values())))
    return _asked(call, _taken(rows, np.arange(batch or there) % there))


def check_independence(
    call: ModelCall, rows: Tensors, companions: Tensors, batch: int | None, where: str
) -> Answers | None:
    """Calls a model with rows alone, with other rows and in another order, and compares the predictions.

    Args:
        call: the model.
        rows: by input, one or more rows.
        companions: other rows, one or more.
        batch: rows that every call must have, or None.
        where: the model, for messages.

    Returns:
        The predictions for the rows; None where the model fails on them, so that independence is unknown.

    Raises:
        DataError: a prediction depends on the other rows, or differs between calls.
    """
    there = len(next(iter(rows.values())))
    count = batch or there
    first = _taken(rows, np.arange(count) % there)
    answers = _asked(call, first)
    if answers is None or count == 1 == batch:
        return answers
    half = -(-count // 2)
    beside = len(next(iter(companions.values())))
    kept, every = np.arange(half), np.arange(count)
    # With other rows, the first row in some order may no longer be first; with copies of one row, it may become first.
    beside_others = _taken(companions, np.arange(count - half) % beside)
    beside_copies = _taken(first, np.zeros(count - half, np.int64))
    found = None
    for company in (beside_others, beside_copies) if count > 1 else ():
        tensors = {name: tf.concat([tensor[:half], company[name]], 0) for name, tensor in first.items()}
        found = found or _difference(answers, _asked(call, tensors), kept, kept, _SAME_PLACE, 1)
    if count > 1 and found is None:
        back = every[::-1]
        found = _difference(answers, _asked(call, _taken(first, back)), every, back, _OTHER_PLACE, 2)
    if found is None and batch is None:
        few = np.arange(_FEW_ROWS) % there
        places = np.arange(len(few))
        found = _difference(
            answers, _asked(call, _taken(first, few)), few, places, _OTHER_PLACE, 1 if there == 1 else 2
        )
    if found is not None:
        # Dropout keeps the same numbers of few rows once in a while.
        calls = (_asked(call, first) for _ in range(_REPEATS))
        again = any(_difference(answers, one, every, every, _SAME_PLACE, 1) is not None for one in calls)
        raise _refusal(found, where, random=again)
    return answers


def _asked(call: ModelCall, tensors: Tensors) -> Answers | None:
    try:
        return {name: _array(tensor) for name, tensor in call(tensors).items()}
    except tf.errors.OpError:
        return None


def with_binary(takes: ModelBinding, answers: Answers | None, makes_bytes: Callable[[], bool]) -> ModelBinding:
    """Marks outputs as bytes if their strings are not text in the predictions for synthetic rows.

    The model itself makes such strings, such as an image or a serialized tensor: so a column's type follows from the
    model, not from the data.

    Args:
        takes: the model's interface.
        answers: predictions for synthetic rows; None where the model fails on them, as a model of images does.
        makes_bytes: whether it has an operation that makes bytes; its only string output then holds them.
    """
    texts = [output.name for output in takes.outputs if output.dtype == "string"]
    if answers is None:
        binary = texts if len(texts) == 1 and makes_bytes() else []
    else:
        binary = [name for name in texts if name in answers and not _is_text(answers[name])]
    outputs = tuple(replace(o, binary=o.binary or o.name in binary) for o in takes.outputs)
    return replace(takes, outputs=outputs)


def _is_text(answers: npt.NDArray[Any]) -> bool:
    content = b"".join(answers.reshape(-1).tolist())
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return not _CONTROLS.intersection(content)


def _refusal(found: _Difference, where: str, *, random: bool) -> DataError:
    if random:
        return DataError(
            "the model gives other answers to the same rows each time",
            where=where,
            expected=f"one value of the output {found.output} for a row",
            received=f"{found.one}, then {found.other}",
            fix="Export it for prediction (dropout and sampling switched off), or score it as it is, all rows in one "
            "call, with --batch whole",
        )
    return DataError(
        "the model's rows are not independent: its answer to a row depends on the other rows of a batch",
        where=where,
        expected=f"one value of the output {found.output} for a row, whatever rows it is scored with",
        received=f"{found.one}, and {found.other} among other rows",
        fix="Export it for prediction (without statistics of the batch), or score all rows in one call with "
        "--batch whole",
    )


def _taken(tensors: Tensors, at: npt.NDArray[np.int64]) -> dict[str, Any]:
    return {name: tf.gather(tensor, at) for name, tensor in tensors.items()}


def _array(tensor: Any) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = (tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor).numpy()
    return values


def _difference(
    answers: Answers,
    others: Answers | None,
    at: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    tolerance: tuple[float, float],
    minimum: int,
) -> _Difference | None:
    """The first output whose values at `at` differ from those of the other call at `places` for some rows.

    Args:
        answers: predictions of one call.
        others: predictions of the other call; None where it failed.
        at: rows of the first call.
        places: their places in the other call.
        tolerance: of numbers, relative to the largest one, and absolute.
        minimum: minimum number of differing rows: rounding may change the class of one row, but rarely of two.
    """
    for name in sorted(answers) if others is not None else ():
        assert others is not None
        one, other = answers[name], others[name]
        if not one.ndim or not other.ndim or len(one) <= at.max() or len(other) <= places.max():
            # Not one prediction per row, which is reported elsewhere.
            continue
        one, other = one[at], other[places]
        if one.shape != other.shape:
            return _Difference(name, f"a width of {one.shape[1:]}", f"of {other.shape[1:]}")
        differ = np.flatnonzero(_differ(one, other, tolerance))
        if len(differ) >= min(minimum, len(at)):
            row = int(differ[0])
            return _Difference(name, _shown(one[row]), _shown(other[row]))
    return None


def _differ(one: npt.NDArray[Any], other: npt.NDArray[Any], tolerance: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Which rows differ, [rows]."""
    if one.dtype.kind != "f":
        different = one != other
    else:
        wide, beside = one.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(wide) & np.isfinite(beside)
        largest = np.abs(wide[finite]).max(initial=0.0)
        with np.errstate(invalid="ignore"):
            far = np.abs(wide - beside) > tolerance[0] * largest + tolerance[1]
        different = np.where(finite, far, ~((wide == beside) | (np.isnan(wide) & np.isnan(beside))))
    rows: npt.NDArray[np.bool_] = different.reshape(len(one), -1).any(axis=1)
    return rows


def _shown(value: Any) -> str:
    text = str(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
