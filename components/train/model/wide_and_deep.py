"""The default models, built from the problem and what was measured.

"wide_and_deep" (Cheng et al., 2016) adds a linear model of one-hot features and crosses to a deep one of embeddings;
"linear" and "deep" are one of the two. "deep_and_cross" (Wang et al., 2021) adds a cross network to the deep one in
place of the linear. A cross without an embedding belongs to the linear part: "deep" and "deep_and_cross" leave it out.

Each is two Keras models. `preprocessing` takes raw features and gives numbers and row numbers of tables; it learns
nothing, so it runs once in the input pipeline. `core` is what is trained. Both consist of Keras' own layers only, so
`model.keras` loads wherever Keras does.

- A number is normalized by mean and deviation; a missing one stands for the mean. Buckets are one-hot besides.
- A category is row 0 where it is missing, row 1 where it is not in the vocabulary, and then in the vocabulary's order.
- A hashed category is row 0 where it is missing, else 1 + its hash modulo the buckets.
- A cross is the hash of the categories' text and the numbers' buckets, so it does not depend on a vocabulary's order.

One-hot columns times a kernel is the sum of the kernel's rows: tables of rows stand for both, without the zeros.

Keras wants every name of a graph once, and numbers the operations that nobody named ("stack", "where_1"). A column may
bear any such name, so a graph that has the columns' names has no others without a dot, which no column's name has.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.ops.numpy import Stack

from headrace.components.train.model import towers
from headrace.components.train.model.objective import Objective
from headrace.components.train.model.towers import Sparse as Sparse
from headrace.core.problem import Categorical, Crossed, ModelKind, Numeric, Problem, Training

Statistics = Mapping[str, Mapping[str, Any]]

# The layers of a whole model.
PREPROCESSING = "model.preprocessing"
CORE = "model.core"
# All numbers side by side, [batch, n] float32: as columns of their own they take TensorFlow milliseconds each.
NUMBERS = "numbers.raw"
# Keras' normalization divides by 1e-7 at least, and squares what it divides by. Of deviations beyond these powers of 2
# a column is scaled by a power of 2 first, which rounds nothing.
_PLAIN_EXPONENT = 20
# 2 ** 127 is the largest that float32 holds, and 2 ** -126 the smallest that processors do not take for 0.
_MAX_EXPONENT = 126

# Crosses of three and more are hashed in pairs; what is between is kept apart by this many values.
_INTERMEDIATE_BUCKETS = (1 << 31) - 1


def raw_inputs(problem: Problem) -> dict[str, Any]:
    """Keras inputs for the raw features: each [batch], float32 (missing: NaN) or string (missing: "")."""
    return {
        column.name: keras.Input(
            shape=(), name=column.name, dtype="float32" if isinstance(column, Numeric) else "string"
        )
        for column in problem.columns
    }


def vocabulary_of(feature: Categorical, statistics: Statistics) -> list[str]:
    """The vocabulary declared, or the most frequent values measured on the train split."""
    if feature.vocabulary is not None:
        return list(feature.vocabulary)
    return [value for value, _ in statistics[feature.name]["vocabulary"][: feature.max_vocabulary]]


def sparse_features(problem: Problem, statistics: Statistics) -> list[Sparse]:
    """The tables of a problem, in the order declared, embedded and crossed ones last."""
    tables: list[Sparse] = []
    for feature in problem.features:
        if isinstance(feature, Numeric):
            if feature.boundaries is not None:
                tables.append(Sparse(feature.name, len(feature.boundaries) + 1, None))
        elif isinstance(feature, Crossed):
            tables.append(Sparse(feature.name, feature.hash_buckets, feature.embedding, crossed=True))
        elif feature.hash_buckets is not None:
            unseen: tuple[int, ...] = () if statistics[feature.name]["missing"] else (0,)
            tables.append(Sparse(feature.name, feature.hash_buckets + 1, feature.embedding, unseen=unseen))
        else:
            vocabulary = vocabulary_of(feature, statistics)
            unseen = _unseen(vocabulary, statistics[feature.name])
            tables.append(Sparse(feature.name, len(vocabulary) + 2, feature.embedding, unseen=unseen))
    return sorted(tables, key=lambda table: (table.crossed, table.embedding is not None))


def build_preprocessing(
    problem: Problem, statistics: Statistics, kind: ModelKind = "wide_and_deep", known: Sequence[str] = ()
) -> keras.Model:
    """Raw features by name -> "numeric" [batch, n] float32, "wide" and "deep" row numbers, and those of embeddings.

    Outputs that the problem has no features for, or that a model of this kind does not take, are left out.

    Args:
        problem: what was declared.
        statistics: by column name, as in statistics.json.
        kind: of the model.
        known: categories and crosses whose row numbers are given, as inputs of the name `indices_of`, and not found.
    """
    given = {name: keras.Input(shape=(), name=indices_of(name), dtype="int32") for name in known}
    texts = [feature for feature in problem.columns if isinstance(feature, Categorical)]
    inputs = {text.name: keras.Input(shape=(), name=_text_input(text.name), dtype="string") for text in texts}
    numbers = [feature for feature in problem.columns if isinstance(feature, Numeric)]
    places = {feature.name: place for place, feature in enumerate(numbers)}
    stacked = keras.Input(shape=(len(numbers),), name=NUMBERS, dtype="float32") if numbers else None
    outputs: dict[str, Any] = {}
    if numbers:
        values = _normalized(stacked, [_moments(statistics[feature.name]) for feature in numbers])
        outputs["numeric"] = keras.ops.where(keras.ops.isnan(values), 0.0, values)
    indices: dict[str, Any] = dict(given)
    for feature in problem.columns:
        if feature.name in given:
            continue
        if isinstance(feature, Numeric):
            if feature.boundaries is not None:
                # A slice would not be known to have as many rows, which decides how sums are optimized.
                value = keras.ops.take(stacked, places[feature.name], axis=1)
                indices[feature.name] = bucket_indices(feature, value, statistics)
        elif feature.hash_buckets is not None:
            hashing = keras.layers.Hashing(feature.hash_buckets + 1, mask_value="", name=hash_layer(feature.name))
            indices[feature.name] = hashing(inputs[feature.name])
        else:
            lookup = keras.layers.StringLookup(
                vocabulary=vocabulary_of(feature, statistics), mask_token="", name=vocabulary_layer(feature.name)
            )
            indices[feature.name] = lookup(inputs[feature.name])
    for cross in problem.crosses:
        if cross.name in given:
            continue
        parts = [indices[n] if n in places else inputs[n] for n in cross.features]
        indices[cross.name] = cross_indices(cross, parts)

    tables = sparse_features(problem, statistics)
    if tables and _is_wide(kind):
        outputs["wide"] = _rows(indices, tables)
    one_hot = towers.one_hot_of(tables)
    if one_hot and kind != "linear":
        outputs["deep"] = _rows(indices, one_hot)
    for table in tables:
        if table.embedding is not None and kind != "linear":
            outputs[towers.embedding_input(table.name)] = keras.ops.cast(indices[table.name], "int32")
    # A category that is known need not be there as text, unless a cross is made of it.
    taken = [cross for cross in problem.crosses if _is_wide(kind) or cross.embedding is not None]
    crossed = {part for cross in taken if cross.name not in given for part in cross.features}
    taken_inputs = [tensor for name, tensor in inputs.items() if name not in given or name in crossed]
    taken_inputs += [stacked] if numbers else []
    return keras.Model({each.name: each for each in (*taken_inputs, *given.values())}, outputs, name=PREPROCESSING)


def preprocessing_inputs(problem: Problem, features: Mapping[str, Any]) -> dict[str, Any]:
    """What the model of `build_preprocessing` takes, for raw features by name: tensors, [rows] each.

    Args:
        problem: what was declared.
        features: all numbers, or `NUMBERS`, [rows, numbers]; as many of the texts as there are; row numbers under the
            name of `indices_of`.
    """
    texts = {column.name for column in problem.columns if isinstance(column, Categorical)}
    found = {_text_input(name): each for name, each in features.items() if name in texts}
    found.update((name, each) for name, each in features.items() if "." in name)
    numbers = [column.name for column in problem.columns if isinstance(column, Numeric)]
    if numbers and NUMBERS not in found:
        found[NUMBERS] = tf.stack([features[name] for name in numbers], axis=1)
    return found


def indices_of(name: str) -> str:
    """What the row numbers of a category or cross are called where they are an input."""
    return f"{name}.indices"


def vocabulary_layer(name: str) -> str:
    """The name of the layer that looks a category up."""
    return f"{name}.vocabulary"


def hash_layer(name: str) -> str:
    """The name of the layer that hashes a category."""
    return f"{name}.hash"


def cross_layer(name: str) -> str:
    """The name of the layer that gives a cross, the last one where it is made in several."""
    return f"{name}.cross"


def build_core(
    problem: Problem, statistics: Statistics, preprocessing: keras.Model, objective: Objective, training: Training
) -> keras.Model:
    """What `preprocessing` gives -> [batch, units] values or logits. Weights follow from `training.seed` alone."""
    seeds = random.Random(training.seed)  # noqa: S311 - not for secrets
    tables = sparse_features(problem, statistics)
    inputs = {
        name: keras.Input(shape=tensor.shape[1:], name=name, dtype=tensor.dtype)
        for name, tensor in preprocessing.output.items()
    }
    kind, terms = training.model, []
    is_deep = bool(training.hidden_units) and kind != "linear"
    if _is_wide(kind):
        terms += towers.wide_terms(inputs, tables, objective, with_bias=not is_deep)
    parts = towers.dense_parts(inputs, tables, seeds) if is_deep or kind == "deep_and_cross" else []
    if is_deep:
        hidden = towers.deep(parts, inputs, tables, training, seeds)
        out = keras.layers.Dense(objective.units, kernel_initializer=towers.glorot(seeds), name="deep_out")
        terms.append(out(hidden))
    if kind == "deep_and_cross":
        crossed = towers.cross(parts, inputs, tables, training.cross_layers, seeds)
        initializer = towers.glorot(seeds)
        out = keras.layers.Dense(
            objective.units, use_bias=not is_deep, kernel_initializer=initializer, name="cross_out"
        )
        terms.append(out(crossed))
    outputs = towers.add(terms, "logits")
    if objective.task == "regression":
        outputs = keras.layers.Rescaling(objective.deviation, objective.mean, name="label_scale")(outputs)
    core = keras.Model(inputs, outputs, name=CORE)
    _begin_at_what_is_known(core, tables, objective)
    return core


def join(problem: Problem, preprocessing: keras.Model, core: keras.Model) -> keras.Model:
    """Raw features by name -> [batch, units]: what is exported."""
    inputs = raw_inputs(problem)
    numbers = [inputs[column.name] for column in problem.columns if isinstance(column, Numeric)]
    taken = {_text_input(name): tensor for name, tensor in inputs.items() if tensor.dtype == "string"}
    if numbers:
        # keras.ops.stack takes no name.
        taken[NUMBERS] = Stack(axis=1, name="numbers.stack")(numbers)
    return keras.Model(inputs, core(preprocessing(taken)), name=problem.name.replace("-", "_"))


def _text_input(name: str) -> str:
    return f"{name}.raw"


def _normalized(values: Any, moments: Sequence[tuple[float, float]]) -> Any:
    """[batch, n] less the means and divided by the deviations, of any scale that float32 holds."""
    exponents = [math.frexp(deviation)[1] for _, deviation in moments]
    exponents = [max(-_MAX_EXPONENT, min(_MAX_EXPONENT, n)) if abs(n) > _PLAIN_EXPONENT else 0 for n in exponents]
    if any(exponents):
        values = keras.layers.Rescaling([2.0**-n for n in exponents], name="numbers.scale")(values)
    return keras.layers.Normalization(
        mean=[mean * 2.0**-n for (mean, _), n in zip(moments, exponents, strict=True)],
        variance=[(deviation * 2.0**-n) ** 2 for (_, deviation), n in zip(moments, exponents, strict=True)],
        name="numbers.normalize",
    )(values)


def _unseen(vocabulary: Sequence[str], measured: Mapping[str, Any]) -> tuple[int, ...]:
    counts = dict(measured["vocabulary"])
    missing = [] if measured["missing"] else [0]
    # Measured values outside the vocabulary, listed or not, share row 1.
    unknown = [] if measured["distinct"] > sum(value in counts for value in vocabulary) else [1]
    return (*missing, *unknown, *(row for row, value in enumerate(vocabulary, start=2) if value not in counts))


def _is_wide(kind: ModelKind) -> bool:
    return kind in ("linear", "wide_and_deep")


def _moments(measured: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and deviation; a number that was always missing or never varied is only shifted."""
    return float(measured["mean"] or 0.0), float(measured["standard_deviation"] or 1.0)


