"""Preprocessing by distinct values: each distinct string, or pair of strings, of a block of rows is looked up once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from headrace.components.train.model.wide_and_deep import (
    NUMBERS,
    Statistics,
    build_preprocessing,
    cross_layer,
    hash_layer,
    indices_of,
    preprocessing_inputs,
    vocabulary_layer,
)
from headrace.core.problem import Categorical, ModelKind, Problem

_MOST_PAIRS = 4096


class Strings(NamedTuple):
    """A column of strings.

    Attributes:
        codes: [rows] int32, indices into `values`.
        values: [distinct values] string.
    """

    codes: Any
    values: Any

    def decoded(self) -> Any:
        """[rows] string."""
        return tf.gather(self.values, self.codes)


def decoded(features: Mapping[str, Any], numbers: Sequence[str] = ()) -> dict[str, Any]:
    """The features with each column of strings as a tensor.

    Args:
        features: by name; `NUMBERS`, [rows, numbers], is split into columns.
        numbers: names of these columns.
    """
    tensors = {name: each.decoded() if isinstance(each, Strings) else each for name, each in features.items()}
    if numbers and NUMBERS in tensors:
        tensors.update(zip(numbers, tf.unstack(tensors.pop(NUMBERS), num=len(numbers), axis=1), strict=True))
    return tensors


class ByValue:
    """A model's preprocessing of raw features by name: tensors, or `Strings`, which is faster with the same result.

    Args:
        problem: what was declared.
        statistics: by column name, as in statistics.json.
        kind: of the model.
    """

    def __init__(self, problem: Problem, statistics: Statistics, kind: ModelKind = "wide_and_deep") -> None:
        self._problem = problem
        self.model = build_preprocessing(problem, statistics, kind)
        layers = {layer.name: layer for layer in self.model.layers}
        strings = {column.name for column in problem.columns if isinstance(column, Categorical)}
        # The model itself computes crosses of three or more features and crosses with numbers.
        self._crossed = {
            cross.name: cross.features
            for cross in problem.crosses
            if cross_layer(cross.name) in layers and len(cross.features) == 2 and strings.issuperset(cross.features)
        }
        self._layers = {name: layers[cross_layer(name)] for name in self._crossed}
        for name in strings:
            layer = layers.get(vocabulary_layer(name)) or layers.get(hash_layer(name))
            if layer is not None:
                self._layers[name] = layer
        self._rest = build_preprocessing(problem, statistics, kind, sorted(self._layers))

    def __call__(self, features: Mapping[str, Any]) -> Any:
        """Prepares [rows] tensors; either all strings are `Strings` or none is."""
        if not any(isinstance(each, Strings) for each in features.values()):
            return self.model(preprocessing_inputs(self._problem, features))
        indices = {indices_of(name): self._looked_up(name, features) for name in self._layers}
        known = preprocessing_inputs(self._problem, {**decoded(features), **indices})
        return self._rest({name: known[name] for name in self._rest.input})

    def _looked_up(self, name: str, features: Mapping[str, Any]) -> Any:
        layer = self._layers[name]
        if name not in self._crossed:
            return tf.gather(_row_numbers(layer(features[name].values)), features[name].codes)
        first, second = (features[part] for part in self._crossed[name])
        count = tf.size(second.values)
        pairs = first.codes * count + second.codes

        def crossed(chosen: Any) -> Any:
            return _row_numbers(
                layer((tf.gather(first.values, chosen // count), tf.gather(second.values, chosen % count)))
            )

        def of_those_there_are() -> Any:
            unique = tf.unique(pairs)
            return tf.gather(crossed(unique.y), unique.idx)

        # Finding the pairs that occur takes longer than crossing a few that do not.
        every = tf.size(first.values) * count
        return tf.cond(every <= _MOST_PAIRS, lambda: tf.gather(crossed(tf.range(every)), pairs), of_those_there_are)


def _row_numbers(indices: Any) -> Any:
    return tf.cast(indices, tf.int32)
