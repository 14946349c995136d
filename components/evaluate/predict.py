"""Predictions of a split: SavedModels over its TFRecords, in large batches, into numpy columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from headrace.components.evaluate.artifacts import EvaluatedModel, EvaluatedSplit
from headrace.components.evaluate.own_units import own_units
from headrace.components.evaluate.row_weights import checked_weight, weights_of
from headrace.components.evaluate.slices import Category
from headrace.core.artifacts.open_examples import unreadable
from headrace.core.errors import DataError, PlatformError, UnreadableFile
from headrace.core.metrics import Outcomes
from headrace.core.problem import Numeric, Problem, Task
from headrace.core.problem.features import stored_as
from headrace.core.progress import Progress, silent
from headrace.core.rules.column import NumberRule
from headrace.core.scoring.predictor import InputColumn, Predictor, Texts
from headrace.core.tfrecord.reader import ExampleReader, Kind, RecordRange

if TYPE_CHECKING:
    from headrace.core.saved_model.loaded import SavedModel

# Large enough to make a batch's fixed costs negligible; a batch of a hundred columns is a few megabytes.
BATCH_ROWS = 8192
# Probabilities are sums of float32: over a thousand classes their total is off by far less than this.
_TOTAL_TOLERANCE = 1e-3

_Columns = Mapping[str, InputColumn]


@dataclass(frozen=True)
class SplitPredictions:
    """A split with the predictions of each model.

    Attributes:
        keys: [n], text, in the order of the shards.
        outcomes: outcomes of each model, in the order of `models`.
        columns: columns for slices, by feature: [n] numbers with NaN for missing, or a Category with "".
    """

    keys: NDArray[np.object_]
    outcomes: tuple[Outcomes, ...]
    columns: dict[str, NDArray[np.floating] | Category]


def predict(
    problem: Problem, split: EvaluatedSplit, models: Sequence[EvaluatedModel], report: Progress = silent
) -> SplitPredictions:
    """Reads the test split once, and predicts every row with every model.

    Args:
        problem: declares the columns; numeric features without buckets are not stored.
        split: the split with the rows.
        models: one or more models.
        report: called after each batch.

    Raises:
        DataError: a model needs a column that the Examples do not have, a row has no label or one that is not in the
            vocabulary, a column has another type than declared, or a shard is damaged.
        PlatformError: a model returns the key of another row, a number that is not finite, an unknown class, or values
            that are not probabilities.
    """
    askers = [SignatureRunner(model, problem) for model in models]
    classes = classes_of(problem)
    kept: list[str] = [f.name for f in problem.columns if not isinstance(f, Numeric) or f.buckets is not None]
    collectors: dict[str, _Codes] = {}
    pieces: dict[str, list[Any]] = {name: [] for name in kept}
    all_keys: list[Any] = []
    labels: list[Any] = []
    weights: list[Any] = []
    answers: list[list[tuple[Any, Any]]] = [[] for _ in models]
    rows = 0
    for batch in read_rows(problem, split):
        keys = keys_of(problem, batch, split)
        all_keys.append(keys)
        labels.append(labels_of(problem, batch, keys, classes, split))
        if problem.weight_column is not None:
            weights.append(weights_of(problem.weight_column.name, batch, keys, split))
        for name in kept:
            column = batch[name]
            if isinstance(column, Texts):
                column = collectors.setdefault(name, _Codes()).encode(column)
            pieces[name].append(column)
        for asker, found in zip(askers, answers, strict=True):
            found.append(asker.ask(batch, keys, classes))
        rows += len(keys)
        report(f"predicting the {split.name} split", done=rows, total=split.shards.rows)
    columns: dict[str, NDArray[np.floating] | Category] = {}
    for name in kept:
        whole = np.concatenate(pieces[name])
        columns[name] = Category(tuple(collectors[name].values), whole) if name in collectors else whole
    label = np.concatenate(labels)
    weight = checked_weight(np.concatenate(weights), split) if weights else None
    outcomes = tuple(
        Outcomes(
            problem.task,
            tuple(classes),
            label,
            np.concatenate([prediction for prediction, _ in found]),
            None if problem.task == "regression" else np.concatenate([probability for _, probability in found]),
            weight,
        )
        for found in answers
    )
    return SplitPredictions(np.concatenate(all_keys), outcomes, columns)


def read_rows(
    problem: Problem, split: EvaluatedSplit, chosen: NDArray[np.int64] | None = None
) -> Iterator[dict[str, InputColumn]]:
    """Yields batches of columns, [batch] each: numbers (NaN: missing) or texts ("": missing).

    Numbers are float32; or float64 where Examples hold them divided by 2 ** exponent or as texts. All but the sample
    weights are in their own unit.

    Args:
        problem: declares the columns.
        split: the split with the rows.
        chosen: ascending positions of the rows to read; all if None.

    Raises:
        DataError: a shard is damaged, or holds other types than declared.
    """
    kinds: dict[str, Kind] = {problem.key_name: "bytes_list", **problem.derivation.stored}
    kinds |= {target.name: stored_as(target) for target in problem.targets}
    reader = ExampleReader(split.shards.files, kinds)
    first = 0
    for runs in _runs(split.shards.shard_rows):
        count = sum(run.rows for run in runs)
        at = None
        if chosen is not None:
            at = chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, first + count)] - first
            first += count
            if not len(at):
                continue
        try:
            decoded = reader.read(runs, np.arange(count))
        except (UnreadableFile, OSError) as error:
            raise unreadable(split.uri, str(error)) from error
        except DataError as error:
            raise _other_rows(split, str(error)) from error
        numbers, strings = iter(decoded.numbers), iter(zip(decoded.codes, decoded.values, strict=True))
        batch: dict[str, InputColumn] = {
            n: next(numbers) if kind == "float_list" else Texts(*next(strings)) for n, kind in kinds.items()
        }
        batch |= own_units(problem, batch)
        yield batch if at is None else {name: take(column, at) for name, column in batch.items()}


def take(column: InputColumn, at: NDArray[np.int64]) -> InputColumn:
    """The rows `at` of a column."""
    return Texts(column.codes[at], column.values) if isinstance(column, Texts) else column[at]


def _other_rows(split: EvaluatedSplit, received: str) -> DataError:
    return DataError(
        f"a row of the {split.name} split does not match the schema",
        where=split.uri,
        expected="the types that the problem declares, and a key",
        received=received,
        fix="Run preprocess again with this Problem file",
    )


def _runs(shard_rows: Sequence[int]) -> Iterator[list[RecordRange]]:
    """The records of all shards in their order, in batches."""
    batch: list[RecordRange] = []
    free = BATCH_ROWS
    for file, rows in enumerate(shard_rows):
        first = 0
        while first < rows:
            batch.append(RecordRange(file, first, min(rows - first, free)))
            first += batch[-1].rows
            free -= batch[-1].rows
            if not free:
                yield batch
                batch, free = [], BATCH_ROWS
    if batch:
        yield batch


class SignatureRunner:
    """A model's serving_default, over batches of parsed columns.

    Attributes:
        features: the columns that the model reads, without the key.

    Raises:
        DataError: the signature does not exist, or does not fit the Problem's columns and task.
    """

    def __init__(self, model: EvaluatedModel, problem: Problem) -> None:
        from headrace.core.saved_model.loaded import SavedModel

        self._model, self._problem = model, problem
        loaded = SavedModel(model.saved_model)
        self._columns = _bound(loaded, model, problem)
        self.features = tuple(name for name in self._columns if name != "key")
        self._predictor = Predictor(loaded, model.version, _outputs(problem.task))

    def ask(self, batch: _Columns, keys: NDArray[np.object_], classes: Mapping[str, int]) -> tuple[Any, Any]:
        """[batch] predictions and [batch] or [batch, classes] probabilities, all checked."""
        model, problem = self._model, self._problem
        found = self._predictor.predict({name: batch[column] for name, column in self._columns.items()})
        for row, fault in found.faults.items():
            raise _unusable(model, keys, row, len(found.faults), "a finite prediction", fault.value or fault.message)
        answered = found.outputs["key"]
        given = cast(Texts, batch[problem.key_name])
        wrong = np.flatnonzero(answered != np.array(given.values, object)[given.codes])
        if len(wrong):
            raise PlatformError(
                "the model returns another key than it was given", where=model.uri, expected=f"key {keys[wrong[0]]}"
            )
        prediction = found.outputs["prediction"]
        if problem.task == "regression":
            return prediction.astype(np.float64), None
        probability = found.outputs["probability" if problem.task == "binary" else "probabilities"]
        improper = ~((probability >= 0) & (probability <= 1))
        if problem.task == "multiclass":
            if probability.shape[1:] != (len(classes),):
                raise DataError(
                    "the model has a different number of classes than the label",
                    where=model.uri,
                    expected=f"probabilities of {len(classes)} classes",
                    received=f"shape {list(probability.shape)}",
                )
            improper = improper.any(axis=1) | (np.abs(probability.sum(axis=1) - 1) > _TOTAL_TOLERANCE)
        _refuse(improper, probability, keys, model, "probabilities between 0 and 1 that sum to 1")
        codes = np.array([classes.get(_text(value), -1) for value in prediction.tolist()], np.int64)
        _refuse(codes < 0, prediction, keys, model, f"one of the classes {', '.join(classes)}")
        return codes, probability


def _bound(loaded: SavedModel, model: EvaluatedModel, problem: Problem) -> dict[str, str]:
    """The column of each input."""
    have = {f.name: NumberRule(f).dtype.__name__ for f in problem.derivation.served if isinstance(f, Numeric)}
    have = {**{f.name: have.get(f.name, "string") for f in problem.derivation.served}, "key": "string"}
    for name, spec in loaded.inputs.items():
        dtype = spec.dtype.name
        if have.get(name) != dtype:
            raise DataError(
                f'the model needs an input "{name}" that the Examples do not have',
                where=model.uri,
                expected=f"a feature {name} of dtype {dtype}",
                received="no feature" if name not in have else f"dtype {have[name]}",
                fix="Train with the Problem file of the Examples, or leave this model out",
            )
    missing = [name for name in _outputs(problem.task) if name not in loaded.outputs]
    if missing:
        raise DataError(
            f'the model has no output "{missing[0]}"',
            where=model.uri,
            expected=f"for {problem.task}, outputs {', '.join(_outputs(problem.task))}",
            received=", ".join(sorted(loaded.outputs)),
        )
    return {name: problem.key_name if name == "key" else name for name in loaded.inputs}


def _refuse(bad: Any, answers: Any, keys: NDArray[np.object_], model: EvaluatedModel, expected: str) -> None:
    """Raises for the first row with an invalid prediction."""
    at = np.flatnonzero(bad)
    if len(at):
        raise _unusable(model, keys, int(at[0]), len(at), expected, _text(answers[at[0]]))


def _unusable(
    model: EvaluatedModel, keys: NDArray[np.object_], row: int, count: int, expected: str, received: str
) -> PlatformError:
    return PlatformError(
        f"the model's answer for key {keys[row]} is unusable ({count} of {len(keys)} rows in its batch are so)",
        where=model.uri,
        expected=expected,
        received=received,
        fix="Train again: a lower learning rate prevents divergence",
    )


def labels_of(
    problem: Problem, batch: _Columns, keys: NDArray[np.object_], classes: Mapping[str, int], split: EvaluatedSplit
) -> Any:
    """[batch], float64 values or int64 class indices."""
    column = batch[problem.label.name]
    if isinstance(column, Texts):
        values: Any = np.array([classes.get(_text(value), -1) for value in column.values], np.int64)[column.codes]
        bad, expected = np.flatnonzero(values < 0), f"one of {', '.join(classes)}"
    else:
        values = column.astype(np.float64)
        bad, expected = np.flatnonzero(~np.isfinite(values)), "a finite number"
    if len(bad):
        raise DataError(
            f'the row with key {keys[bad[0]]} has no usable label "{problem.label.name}"',
            where=split.uri,
            expected=expected,
            received=_text(column.values[column.codes[bad[0]]] if isinstance(column, Texts) else column[bad[0]]),
            fix="Run preprocess again with this Problem file",
        )
    return values


class _Codes:
    """Assigns a number to each distinct string of a column, over batches."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    @property
    def values(self) -> list[str]:
        """The strings, in the order of their numbers."""
        return list(self._index)

    def encode(self, column: Texts) -> NDArray[np.int64]:
        """[batch] numbers of [batch] strings."""
        # The first of the distinct values represents a missing value, although no row may lack one.
        used, at = np.unique(column.codes, return_inverse=True)
        texts = [_text(column.values[code]) for code in used.tolist()]
        return np.array([self._index.setdefault(text, len(self._index)) for text in texts], np.int64)[at]


def keys_of(problem: Problem, batch: _Columns, split: EvaluatedSplit) -> NDArray[np.object_]:
    """[batch] text."""
    column = cast(Texts, batch[problem.key_name])
    if not column.codes.all():
        raise _other_rows(split, f'a row without a key "{problem.key_name}"')
    return np.array([_text(value) for value in column.values], object)[column.codes]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def classes_of(problem: Problem) -> dict[str, int]:
    """The index of each class of the label; empty for regression."""
    vocabulary = () if isinstance(problem.label, Numeric) else problem.label.vocabulary or ()
    return {name: index for index, name in enumerate(vocabulary)}


def _outputs(task: Task) -> tuple[str, ...]:
    return {
        "regression": ("key", "prediction"),
        "binary": ("key", "prediction", "probability"),
        "multiclass": ("key", "prediction", "probabilities"),
    }[task]
