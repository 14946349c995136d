"""Output kind of a user's model: logits or probabilities, on which the model, its loss and the task must agree.

Outputs are tested with random weights: for any weights, outputs of a sigmoid or a softmax are between 0 and 1, and
outputs of a softmax sum to 1. Layer names are not read, so the test is valid for models of any kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import keras
import numpy as np

from headrace.components.train.model.objective import Objective, OutputKind
from headrace.core.errors import ProblemError

# Number of random weights. A logit that depends on a bias only is between 0 and 1 for one in eight of them.
_TRIALS = 6
_SCALE = 3.0
_TOTAL_TOLERANCE = 1e-2
# Some processors round the softmax over one number to 1 - 2**-24.
_ROUNDING = float(np.finfo(np.float32).eps)
_BINARY = ("BinaryCrossentropy", "BinaryFocalCrossentropy", "binary_crossentropy", "binary_focal_crossentropy")
_SPARSE = ("SparseCategoricalCrossentropy", "sparse_categorical_crossentropy")
_MARGIN = ("Hinge", "SquaredHinge", "hinge", "squared_hinge")
# Reductions over rows whose result does not depend on how the rows are divided into batches.
_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")

Takes = Literal["logits", "probabilities"]


def output_kind(core: Any, outputs: Callable[[], Any], objective: Objective, where: str) -> OutputKind:
    """Returns the kind of a model's outputs.

    Args:
        core: the Keras model; its weights are replaced during the test and restored afterwards.
        outputs: returns the outputs, [rows, units], for some rows with the current weights.
        objective: the problem's objective.
        where: location of the user's build_model, for errors.

    Raises:
        ProblemError: the outputs do not depend on the weights, are logits for a compiled loss that expects
            probabilities, or are probabilities for a loss that expects logits.
    """
    loss = loss_of(core)
    if loss is not None and getattr(loss, "reduction", _MEANS[0]) not in _MEANS:
        raise ProblemError(
            "the loss is not a mean over rows",
            where=where,
            expected='reduction="sum_over_batch_size", the default',
            received=f"{_name(loss)}(reduction={loss.reduction!r})",
        )
    tried = _tried(core, outputs)
    finite = [each[np.isfinite(each).all(axis=1)] for each in tried]
    seen = np.concatenate(finite) if finite else np.zeros((0, objective.units))
    if len(seen) > 1 and np.allclose(seen, seen[0], rtol=_ROUNDING, atol=0):
        raise ProblemError(
            "the model gives the same answer whatever its weights are",
            where=where,
            expected=f"outputs that can be trained, such as {_ending(objective)}",
            received=f"{seen[0].tolist()} for every row"
            + (": a softmax over one number is always 1" if np.allclose(seen, 1, rtol=_ROUNDING, atol=0) else ""),
        )
    if objective.task == "regression":
        return "logits"
    takes = _takes(loss, objective, where)
    bounded = len(seen) > 0 and bool(((seen >= 0) & (seen <= 1)).all())
    if bounded and objective.task == "multiclass" and (np.abs(seen.sum(axis=1) - 1) > _TOTAL_TOLERANCE).any():
        raise ProblemError(
            "the outputs are independent probabilities of the classes, which do not sum to 1",
            where=where,
            expected=f"{_ending(objective)}, or logits: Dense({objective.units})",
            received=f"{[round(float(value), 4) for value in seen[0]]}",
        )
    if bounded and takes == "logits":
        raise ProblemError(
            "the loss expects logits, and the model returns probabilities: sigmoid or softmax would be applied twice",
            where=where,
            expected=f"loss=keras.losses.{_cross_entropy(objective)}(), or a last layer without activation",
            received=f"{_name(loss)}(from_logits=True), and outputs between 0 and 1",
        )
    if not bounded and takes == "probabilities":
        raise ProblemError(
            "the loss expects probabilities, and the model returns other values",
            where=where,
            expected=f"{_ending(objective)}, or loss=keras.losses.{_cross_entropy(objective)}(from_logits=True)",
            received=f"{_name(loss)}, and outputs below 0 or above 1",
        )
    return "probabilities" if bounded else "logits"


def _tried(core: Any, outputs: Callable[[], Any]) -> list[Any]:
    """The outputs, [rows, units] float64 each, for the model's own weights and for random ones."""
    random = np.random.default_rng(1)
    before = [np.array(variable.value) for variable in core.trainable_variables]
    found = [np.asarray(outputs(), np.float64)]
    try:
        for _ in range(_TRIALS):
            for variable, value in zip(core.trainable_variables, before, strict=True):
                variable.assign((_SCALE * random.standard_normal(value.shape, np.float32)).astype(value.dtype))
            found.append(np.asarray(outputs(), np.float64))
    finally:
        for variable, value in zip(core.trainable_variables, before, strict=True):
            variable.assign(value)
    return found


def loss_of(core: Any) -> Any:
    """The loss of compile(), a function or an object; None without a compiled loss."""
    loss = core.loss if core.compiled else None
    while isinstance(loss, list | tuple | dict) and len(loss) == 1:
        loss = next(iter(loss.values())) if isinstance(loss, dict) else loss[0]
    return keras.losses.get(loss) if isinstance(loss, str) else loss


def _takes(loss: Any, objective: Objective, where: str) -> Takes | None:
    """The kind of outputs that a loss expects; None if the loss does not declare it.

    Raises:
        ProblemError: the loss expects labels of another form.
    """
    options = loss.keywords if isinstance(loss, partial) else {}
    function = loss.func if isinstance(loss, partial) else loss
    if not _is_keras(function):
        return None
    name = _name(function)
    if name in (_BINARY if objective.task == "binary" else _SPARSE):
        logits = options.get("from_logits", getattr(loss, "from_logits", False))
        return "logits" if logits else "probabilities"
    if objective.task == "binary" and "ategorical" not in name:
        return "logits" if name in _MARGIN else "probabilities"
    labels = "0 or 1, of shape [batch, 1]" if objective.task == "binary" else "indices of classes, of shape [batch]"
    raise ProblemError(
        f"the loss does not fit the labels, which are {labels}",
        where=where,
        expected=f"loss=keras.losses.{_cross_entropy(objective)}()",
        received=name,
    )


def _is_keras(loss: Any) -> bool:
    module = getattr(loss, "__module__", "") if callable(loss) and hasattr(loss, "__name__") else type(loss).__module__
    return loss is not None and str(module).startswith("keras.")


def _name(loss: Any) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))


def _cross_entropy(objective: Objective) -> str:
    return "BinaryCrossentropy" if objective.task == "binary" else "SparseCategoricalCrossentropy"


def _ending(objective: Objective) -> str:
    activation = {"regression": "", "binary": ', activation="sigmoid"', "multiclass": ', activation="softmax"'}
    return f"Dense({objective.units}{activation[objective.task]})"
