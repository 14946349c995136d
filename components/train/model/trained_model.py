"""A model in the parts that training, export and scoring need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from headrace.components.train.model.objective import Objective
from headrace.components.train.model.text_tables import TextTables


@dataclass(frozen=True)
class Model:
    """A model in the two parts that training needs, and whole.

    Attributes:
        prepare: raw features by name -> what `core` takes; nothing in it is trained.
        core: what is trained.
        whole: raw features by name -> [batch, units]: what is saved as model.keras.
        inputs: names of the features that it takes.
        trackables: what a SavedModel must hold for `outputs`: variables and tables.
        objective: of the problem, and what the outputs are.
        text_tables: makes what batch scoring calls in the place of `whole`; None gives nothing.
    """

    prepare: Callable[[dict[str, Any]], dict[str, Any]]
    core: Any
    whole: Any
    inputs: tuple[str, ...]
    trackables: Sequence[Any]
    objective: Objective
    text_tables: Callable[[], TextTables | None] = lambda: None

    def outputs(self, features: Mapping[str, Any]) -> Any:
        """[batch, units] for raw features by name, as when it serves."""
        outputs = self.core(self.prepare({name: features[name] for name in self.inputs}), training=False)
        # Of a policy of 16 bits.
        return tf.cast(outputs, tf.float32) if tf.is_tensor(outputs) and outputs.dtype.is_floating else outputs

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(int(np.prod(variable.shape)) for variable in self.core.trainable_variables)
