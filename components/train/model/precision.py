"""Mixed precision: the large matrix products of a model are computed in 16 bits if its device gains from that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from headrace.components.train.options import Precision


def lower(core: Any, precision: Precision) -> int:
    """Makes the inner layers with weights compute in 16 bits; returns the number of these layers.

    Weights stay float32. These layers stay float32 too: layers whose sum is the output, because 16 bits would leave a
    prediction three digits; embedding tables, whose gradients would otherwise cover all their rows; and layers with an
    explicit dtype. A subclassed model has no known graph of layers and is not changed.

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
    """The optimizer, with loss scaling for layers that compute in float16, in which small gradients would vanish."""
    if precision != "mixed_float16" or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


def _last_with_weights(core: Any) -> Iterable[Any]:
    """The layers with weights that no other layer with weights follows."""
    layers, seen = [], set()
    waiting = keras.tree.flatten(core.outputs)
    while waiting:
        operation, node, _ = waiting.pop()._keras_history
        if (id(operation), node) in seen:
            continue
        seen.add((id(operation), node))
        if getattr(operation, "weights", []):
            layers.append(operation)
        else:
            waiting.extend(operation._inbound_nodes[node].input_tensors)
    return layers
