"""Default models, built from the problem and the statistics.

"wide_and_deep" (Cheng et al., 2016) adds a linear model of one-hot features and crosses to a deep model of embeddings.
"linear" and "deep" are one of the two. "deep_and_cross" (Wang et al., 2021) replaces the linear model by a cross
network. A cross without an embedding belongs to the linear part: "deep" and "deep_and_cross" ignore it.

Each is two Keras models. `preprocessing` converts raw features to numbers and row numbers of tables; it has no
trainable weights, so it runs once in the input pipeline. `core` is trained. Both consist of Keras layers only, so
`model.keras` can be loaded without this package.

- A number is normalized by mean and standard deviation; a missing number is the mean. Its buckets are one-hot.
- A category is row 0 if it is missing, row 1 if it is not in the vocabulary, and later rows in the vocabulary's order.
- A hashed category is row 0 if it is missing, else 1 + its hash modulo the buckets.
- A cross is the hash of the categories' text and the numbers' buckets; it does not depend on a vocabulary's order.

One-hot columns times a kernel is the sum of the kernel's rows: a table of rows replaces both, without the zeros.

Keras requires unique names in a graph, and numbers the operations without a name ("stack", "where_1"). A column may
have any of these names. So all other names in a graph with the columns' names contain a dot, which a column's cannot.
"""

from __future__ import annotations

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
# All numbers in one tensor, [batch, n] float32: as separate columns they take TensorFlow milliseconds each.
NUMBERS = "numbers.stacked"
# Layers of the numbers' normalization.
SCALE, NORMALIZE = "numbers.scale", "numbers.normalize"
# Keras' normalization divides by at least 1e-7, and squares the divisor. A column with a standard deviation beyond
# these powers of 2 is first scaled by a power of 2, which is exact.
_PLAIN_EXPONENT = 20
# 2 ** 127 is the largest power of 2 in float32, and 2 ** -126 the smallest that processors do not flush to 0.
_MAX_EXPONENT = 126

# Crosses of three or more features are hashed in pairs; the intermediate hash has this many values.
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
    """The declared vocabulary, or the most frequent values of the train split."""
    if feature.vocabulary is not None:
        return list(feature.vocabulary)
    return [value for value, _ in statistics[feature.name]["vocabulary"][: feature.max_vocabulary]]


def sparse_features(problem: Problem, statistics: Statistics) -> list[Sparse]:
    """The tables of a problem, in the order of the declaration; embedded and crossed ones come last."""
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

    Outputs for which the problem has no features, or that a model of this kind does not use, are omitted.

    Args:
        problem: the Problem.
        statistics: by column name, as in statistics.json.
        kind: of the model.
        known: categories and crosses whose row numbers are inputs, named by `indices_of`, and are not computed.
    """
    given = {name: keras.Input(shape=(), name=indices_of(name), dtype="int32") for name in known}
    texts = [feature for feature in problem.columns if isinstance(feature, Categorical)]
    inputs = {text.name: keras.Input(shape=(), name=text_input(text.name), dtype="string") for text in texts}
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
                # A slice would lose the static number of rows, on which the optimization of sums depends.
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
    if tables and is_wide(kind):
        outputs["wide"] = _rows(indices, tables)
    one_hot = towers.one_hot_of(tables)
    if one_hot and kind != "linear":
        outputs["deep"] = _rows(indices, one_hot)
    for table in tables:
        if table.embedding is not None and kind != "linear":
            outputs[towers.embedding_input(table.name)] = keras.ops.cast(indices[table.name], "int32")
    # The text of a known category is an input only if a cross uses it.
    taken = [cross for cross in problem.crosses if is_wide(kind) or cross.embedding is not None]
    crossed = {part for cross in taken if cross.name not in given for part in cross.features}
    taken_inputs = [tensor for name, tensor in inputs.items() if name not in given or name in crossed]
    taken_inputs += [stacked] if numbers else []
    return keras.Model({each.name: each for each in (*taken_inputs, *given.values())}, outputs, name=PREPROCESSING)


def preprocessing_inputs(problem: Problem, features: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of the model of `build_preprocessing` for raw features by name: tensors, [rows] each.

    Args:
        problem: the Problem.
        features: all numbers, or `NUMBERS`, [rows, numbers]; the texts that are available; row numbers under the
            names of `indices_of`.
    """
    texts = {column.name for column in problem.columns if isinstance(column, Categorical)}
    inputs = {text_input(name): each for name, each in features.items() if name in texts}
    inputs.update((name, each) for name, each in features.items() if "." in name)
    numbers = [column.name for column in problem.columns if isinstance(column, Numeric)]
    if numbers and NUMBERS not in inputs:
        inputs[NUMBERS] = tf.stack([features[name] for name in numbers], axis=1)
    return inputs


