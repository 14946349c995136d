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
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from headrace.components.train.model import towers
from headrace.components.train.model.objective import Objective
from headrace.components.train.model.towers import Sparse as Sparse
from headrace.core.problem import Categorical, Crossed, ModelKind, Numeric, Problem, Training

Statistics = Mapping[str, Mapping[str, Any]]

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
            if feature.buckets is not None:
                tables.append(Sparse(feature.name, len(feature.buckets) + 1, None))
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
    inputs = raw_inputs(problem)
    given = {name: keras.Input(shape=(), name=indices_of(name), dtype="int32") for name in known}
    numbers = [feature for feature in problem.columns if isinstance(feature, Numeric)]
    outputs: dict[str, Any] = {}
    if numbers:
        moments = [_moments(statistics[feature.name]) for feature in numbers]
        normalize = keras.layers.Normalization(
            mean=[mean for mean, _ in moments], variance=[deviation**2 for _, deviation in moments], name="normalize"
        )
        values = normalize(keras.ops.stack([inputs[feature.name] for feature in numbers], axis=1))
        outputs["numeric"] = keras.ops.where(keras.ops.isnan(values), 0.0, values)
    indices: dict[str, Any] = dict(given)
    for feature in problem.columns:
        if feature.name in given:
            continue
        if isinstance(feature, Numeric):
            if feature.buckets is not None:
                indices[feature.name] = bucket_indices(feature, inputs[feature.name], statistics)
        elif feature.hash_buckets is not None:
            hashing = keras.layers.Hashing(feature.hash_buckets + 1, mask_value="", name=f"{feature.name}_hash")
            indices[feature.name] = hashing(inputs[feature.name])
        else:
            lookup = keras.layers.StringLookup(
                vocabulary=vocabulary_of(feature, statistics), mask_token="", name=f"{feature.name}_vocabulary"
            )
            indices[feature.name] = lookup(inputs[feature.name])
    for cross in problem.crosses:
        if cross.name in given:
            continue
        parts = [indices[n] if _is_bucketized(problem, n) else inputs[n] for n in cross.features]
        indices[cross.name] = cross_indices(cross, parts)

    tables = sparse_features(problem, statistics)
    if tables and _is_wide(kind):
        outputs["wide"] = _rows(indices, tables)
    one_hot = towers.one_hot_of(tables)
    if one_hot and kind != "linear":
        outputs["deep"] = _rows(indices, one_hot)
    for table in tables:
        if table.embedding is not None and kind != "linear":
            outputs[f"embedding_{table.name}"] = keras.ops.cast(indices[table.name], "int32")
    # A category that is known need not be there as text, unless a cross is made of it.
    taken = [cross for cross in problem.crosses if _is_wide(kind) or cross.embedding is not None]
    crossed = {part for cross in taken if cross.name not in given for part in cross.features}
    inputs = {name: tensor for name, tensor in inputs.items() if name not in given or name in crossed}
    inputs.update((indices_of(name), tensor) for name, tensor in given.items())
    return keras.Model(inputs, outputs, name="preprocessing")


def indices_of(name: str) -> str:
    """What the row numbers of a category or cross are called where they are an input."""
    return f"{name}_indices"


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
    core = keras.Model(inputs, outputs, name="core")
    _begin_at_what_is_known(core, tables, objective)
    return core


def join(problem: Problem, preprocessing: keras.Model, core: keras.Model) -> keras.Model:
    """Raw features by name -> [batch, units]: what is exported."""
    inputs = raw_inputs(problem)
    return keras.Model(inputs, core(preprocessing(inputs)), name=problem.name.replace("-", "_"))


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
    boundaries = [float(boundary) for boundary in feature.buckets or ()]
    return keras.layers.Discretization(bin_boundaries=boundaries, name=f"{feature.name}_bucket")(known)


def _is_bucketized(problem: Problem, name: str) -> bool:
    return any(isinstance(feature, Numeric) and feature.name == name for feature in problem.columns)


def cross_indices(cross: Crossed, parts: list[Any]) -> Any:
    """[rows] int64: the hash of each row's parts, each [rows]: text, or the bucket of a number."""
    crossed = parts[0]
    for number, part in enumerate(parts[1:], start=1):
        last = number == len(parts) - 1
        buckets = cross.hash_buckets if last else _INTERMEDIATE_BUCKETS
        name = cross.name if last else f"{cross.name}_{number}"
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
