"""Runs SavedModels over the TFRecords of the test split, in large batches, into numpy columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.components.evaluate.artifacts import Model, Split
from headrace.components.evaluate.slices import Category
from headrace.core import storage
from headrace.core.errors import DataError, PlatformError
from headrace.core.metrics import Outcomes
from headrace.core.problem import Numeric, Problem, Task
from headrace.core.progress import Progress, silent

# Large enough that a batch's fixed costs vanish, small enough that one batch of a hundred columns is a few megabytes.
BATCH_ROWS = 8192
# Probabilities are sums of float32: over a thousand classes their total is off by far less than this.
_TOTAL_TOLERANCE = 1e-3

_Columns = Mapping[str, Any]


@dataclass(frozen=True)
class Predicted:
    """The test split with the answers of each model.

    Attributes:
        keys: [n], text, in the order of the shards.
        outcomes: of each model, in the order asked.
        columns: by feature, what slices are cut from: [n] float32 with NaN for missing, or a Category with "".
    """

    keys: NDArray[np.object_]
    outcomes: tuple[Outcomes, ...]
    columns: dict[str, NDArray[np.float32] | Category]


def predict(problem: Problem, split: Split, models: Sequence[Model], report: Progress = silent) -> Predicted:
    """Reads the test split once, and asks every model about every row of it.

    Args:
        problem: names the columns; numeric features without buckets are not kept.
        split: where the rows are.
        models: one or more.
        report: told after each batch.

    Raises:
        DataError: a model needs a column that the Examples do not have, a row has no label or one that is not in the
            vocabulary, or a column has another type than declared.
        PlatformError: a shard is damaged or has lost rows, or a model answers for another row, with a number that is
            not finite, with a class that it does not know, or with probabilities that are none.
    """
    asked = [_signature(model, problem) for model in models]
    classes = _classes(problem)
    kept: list[str] = [f.name for f in problem.columns if not isinstance(f, Numeric) or f.buckets is not None]
    collectors = {name: _Codes() for name in kept if not isinstance(_declared(problem, name), Numeric)}
    pieces: dict[str, list[Any]] = {name: [] for name in ("keys", "label", *kept)}
    answers: list[list[tuple[Any, Any]]] = [[] for _ in models]
    rows = 0
    for batch in _batches(problem, split):
        keys = np.array([_text(key) for key in batch[problem.key].numpy().tolist()], object)
        pieces["keys"].append(keys)
        pieces["label"].append(_labels(problem, batch, keys, classes, split))
        for name in kept:
            pieces[name].append(collectors[name].encode(batch[name]) if name in collectors else batch[name].numpy())
        for ask, model, found in zip(asked, models, answers, strict=True):
            found.append(_answers(ask, model, problem, batch, keys, classes))
        rows += len(keys)
        report("predicting the test split", done=rows, total=split.rows)
    if rows != split.rows:
        raise PlatformError(
            "the test split does not hold the rows that its manifest counts",
            where=split.uri,
            expected=f"{split.rows} rows",
            received=f"{rows} rows",
            fix="Run preprocess again",
        )
    label = np.concatenate(pieces["label"])
    columns: dict[str, NDArray[np.float32] | Category] = {}
    for name in kept:
        column = np.concatenate(pieces[name])
        columns[name] = Category(tuple(collectors[name].values), column) if name in collectors else column
    outcomes = tuple(
        Outcomes(
            problem.task,
            tuple(classes),
            label,
            np.concatenate([prediction for prediction, _ in found]),
            None if problem.task == "regression" else np.concatenate([probability for _, probability in found]),
        )
        for found in answers
    )
    return Predicted(np.concatenate(pieces["keys"]), outcomes, columns)


def _batches(problem: Problem, split: Split) -> Iterator[dict[str, Any]]:
    """Parsed batches: each column a tensor [batch], with NaN or "" for what is missing."""
    import tensorflow as tf

    files = [str(storage.local_path(uri)) for uri in split.files]
    missing = [uri for uri in split.files if not storage.exists(uri)]
    if missing:
        raise PlatformError("a shard that the manifest names is gone", where=missing[0], fix="Run preprocess again")
    spec = {problem.key: tf.io.FixedLenFeature([], tf.string)}
    for column in (*problem.columns, problem.label):
        numeric = isinstance(column, Numeric)
        spec[column.name] = tf.io.FixedLenFeature(
            [], tf.float32 if numeric else tf.string, default_value=float("nan") if numeric else ""
        )
    # Parsed outside of the pipeline: tracing a graph for `map` takes longer than a small split does.
    records = iter(tf.data.TFRecordDataset(files).batch(BATCH_ROWS))
    while True:
        try:
            batch = next(records, None)
        except tf.errors.DataLossError as error:
            raise PlatformError(
                "a shard of the test split is damaged", where=split.uri, received=str(error), fix="Run preprocess again"
            ) from error
        if batch is None:
            return
        try:
            yield tf.io.parse_example(batch, spec)
        except tf.errors.InvalidArgumentError as error:
            raise DataError(
                "a row of the test split does not match the schema",
                where=split.uri,
                expected="the types that the problem declares, and a key",
                received=error.message.splitlines()[0],
                fix="Run preprocess again with this Problem file",
            ) from error


def _signature(model: Model, problem: Problem) -> Callable[[_Columns], _Columns]:
    """The model's serving_default, as a function of parsed columns.

    Raises:
        DataError: it has no such signature, or one that does not fit the problem's columns and task.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(model.saved_model)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise DataError(
            "the SavedModel cannot be loaded", where=model.saved_model, received=str(error).splitlines()[0]
        ) from error
    serve = loaded.signatures.get("serving_default") if hasattr(loaded, "signatures") else None
    if serve is None:
        raise DataError("the SavedModel has no such signature", where=model.saved_model, expected="serving_default")
    inputs = {name: tensor.dtype.name for name, tensor in serve.structured_input_signature[1].items()}
    have = {f.name: "float32" if isinstance(f, Numeric) else "string" for f in problem.columns} | {"key": "string"}
    for name, dtype in inputs.items():
        if have.get(name) != dtype:
            raise DataError(
                f'the model needs an input "{name}" that the Examples do not have',
                where=model.uri,
                expected=f"a feature {name} of dtype {dtype}",
                received="no such feature" if name not in have else f"dtype {have[name]}",
                fix="Train with the Problem file that the Examples were made with, or leave this model out",
            )
    missing = [name for name in _outputs(problem.task) if name not in serve.structured_outputs]
    if missing:
        raise DataError(
            f'the model has no output "{missing[0]}"',
            where=model.uri,
            expected=f"for {problem.task}, outputs {', '.join(_outputs(problem.task))}",
            received=", ".join(sorted(serve.structured_outputs)),
        )

    def ask(batch: _Columns) -> _Columns:
        # `loaded` owns the variables: the signature alone does not keep them.
        _ = loaded
        found: _Columns = serve(**{name: batch[problem.key if name == "key" else name] for name in inputs})
        return found

    return ask


