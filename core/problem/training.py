"""Training section of a Problem: model, optimizer and stopping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headrace.core.checks import check_count, check_list, check_word, is_finite
from headrace.core.errors import ProblemError
from headrace.core.problem.weights import as_class_weights

ModelKind = Literal["linear", "deep", "wide_and_deep", "deep_and_cross"]
LearningRateScaling = Literal["none", "linear", "sqrt"]


# A larger size is probably a typing error, which would otherwise fail later in TensorFlow or for lack of memory.
_INT64 = 2**63 - 1
_MAXIMA = {
    "batch_size": 2**24,
    "epochs": _INT64,
    "patience": _INT64,
    "steps": _INT64,
    "cross_layers": 100,
    "seed": _INT64,
}
_MAX_UNITS, _MAX_LAYERS = 2**20, 1_000


@dataclass(frozen=True)
class Training:
    """How the model is trained.

    Args:
        batch_size: rows per step, over all replicas.
        epochs: maximum number of passes over the train split; early stopping may end training sooner.
        steps: maximum number of steps; None for no limit other than epochs.
        learning_rate: of Adam, in (0, 1].
        patience: number of epochs without a better loss on the eval split after which training stops.
        model: the model to train if the Problem file defines no build_model.
        hidden_units: widths of the deep part's layers; without layers, a wide and deep model is linear.
        cross_layers: number of cross layers of a deep and cross model.
        dropout: fraction of each hidden layer that is dropped during training, in [0, 1).
        learning_rate_scaling: how the rate grows with the number of replicas, over which batch_size is divided.
        class_weights: weight of a row of each class in the training loss, 1 for a class that is not named, as in Keras'
            `fit`; "balanced" is rows / (classes * rows of the class), by the train split, as in scikit-learn. Sample
            weights multiply them. They change neither the eval loss nor metrics.
        seed: the same input, seed and version give the same weights on the same hardware.

    Raises:
        ProblemError: a value is outside its range.
    """

    batch_size: int = 64
    epochs: int = 30
    steps: int | None = None
    learning_rate: float = 0.001
    patience: int = 5
    model: ModelKind = "wide_and_deep"
    hidden_units: Sequence[int] = (64, 32)
    cross_layers: int = 2
    dropout: float = 0.0
    learning_rate_scaling: LearningRateScaling = "none"
    seed: int = 1
    class_weights: Mapping[str, float] | Literal["balanced"] | None = None

    def __post_init__(self) -> None:
        for count, maximum in _MAXIMA.items():
            if count != "steps" or self.steps is not None:
                minimum = 0 if count == "seed" else 1
                value = getattr(self, count)
                check_count(value, count, minimum=minimum, maximum=maximum, where="Training", error=ProblemError)
        check_word(self.model, "model", get_args(ModelKind), where="Training", error=ProblemError)
        check_word(
            self.learning_rate_scaling,
            "learning_rate_scaling",
            get_args(LearningRateScaling),
            where="Training",
            error=ProblemError,
        )
        object.__setattr__(self, "class_weights", as_class_weights(self.class_weights))
        expected = "a list of whole numbers, one for each hidden layer"
        units = check_list(self.hidden_units, "hidden_units", expected=expected, where="Training", error=ProblemError)
        for unit in units:
            check_count(unit, "hidden_units", maximum=_MAX_UNITS, where="Training", error=ProblemError)
        if len(units) > _MAX_LAYERS:
            expected = f"{_MAX_LAYERS} layers or fewer"
            raise ProblemError("hidden_units is wrong", where="Training", expected=expected, received=f"{len(units)}")
        if self.model == "deep" and not units:
            raise ProblemError(
                "a deep model has hidden layers",
                where="Training",
                expected='hidden_units=[...], or model="linear"',
                received="hidden_units=[]",
            )
        object.__setattr__(self, "hidden_units", units)
        if not is_finite(self.learning_rate) or not 0 < self.learning_rate <= 1:
            raise ProblemError(
                "learning_rate is wrong", where="Training", expected="in (0, 1]", received=repr(self.learning_rate)
            )
        if not is_finite(self.dropout) or not 0 <= self.dropout < 1:
            raise ProblemError("dropout is wrong", where="Training", expected="in [0, 1)", received=repr(self.dropout))
