"""Model parts: the preprocessing, the trained core and the whole model, for training, export and scoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.model.objective import Objective
from headrace.components.train.model.text_tables import TextTables


@dataclass(frozen=True)
class TrainedModel:
    """A model: the two parts for training, and the whole model.

    Attributes:
        prepare: raw features by name -> inputs of `core`; it has no trainable weights.
        core: the trained part.
        whole: raw features by name -> [batch, units]; saved as model.keras.
        inputs: names of its input features.
        trackables: the variables and tables that a SavedModel must hold for `outputs`.
        objective: of the problem, which also defines the outputs.
        text_tables: builds the functions that batch scoring calls in place of `whole`; None for a model without them.
    """

    prepare: Callable[[dict[str, Any]], dict[str, Any]]
    core: Any
    whole: Any
    inputs: tuple[str, ...]
    trackables: Sequence[Any]
    objective: Objective
    text_tables: Callable[[], TextTables | None] = lambda: None

    def outputs(self, features: Mapping[str, Any]) -> Any:
        """[batch, units] for raw features by name, as in serving."""
        outputs = self.core(self.prepare({name: features[name] for name in self.inputs}), training=False)
        # A policy of 16 bits returns 16 bits.
        return tf.cast(outputs, tf.float32) if tf.is_tensor(outputs) and outputs.dtype.is_floating else outputs

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(int(np.prod(variable.shape)) for variable in self.core.trainable_variables)
