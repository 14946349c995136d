"""Lets the large products of a model be computed in 16 bits, where its device gains from that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from headrace.components.train.options import Precision


def lower(core: Any, precision: Precision) -> int:
    """Makes the inner layers with weights compute in 16 bits, and gives their number.

    Weights stay float32. So do the layers whose sum is the output, since 16 bits would leave a prediction three
    digits; tables of embeddings, whose gradients would otherwise be those of all their rows; and layers that were made
    with a dtype of their own. A subclassed model does not say what follows what, and stays as it was made.

    Args:
        core: a built Keras model.
        precision: mixed_bfloat16 or mixed_float16; with float32 nothing changes.
    """
    if precision == "float32" or not isinstance(core, keras.src.models.functional.Functional):
        return 0
    last = set(map(id, _last_with_weights(core)))
    lowered = 0
    for layer in core.layers:
        plain = layer.dtype_policy.name == "float32" and bool(layer.trainable_weights)
        if plain and id(layer) not in last and not isinstance(layer, keras.layers.Embedding | keras.Model):
            layer.dtype_policy = keras.DTypePolicy(precision)
            lowered += 1
    return lowered


def scaled(optimizer: Any, precision: Precision) -> Any:
    """The optimizer, with the loss scaled where layers compute in float16, in which small gradients would vanish."""
    if precision != "mixed_float16" or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


def _last_with_weights(core: Any) -> Iterable[Any]:
    """The layers with weights after which there is no other with weights."""
    found, seen = [], set()
    waiting = keras.tree.flatten(core.outputs)
    while waiting:
        operation, node, _ = waiting.pop()._keras_history
        if (id(operation), node) in seen:
            continue
        seen.add((id(operation), node))
        if getattr(operation, "weights", []):
            found.append(operation)
        else:
            waiting.extend(operation._inbound_nodes[node].input_tensors)
    return found
