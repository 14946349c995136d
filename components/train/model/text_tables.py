"""Text tables: signatures of the default models that look texts up once per distinct text, not once per row.

A batch of thousands of rows holds a few hundred distinct texts. Values that depend on texts alone, or on texts and
buckets of numbers, become tables; each row reads its entries by number. Predictions equal the serving signature's
bit by bit: the same layers run on the same values, and only sums of a fixed set of rows are precomputed.
The inputs are described in `signatures`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from headrace.components.train.model import towers
from headrace.components.train.model.scaled_numbers import divided
from headrace.components.train.model.wide_and_deep import (
    Statistics,
    bucket_indices,
    build_preprocessing,
    cross_indices,
    cross_layer,
    hash_layer,
    indices_of,
    preprocessing_inputs,
    sparse_features,
    vocabulary_layer,
)
from headrace.core.problem import Categorical, Crossed, ModelKind, Numeric, Problem
from headrace.core.saved_model.signatures import (
    MAX_COMBINATIONS,
    PREDICT_BY_CODE,
    TEXT_TABLES,
    Group,
    code_input,
    number_input,
    table_name,
    texts_input,
)

# Maximum number of buckets per combination of texts: all of them are hashed for each combination.
_MAX_BUCKETS = 16
_ONE_HOT = "one_hot"


@dataclass(frozen=True)
class _Table:
    """Row numbers of a category or a cross, for each combination of its texts and, within it, of its buckets.

    Attributes:
        name: its name in the signatures.
        feature: the Categorical or the Crossed.
        group: the positions of its text columns.
        bucketized: its numeric columns.
    """

    name: str
    feature: Categorical | Crossed
    group: Group
    bucketized: tuple[Numeric, ...] = ()

    @property
    def buckets(self) -> list[int]:
        """Number of buckets of each numeric column."""
        return [len(column.boundaries or ()) + 1 for column in self.bucketized]


class TextTables:
    """The two functions of a default Model that are exported in addition to its serving signature."""

    def __init__(
        self,
        problem: Problem,
        statistics: Statistics,
        kind: ModelKind,
        core: Any,
        tables: tuple[_Table, ...],
        lookups: Mapping[str, Any],
    ) -> None:
        """Use `of`, which finds the arguments."""
        self._problem = problem
        self._statistics = statistics
        self._core = core
        self._tables = tables
        self._lookups = lookups
        self._columns = _text_columns(problem)
        self._rest = build_preprocessing(problem, statistics, kind, [table.feature.name for table in tables])
        self._one_hot = _OneHot.of(core, problem, statistics)

    @classmethod
    def of(
        cls, problem: Problem, statistics: Statistics, kind: ModelKind, preprocessing: Any, core: Any
    ) -> Self | None:
        """The text tables of a model.

        Args:
            problem: the Problem.
            statistics: by column name, as in statistics.json.
            kind: of the model.
            preprocessing: of the model, for its vocabularies.
            core: of the model, for its variables.

        Returns:
            None for a model without texts, or with crosses of texts and too many buckets.
        """
        columns = _text_columns(problem)
        layers = {layer.name: layer for layer in preprocessing.layers}
        layer_of = {name: layers.get(vocabulary_layer(name), layers.get(hash_layer(name))) for name in columns}
        lookups = {name: layer for name, layer in layer_of.items() if layer is not None}
        by_name = {column.name: column for column in problem.columns}
        tables = [
            _Table(table_name(place), column, (columns.index(column.name),))
            for place, column in enumerate(each for each in _texts(problem) if each.name in lookups)
        ]
        for cross in problem.crosses:
            group = tuple(sorted(columns.index(name) for name in cross.features if name in columns))
            if cross_layer(cross.name) in layers and group:
                parts = [by_name[name] for name in cross.features]
                bucketized = tuple(part for part in parts if isinstance(part, Numeric))
                tables.append(_Table(table_name(len(tables)), cross, group, bucketized))
        if not tables or any(math.prod(table.buckets) > _MAX_BUCKETS for table in tables):
            return None
        return cls(problem, statistics, kind, core, tuple(tables), lookups)

    def signatures(self, predictions: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """ConcreteFunctions by the names of signatures.

        Args:
            predictions: converts the model's outputs, [rows, units], to predictions.
        """

        def text_tables(**texts: Any) -> dict[str, Any]:
            return self._text_tables([texts[texts_input(at)] for at in range(len(self._columns))])

        def predict_by_code(**inputs: Any) -> dict[str, Any]:
            return predictions(self._outputs(inputs))

        words = {texts_input(at): tf.TensorSpec([None], tf.string) for at in range(len(self._columns))}
        tables = tf.function(text_tables, autograph=False).get_concrete_function(**words)
        specs = {
            name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
            for name, tensor in tables.structured_outputs.items()
        }
        specs |= {code_input(table.group): tf.TensorSpec([None], tf.int32) for table in self._tables}
        specs |= {
            number_input(at): tf.TensorSpec([None], tf.float64 if column.exponent else tf.float32)
            for at, column in enumerate(_numbers(self._problem))
        }
        predict = tf.function(predict_by_code, autograph=False).get_concrete_function(**specs)
        return {TEXT_TABLES: tables, PREDICT_BY_CODE: predict}

    def _text_tables(self, texts: list[Any]) -> dict[str, Any]:
        tables = {}
        for table in self._tables:
            if isinstance(table.feature, Categorical):
                indices = self._lookups[table.feature.name](texts[table.group[0]])
            else:
                indices = self._crossed(table.feature, table, texts)
            tables[table.name] = tf.cast(indices, tf.int32)
        if self._one_hot is not None:
            tables[_ONE_HOT] = self._one_hot.sums()
        return tables

    def _crossed(self, cross: Crossed, table: _Table, texts: list[Any]) -> Any:
        """Row numbers of a cross for each combination of its texts and buckets; the last part varies fastest."""
        sizes = [tf.size(texts[at]) for at in table.group] + [tf.constant(size) for size in table.buckets]
        left = tf.range(tf.reduce_prod(tf.stack(sizes)))
        at: list[Any] = []
        for size in reversed(sizes):
            at.insert(0, left % size)
            left = left // size
        parts = {self._columns[column]: tf.gather(texts[column], at[i]) for i, column in enumerate(table.group)}
        for number, column in zip(at[len(table.group) :], table.bucketized, strict=True):
            parts[column.name] = tf.cast(number, tf.int64)
        return cross_indices(cross, [parts[name] for name in cross.features])

    def _outputs(self, inputs: Mapping[str, Any]) -> Any:
        """[rows, units] for the inputs of `PREDICT_BY_CODE`."""
        numbers = {
            column.name: divided(inputs[number_input(at)], column.exponent)
            for at, column in enumerate(_numbers(self._problem))
        }
        features = preprocessing_inputs(self._problem, numbers)
        for table in self._tables:
            code = inputs[code_input(table.group)]
            for column, size in zip(table.bucketized, table.buckets, strict=True):
                bucket = bucket_indices(column, numbers[column.name], self._statistics)
                code = code * size + tf.cast(bucket, tf.int32)
            features[indices_of(table.feature.name)] = tf.gather(inputs[table.name], code)
        prepared = self._rest({name: features[name] for name in self._rest.input})
        if self._one_hot is None:
            return self._core(prepared, training=False)
        return self._one_hot.outputs(prepared, inputs[_ONE_HOT])


@dataclass(frozen=True)
class _OneHot:
    """The first hidden layer's one-hot features, whose rows are summed once per combination.

    Attributes:
        layer: the table of all the features' rows.
        sizes: number of rows of each feature.
        inputs: names of the inputs of `rest`.
        rest: the core after the sum, [rows, units of the layer], which is its last input; its variables are not used.
        trained: the core's variables, in the order of the rest's.
    """

    layer: Any
    sizes: tuple[int, ...]
    inputs: tuple[str, ...]
    rest: Any
    trained: tuple[Any, ...]

    @classmethod
    def of(cls, core: Any, problem: Problem, statistics: Statistics) -> Self | None:
        """None if the core has no one-hot features, or too many combinations of them."""
        sizes = tuple(table.rows for table in towers.one_hot_of(sparse_features(problem, statistics)))
        trained = {layer.name: layer for layer in core.layers}
        if "hidden_1_one_hot" not in trained or math.prod(sizes) > MAX_COMBINATIONS:
            return None
        # A model whose inputs lie within another model's graph changes that graph, which can then not be saved.
        copy = keras.Model.from_config(core.get_config())
        layers = {layer.name: layer for layer in copy.layers}
        # If there are several terms, the last layer is their sum.
        added = layers["hidden_1_sum"].input[-1] if "hidden_1_sum" in layers else layers["hidden_1"].input
        # Keras refuses unused inputs.
        inputs = [each for each in copy.inputs if each.name != "deep" or "cross_one_hot" in layers]
        rest = keras.Model([*inputs, added], copy.output)
        variables = {variable.path: variable.value for variable in core.trainable_variables}
        return cls(
            trained["hidden_1_one_hot"],
            sizes,
            tuple(each.name for each in inputs),
            rest,
            tuple(variables[variable.path] for variable in rest.trainable_variables),
        )

    def sums(self) -> Any:
        """[combinations, units] float32, in the order of numpy.ravel_multi_index."""
        every = np.stack(np.unravel_index(np.arange(math.prod(self.sizes)), self.sizes), axis=1)
        return keras.ops.sum(self.layer(tf.constant(every + self._starts, tf.int32)), axis=1)

    def outputs(self, prepared: Mapping[str, Any], sums: Any) -> Any:
        """The core's outputs, [rows, units], computed with the precomputed `sums`."""
        steps = np.cumprod([1, *self.sizes[:0:-1]])[::-1]
        places = (prepared["deep"] - tf.constant(self._starts, tf.int32)) * tf.constant(steps.copy(), tf.int32)
        summed = tf.gather(sums, tf.reduce_sum(places, axis=1))
        inputs = [*(prepared[name] for name in self.inputs), summed]
        # The variables that are not trained are the seeds of dropout, which is inactive.
        others = [variable.value for variable in self.rest.non_trainable_variables]
        outputs, _ = self.rest.stateless_call(self.trained, others, inputs, training=False)
        return outputs

    @property
    def _starts(self) -> Any:
        return np.cumsum([0, *self.sizes[:-1]])


def _texts(problem: Problem) -> list[Categorical]:
    texts = [column for column in problem.columns if isinstance(column, Categorical)]
    return sorted(texts, key=lambda each: each.name)


def _text_columns(problem: Problem) -> list[str]:
    return [column.name for column in _texts(problem)]


def _numbers(problem: Problem) -> list[Numeric]:
    return sorted((column for column in problem.columns if isinstance(column, Numeric)), key=lambda each: each.name)