def bucket_indices(feature: Numeric, value: Any, statistics: Statistics) -> Any:
    """[rows] int64: the bucket of each value, [rows] float32; a missing one (NaN) is in that of the mean."""
    mean, _ = _moments(statistics[feature.name])
    known = keras.ops.where(keras.ops.isnan(value), mean, value)
    boundaries = [float(boundary) for boundary in feature.boundaries or ()]
    return keras.layers.Discretization(bin_boundaries=boundaries, name=f"{feature.name}.bucket")(known)


def cross_indices(cross: Crossed, parts: list[Any]) -> Any:
    """[rows] int64: the hash of each row's parts, each [rows]: text, or the bucket of a number."""
    crossed = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        last = number == len(parts) - 1
        buckets = cross.hash_buckets if last else _INTERMEDIATE_BUCKETS
        name = cross_layer(cross.name) if last else f"{cross_layer(cross.name)}.{number}"
        crossed = keras.layers.HashedCrossing(buckets, name=name)((crossed, part))
    return crossed


def _rows(indices: Mapping[str, Any], tables: Sequence[Sparse]) -> Any:
    """[batch, tables] int32: row numbers in one table that holds all of `tables` one below the other."""
    starts = itertools.accumulate((table.rows for table in tables), initial=0)
    columns = [
        keras.ops.add(keras.ops.cast(indices[table.name], "int32"), start)
        for table, start in zip(tables, starts, strict=False)
    ]
    return keras.ops.stack(columns, axis=1)


def _begin_at_what_is_known(core: keras.Model, tables: Sequence[Sparse], objective: Objective) -> None:
    """Starts the model at the label's mean or log odds, and rows that were never seen at adding nothing."""
    layers = {layer.name: layer for layer in core.layers}
    if objective.task != "regression":
        for name in ("deep_out", "cross_out", "wide_numeric"):
            if name in layers and layers[name].use_bias:
                layers[name].bias.assign(objective.initial_outputs)
                break
    for name in ("hidden_1_one_hot", "cross_one_hot"):
        _clear(layers.get(name), towers.one_hot_of(tables))
    for table in tables:
        _clear(layers.get(f"embedding_{table.name}_table"), [table])


def _clear(layer: Any, tables: Sequence[Sparse]) -> None:
    if layer is None:
        return
    weights = layer.embeddings.value.numpy()
    start = 0
    for table in tables:
        weights[[start + row for row in table.unseen]] = 0.0
        start += table.rows
    layer.embeddings.assign(weights)
