"""Parts of the default models: the wide part, the deep part and the cross network."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from headrace.components.train.model.objective import Objective
from headrace.core.problem import Training

# Vector length of a one-hot feature in the cross network, which multiplies each pair of elements of its input.
CROSSED_WIDTH = 4


@dataclass(frozen=True)
class Sparse:
    """A feature that is a row of a table.

    Attributes:
        name: of the feature.
        rows: of its table.
        embedding: the length of its vector in the deep part, or None for one-hot.
        crossed: whether it is a cross: one-hot in the wide part only.
        unseen: table rows that do not occur in the train split, according to its statistics.
    """

    name: str
    rows: int
    embedding: int | None
    crossed: bool = False
    unseen: tuple[int, ...] = ()


def embedding_input(name: str) -> str:
    """The name of the input with an embedded feature's row numbers, which cannot be a layer's name."""
    return f"{name}.embedding"


def one_hot_of(tables: Sequence[Sparse]) -> list[Sparse]:
    """The tables that are one-hot in the deep part."""
    return [table for table in tables if table.embedding is None and not table.crossed]


def starts(tables: Sequence[Sparse]) -> list[int]:
    """The number of each table's first row in the concatenation of the tables."""
    return list(itertools.accumulate((table.rows for table in tables), initial=0))[:-1]


def wide_terms(
    inputs: Mapping[str, Any], tables: Sequence[Sparse], objective: Objective, *, with_bias: bool
) -> list[Any]:
    """The terms of the wide part: contributions of numbers and table rows to the output, [batch, units] each."""
    terms = []
    if "numeric" in inputs:
        dense = keras.layers.Dense(objective.units, use_bias=with_bias, kernel_initializer="zeros", name="wide_numeric")
        terms.append(dense(inputs["numeric"]))
    if tables:
        table = keras.layers.Embedding(
            sum(t.rows for t in tables), objective.units, embeddings_initializer="zeros", name="wide_one_hot"
        )
        terms.append(keras.ops.sum(table(inputs["wide"]), axis=1))
    return terms


def dense_parts(inputs: Mapping[str, Any], tables: Sequence[Sparse], seeds: random.Random) -> list[Any]:
    """The numbers and each embedding, [batch, n], which the deep part and the cross network share."""
    parts = [inputs["numeric"]] if "numeric" in inputs else []
    for table in tables:
        if table.embedding is not None:
            initializer = keras.initializers.RandomUniform(-0.05, 0.05, seed=_seed(seeds))
            layer = keras.layers.Embedding(
                table.rows,
                table.embedding,
                embeddings_initializer=initializer,
                name=f"embedding_{table.name}_table",
            )
            parts.append(layer(inputs[embedding_input(table.name)]))
    return parts


def deep(
    parts: Sequence[Any],
    inputs: Mapping[str, Any],
    tables: Sequence[Sparse],
    training: Training,
    seeds: random.Random,
) -> Any:
    """The last hidden layer over the dense parts and one-hot tables, [batch, hidden_units[-1]]."""
    width, one_hot = training.hidden_units[0], one_hot_of(tables)
    terms = []
    if parts:
        joined = parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="dense")(list(parts))
        terms.append(keras.layers.Dense(width, kernel_initializer=glorot(seeds), name="hidden_1_dense")(joined))
    if one_hot:
        # Initialized as a Dense kernel over all the columns: larger rows would be noise for rare categories.
        rows = keras.layers.Embedding(
            sum(table.rows for table in one_hot),
            width,
            embeddings_initializer=glorot(seeds),
            name="hidden_1_one_hot",
        )
        terms.append(keras.ops.sum(rows(inputs["deep"]), axis=1))
    hidden = keras.layers.ReLU(name="hidden_1")(add(terms, "hidden_1_sum"))
    for number, units in enumerate(training.hidden_units, start=1):
        if number > 1:
            layer = keras.layers.Dense(
                units, activation="relu", kernel_initializer=glorot(seeds), name=f"hidden_{number}"
            )
            hidden = layer(hidden)
        if training.dropout:
            hidden = keras.layers.Dropout(training.dropout, seed=_seed(seeds), name=f"dropout_{number}")(hidden)
    return hidden


def cross(
    parts: Sequence[Any], inputs: Mapping[str, Any], tables: Sequence[Sparse], layers: int, seeds: random.Random
) -> Any:
    """The cross network of DCN v2 (Wang et al., 2021), [batch, n]: each layer is x0 * (W x + b) + x.

    x0 is the dense parts, and a short vector for each one-hot table.
    """
    joined = list(parts)
    one_hot = one_hot_of(tables)
    if one_hot:
        initializer = keras.initializers.RandomUniform(-0.05, 0.05, seed=_seed(seeds))
        rows = keras.layers.Embedding(
            sum(table.rows for table in one_hot),
            CROSSED_WIDTH,
            embeddings_initializer=initializer,
            name="cross_one_hot",
        )
        joined.append(keras.layers.Flatten(name="cross_flat")(rows(inputs["deep"])))
    base = joined[0] if len(joined) == 1 else keras.layers.Concatenate(name="cross_input")(joined)
    crossed = base
    for number in range(1, layers + 1):
        dense = keras.layers.Dense(base.shape[-1], kernel_initializer=glorot(seeds), name=f"cross_{number}_dense")
        product = keras.layers.Multiply(name=f"cross_{number}_product")([base, dense(crossed)])
        crossed = keras.layers.Add(name=f"cross_{number}")([crossed, product])
    return crossed


def add(terms: list[Any], name: str) -> Any:
    return terms[0] if len(terms) == 1 else keras.layers.Add(name=name)(terms)


def glorot(seeds: random.Random) -> Any:
    return keras.initializers.GlorotUniform(seed=_seed(seeds))


def _seed(seeds: random.Random) -> int:
    return seeds.randrange(1 << 31)
