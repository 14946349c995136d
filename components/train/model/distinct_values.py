"""Preprocessing by distinct values: each distinct string, or pair of strings, is looked up once, not once per row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from typing import Any, Generic, NamedTuple, TypeVar

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from headrace.components.train.model.towers import embedding_input, one_hot_of, starts
from headrace.components.train.model.wide_and_deep import (
    NORMALIZE,
    NUMBERS,
    SCALE,
    Statistics,
    bucket_layer,
    build_preprocessing,
    cross_layer,
    hash_layer,
    preprocessing_inputs,
    sparse_features,
    text_input,
    vocabulary_layer,
)
from headrace.core.problem import Categorical, ModelKind, Problem
from headrace.core.tfrecord.dictionaries import DistinctStrings

# Up to this number of pairs, a table of all possible pairs is faster than sorting the pairs of the rows.
_TABLE_PAIRS = 1 << 16
# Maximum memory of a column's cached values, and memory of each value in addition to its characters, in bytes.
_REMEMBERED_BYTES, _VALUE_BYTES = 32 << 20, 200
# Tracing the call of a layer takes as long as some calls without it.
_CALLS_BEFORE_TRACING = 8
Value = TypeVar("Value", bound=Hashable)


class Strings(NamedTuple):
    """A column of strings in main memory.

    Attributes:
        codes: [rows] int32, indices into `values`.
        values: distinct values; `DistinctStrings` also cache the results computed from them.
    """

    codes: npt.NDArray[np.int32]
    values: Sequence[bytes]

    def decoded(self) -> Any:
        """[rows] string."""
        return tf.gather(tf.constant(np.array(self.values, np.object_)), self.codes)


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
    """A model's preprocessing of raw features by name.

    Args:
        problem: the Problem.
        statistics: by column name, as in statistics.json.
        kind: of the model.

    Attributes:
        model: the Keras model of the preprocessing.
    """

    def __init__(self, problem: Problem, statistics: Statistics, kind: ModelKind = "wide_and_deep") -> None:
        self._problem = problem
        self.model = build_preprocessing(problem, statistics, kind)
        layers = {layer.name: layer for layer in self.model.layers}
        strings = {column.name for column in problem.columns if isinstance(column, Categorical)}
        # The model itself computes crosses of three or more features and crosses with numbers.
        self._crosses = {
            cross.name: (cross.features, _Pairs(_of_pairs(layers[cross_layer(cross.name)])))
            for cross in problem.crosses
            if cross_layer(cross.name) in layers and len(cross.features) == 2 and strings.issuperset(cross.features)
        }
        found = {name: layers.get(vocabulary_layer(name)) or layers.get(hash_layer(name)) for name in strings}
        self._strings = {
            name: _Remembered[bytes](_of_values(layer), len) for name, layer in found.items() if layer is not None
        }
        tables = sparse_features(problem, statistics)
        # The tables of each output; each embedding has its own output.
        self._tables = {"wide": tables, "deep": one_hot_of(tables)}
        self._tables.update((embedding_input(table.name), [table]) for table in tables)
        self._normalized = _normalized(layers) if "numeric" in self.model.output else None
        left = {table.name for name in self.model.output for table in self._tables.get(name, ())}
        left -= self._crosses.keys() | self._strings.keys()
        self._rest = self._rest_of(left, layers)

    def __call__(self, features: Mapping[str, Any]) -> Any:
        """Prepares [rows] tensors."""
        return self.model(preprocessing_inputs(self._problem, features))

    def rows(self, features: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """The same for many rows, and faster. It is thread-safe.

        Args:
            features: raw features by name, [rows] each: strings as `Strings`; numbers as `NUMBERS`, [rows, numbers].

        Returns:
            [rows, ...] arrays in main memory.
        """
        indices: dict[str, Any] = {
            name: np.take(numbers.of(features[name].values), features[name].codes)
            for name, numbers in self._strings.items()
        }
        for name, ((first, second), pairs) in self._crosses.items():
            indices[name] = pairs.of(features[first], features[second])
        if self._normalized is not None:
            # Under a name that no column can have: "numeric" may be one.
            indices[NUMBERS] = self._normalized(features[NUMBERS])
        if self._rest is not None:
            indices.update(self._rest(features))
        return {name: self._output(name, indices) for name in self.model.output}

    def _output(self, name: str, indices: Mapping[str, Any]) -> npt.NDArray[Any]:
        if name not in self._tables:
            return np.asarray(indices[NUMBERS])
        tables = self._tables[name]
        if name not in ("wide", "deep"):
            return np.asarray(indices[tables[0].name], np.int32)
        rows = np.empty((len(indices[tables[0].name]), len(tables)), np.int32)
        for place, (table, start) in enumerate(zip(tables, starts(tables), strict=True)):
            np.add(indices[table.name], start, out=rows[:, place], casting="unsafe")
        return rows

    def _rest_of(self, left: Set[str], layers: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Any] | None:
        """Features that are not looked up by value: buckets of numbers, and crosses of buckets or of several texts."""
        outputs = {name: (layers.get(cross_layer(name)) or layers[bucket_layer(name)]).output for name in left}
        if not outputs:
            return None
        crossed = {part for cross in self._problem.crosses if cross.name in left for part in cross.features}
        texts = [name for name in crossed if text_input(name) in self.model.input]
        taken = {*map(text_input, texts), NUMBERS}
        inputs = {name: each for name, each in self.model.input.items() if name in taken}
        specification = {name: tf.TensorSpec(each.shape, each.dtype) for name, each in inputs.items()}
        # Without autograph: converting Keras' code would take longer than tracing it.
        model = tf.function(keras.Model(inputs, outputs), input_signature=[specification], autograph=False)

        def rest(features: Mapping[str, Any]) -> Any:
            with tf.device("CPU:0"):
                given = {text_input(name): features[name].decoded() for name in texts}
                if NUMBERS in inputs:
                    given[NUMBERS] = tf.constant(features[NUMBERS])
                return {name: np.asarray(each) for name, each in model(given).items()}

        return rest


def _normalized(layers: Mapping[str, Any]) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """The model's normalization of numbers, [rows, numbers]. Tracing it takes longer than reading small data."""
    normalize, scale = layers[NORMALIZE], layers.get(SCALE)
    mean, variance = np.asarray(normalize.mean), np.asarray(normalize.variance)
    deviation = np.maximum(np.sqrt(variance), np.float32(keras.config.epsilon()))
    factors = None if scale is None else np.asarray(scale.scale, np.float32)

    def normalized(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            found: npt.NDArray[np.float32] = (values if factors is None else values * factors) - mean
            found /= deviation
        found[np.isnan(found)] = 0.0
        return found

    return normalized


class _Remembered(Generic[Value]):
    """Cache of row numbers by value, each computed once; it is cleared when it uses too much memory.

    Args:
        compute: values -> their row numbers.
        length: of a value, in bytes.
    """

    def __init__(self, compute: Callable[[Sequence[Value]], Any], length: Callable[[Value], int]) -> None:
        self._compute, self._length, self._bytes = compute, length, 0
        self._lock = threading.Lock()
        self._known: dict[Value, int] = {}

    def of(self, values: Sequence[Value]) -> npt.NDArray[np.int32]:
        """[values] row numbers."""
        if not isinstance(values, DistinctStrings):
            return self._looked_up(values)
        # Other threads may append to the values, and compute the same numbers.
        numbers: npt.NDArray[np.int32] = values.derived.get(self, np.zeros(0, np.int32))
        if len(numbers) < len(values):
            new: Sequence[Any] = values[len(numbers) :]
            numbers = np.concatenate([numbers, self._looked_up(new)])
            values.derived[self] = numbers
        return numbers

    def _looked_up(self, values: Sequence[Value]) -> npt.NDArray[np.int32]:
        known = self._known
        numbers = [known.get(value, -1) for value in values]
        if -1 in numbers:
            unknown = [value for value, number in zip(values, numbers, strict=True) if number < 0]
            with self._lock, tf.device("CPU:0"):
                new = dict(zip(unknown, np.asarray(self._compute(unknown)).tolist(), strict=True))
                self._bytes += sum(map(self._length, new)) + _VALUE_BYTES * len(new)
                if self._bytes > _REMEMBERED_BYTES:
                    # Other threads may still read the dictionary that is replaced.
                    self._known, self._bytes = {}, 0
                else:
                    self._known.update(new)
            numbers = [new[value] if number < 0 else number for value, number in zip(values, numbers, strict=True)]
        return np.array(numbers, np.int32)


class _Pairs:
    """Row numbers of a cross of two columns, each pair of values computed once."""

    def __init__(self, compute: Callable[[Sequence[tuple[bytes, bytes]]], Any]) -> None:
        self._numbers = _Remembered[tuple[bytes, bytes]](compute, _pair_bytes)

    def of(self, first: Strings, second: Strings) -> npt.NDArray[np.int32]:
        """[rows] row numbers."""
        rows, columns = len(first.values), len(second.values)
        if rows * columns > _TABLE_PAIRS:
            present, places = np.unique(first.codes.astype(np.int64) * columns + second.codes, return_inverse=True)
            of_present = self._of_codes(first, second, *np.divmod(present, columns))
            return of_present[places]
        table = self._table(first.values, second.values, rows, columns)
        flat = table.reshape(-1)
        pairs = first.codes * np.int32(table.shape[1]) + second.codes
        numbers: npt.NDArray[np.int32] = flat.take(pairs)
        unknown = np.unique(pairs[numbers < 0])
        if len(unknown):
            flat[unknown] = self._of_codes(first, second, *np.divmod(unknown, table.shape[1]))
            numbers = flat.take(pairs)
        return numbers

    def _of_codes(self, first: Strings, second: Strings, left: Any, right: Any) -> npt.NDArray[np.int32]:
        return self._numbers.of(
            [(first.values[a], second.values[b]) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
        )

    def _table(self, first: Sequence[bytes], second: Sequence[bytes], rows: int, columns: int) -> npt.NDArray[np.int32]:
        """The row numbers of pairs, at least [rows, columns]; -1 of those that were not computed yet."""
        table = np.zeros((0, 0), np.int32)
        if isinstance(first, DistinctStrings):
            other, before = first.derived.get(self, (second, table))
            table = before if other is second else table
        if table.shape[0] < rows or table.shape[1] < columns:
            wider = np.full((max(rows, table.shape[0]), max(columns, table.shape[1])), -1, np.int32)
            wider[: table.shape[0], : table.shape[1]] = table
            table = wider
            if isinstance(first, DistinctStrings):
                first.derived[self] = second, table
        return table


def _of_values(layer: Any) -> Callable[[Sequence[bytes]], Any]:
    call = _traced_later(layer, [tf.TensorSpec([None], tf.string)])
    return lambda values: call(_texts(values))


def _of_pairs(layer: Any) -> Callable[[Sequence[tuple[bytes, bytes]]], Any]:
    text = tf.TensorSpec([None], tf.string)
    call = _traced_later(lambda first, second: layer((first, second)), [text, text])
    return lambda pairs: call(*map(_texts, zip(*pairs, strict=True)))


def _pair_bytes(pair: tuple[bytes, bytes]) -> int:
    return len(pair[0]) + len(pair[1])


def _traced_later(function: Callable[..., Any], signature: Sequence[Any]) -> Callable[..., Any]:
    """A function that is traced if it is called often."""
    calls = 0
    traced = tf.function(function, input_signature=signature, autograph=False)

    def call(*tensors: Any) -> Any:
        nonlocal calls
        calls += 1
        return function(*tensors) if calls <= _CALLS_BEFORE_TRACING else traced(*tensors)

    return call


def _texts(values: Sequence[bytes]) -> Any:
    return tf.constant(np.array(values, np.object_))