def _answers(
    ask: Callable[[_Columns], _Columns],
    model: Model,
    problem: Problem,
    batch: _Columns,
    keys: NDArray[np.object_],
    classes: Mapping[str, int],
) -> tuple[Any, Any]:
    """[batch] predictions and [batch] or [batch, classes] probabilities, all of them checked."""
    found = ask(batch)
    wrong = np.flatnonzero(found["key"].numpy() != batch[problem.key].numpy())
    if len(wrong):
        raise PlatformError(
            "the model gives back another key than it was given", where=model.uri, expected=f"key {keys[wrong[0]]}"
        )
    if problem.task == "regression":
        prediction = found["prediction"].numpy().astype(np.float64)
        _refuse(~np.isfinite(prediction), prediction, keys, model, "a finite prediction")
        return prediction, None
    probability = found["probability" if problem.task == "binary" else "probabilities"].numpy()
    with np.errstate(invalid="ignore"):
        improper = ~((probability >= 0) & (probability <= 1))
    if problem.task == "multiclass":
        if probability.shape[1:] != (len(classes),):
            raise DataError(
                "the model has another number of classes than the label",
                where=model.uri,
                expected=f"probabilities of {len(classes)} classes",
                received=f"shape {list(probability.shape)}",
            )
        improper = improper.any(axis=1) | (np.abs(probability.sum(axis=1) - 1) > _TOTAL_TOLERANCE)
    _refuse(improper, probability, keys, model, "probabilities between 0 and 1 that sum to 1")
    codes = _codes_of(found["prediction"], classes)
    _refuse(codes < 0, found["prediction"].numpy(), keys, model, f"one of the classes {', '.join(classes)}")
    return codes, probability