def indices_of(name: str) -> str:
    """The name of the input with the row numbers of a category or a cross."""
    return f"{name}.indices"


def vocabulary_layer(name: str) -> str:
    """The name of the layer that looks a category up."""
    return f"{name}.vocabulary"


def hash_layer(name: str) -> str:
    """The name of the layer that hashes a category."""
    return f"{name}.hash"


def cross_layer(name: str) -> str:
    """The name of the layer that outputs a cross, which is the last of several if it is hashed in pairs."""
    return f"{name}.cross"


def bucket_layer(name: str) -> str:
    """The name of the layer that outputs a number's bucket."""
    return f"{name}.bucket"


def build_core(
    problem: Problem, statistics: Statistics, preprocessing: keras.Model, objective: Objective, training: Training
) -> keras.Model:
    """Outputs of `preprocessing` -> [batch, units] values or logits. Initial weights depend on `training.seed` only."""
    seeds = random.Random(training.seed)  # noqa: S311 - not for secrets
    tables = sparse_features(problem, statistics)
    inputs = {
        name: keras.Input(shape=tensor.shape[1:], name=name, dtype=tensor.dtype)
        for name, tensor in preprocessing.output.items()
    }
    kind, terms = training.model, []
    is_deep = bool(training.hidden_units) and kind != "linear"
    if is_wide(kind):
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
    """Raw features by name -> [batch, units]: the exported model."""
    inputs = raw_inputs(problem)
    numbers = [inputs[column.name] for column in problem.columns if isinstance(column, Numeric)]
    taken = {text_input(name): tensor for name, tensor in inputs.items() if tensor.dtype == "string"}
    if numbers:
        # keras.ops.stack has no name argument.
        taken[NUMBERS] = Stack(axis=1, name="numbers.stack")(numbers)
    return keras.Model(inputs, core(preprocessing(taken)), name=problem.name.replace("-", "_"))


def text_input(name: str) -> str:
    """The name of the input with the text of a category."""
    return f"{name}.raw"


def _normalized(values: Any, moments: Sequence[tuple[float, float]]) -> Any:
    """[batch, n], minus the means and divided by the standard deviations, for any scale in the range of float32."""
    exponents = [math.frexp(deviation)[1] for _, deviation in moments]
    exponents = [max(-_MAX_EXPONENT, min(_MAX_EXPONENT, n)) if abs(n) > _PLAIN_EXPONENT else 0 for n in exponents]
    if any(exponents):
        values = keras.layers.Rescaling([2.0**-n for n in exponents], name=SCALE)(values)
    return keras.layers.Normalization(
        mean=[mean * 2.0**-n for (mean, _), n in zip(moments, exponents, strict=True)],
        variance=[(deviation * 2.0**-n) ** 2 for (_, deviation), n in zip(moments, exponents, strict=True)],
        name=NORMALIZE,
    )(values)


def _unseen(vocabulary: Sequence[str], measured: Mapping[str, Any]) -> tuple[int, ...]:
    counts = dict(measured["vocabulary"])
    missing = [] if measured["missing"] else [0]
    # All measured values outside the vocabulary share row 1.
    unknown = [] if measured["distinct"] > sum(value in counts for value in vocabulary) else [1]
    return (*missing, *unknown, *(row for row, value in enumerate(vocabulary, start=2) if value not in counts))


def is_wide(kind: ModelKind) -> bool:
    """Whether models of this kind have the linear part."""
    return kind in ("linear", "wide_and_deep")


def _moments(measured: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and standard deviation; a number that is always missing or constant is only shifted."""
    return float(measured["mean"] or 0.0), float(measured["standard_deviation"] or 1.0)


def bucket_indices(feature: Numeric, value: Any, statistics: Statistics) -> Any:
    """[rows] int64: the bucket of each value, [rows] float32; a missing value (NaN) is in the bucket of the mean."""
    mean, _ = _moments(statistics[feature.name])
    known = keras.ops.where(keras.ops.isnan(value), mean, value)
    boundaries = [float(boundary) for boundary in feature.boundaries or ()]
    return keras.layers.Discretization(bin_boundaries=boundaries, name=bucket_layer(feature.name))(known)


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
    """[batch, tables] int32: row numbers in the concatenation of `tables`."""
    columns = [
        keras.ops.add(keras.ops.cast(indices[table.name], "int32"), start)
        for table, start in zip(tables, towers.starts(tables), strict=True)
    ]
    return keras.ops.stack(columns, axis=1)


def _begin_at_what_is_known(core: keras.Model, tables: Sequence[Sparse], objective: Objective) -> None:
    """Initializes the output bias with the label's mean or log odds, and rows of unseen values with zeros."""
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