def _refuse(bad: Any, answers: Any, keys: NDArray[np.object_], model: Model, expected: str) -> None:
    """Raises for the first row whose answer is bad."""
    at = np.flatnonzero(bad)
    if len(at):
        raise PlatformError(
            f"the model's answer for key {keys[at[0]]} is unusable ({len(at)} of {len(keys)} rows in its batch are so)",
            where=model.uri,
            expected=expected,
            received=_text(answers[at[0]]),
            fix="Train again: a lower learning rate keeps a model from diverging",
        )


def _labels(
    problem: Problem, batch: _Columns, keys: NDArray[np.object_], classes: Mapping[str, int], split: Split
) -> Any:
    """[batch], float64 values or int64 class indices."""
    column = batch[problem.label.name]
    if problem.task == "regression":
        values = column.numpy().astype(np.float64)
        bad, expected = np.flatnonzero(~np.isfinite(values)), "a finite number"
    else:
        values = _codes_of(column, classes)
        bad, expected = np.flatnonzero(values < 0), f"one of {', '.join(classes)}"
    if len(bad):
        raise DataError(
            f'the row with key {keys[bad[0]]} has no usable label "{problem.label.name}"',
            where=split.uri,
            expected=expected,
            received=_text(column.numpy()[bad[0]]),
            fix="Run preprocess again with this Problem file",
        )
    return values


class _Codes:
    """Gives each different string of a column a number, over batches."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    @property
    def values(self) -> list[str]:
        """The strings, in the order of their numbers."""
        return list(self._index)

    def encode(self, column: Any) -> NDArray[np.int64]:
        """[batch] numbers of [batch] strings."""
        texts, at = _unique(column)
        return np.array([self._index.setdefault(text, len(self._index)) for text in texts], np.int64)[at]


def _codes_of(column: Any, classes: Mapping[str, int]) -> NDArray[np.int64]:
    """[batch] indices of [batch] strings among the classes, -1 for others."""
    texts, at = _unique(column)
    return np.array([classes.get(text, -1) for text in texts], np.int64)[at]


def _unique(column: Any) -> tuple[list[str], NDArray[np.int32]]:
    import tensorflow as tf

    # TensorFlow hashes strings in C++: as numpy objects they would be compared one by one in Python.
    different, at = tf.unique(column)
    return [_text(text) for text in different.numpy().tolist()], at.numpy()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _classes(problem: Problem) -> dict[str, int]:
    vocabulary = () if isinstance(problem.label, Numeric) else problem.label.vocabulary or ()
    return {name: index for index, name in enumerate(vocabulary)}


def _declared(problem: Problem, name: str) -> Any:
    return next(f for f in problem.columns if f.name == name)


def _outputs(task: Task) -> tuple[str, ...]:
    return {
        "regression": ("key", "prediction"),
        "binary": ("key", "prediction", "probability"),
        "multiclass": ("key", "prediction", "probabilities"),
    }[task]
