"""Permutation importance: how much worse the model predicts when one column's values are shuffled among rows.

Method: Breiman 2001, "Random forests", chapter 10; Fisher, Rudin and Dominici 2019, "All models are wrong, but many are
useful". A column of the table is shuffled, and with it everything that the model computes from it (buckets, crosses,
derived columns). Importance is divided among columns with the same information: each can replace the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from headrace.components.evaluate.artifacts import EvaluatedModel, EvaluatedSplit
from headrace.components.evaluate.predict import (
    BATCH_ROWS,
    SignatureRunner,
    classes_of,
    keys_of,
    labels_of,
    read_rows,
    take,
)
from headrace.core import metrics
from headrace.core.errors import PlatformError
from headrace.core.metrics import Outcomes
from headrace.core.problem import Problem, Task
from headrace.core.progress import Progress, silent
from headrace.core.scoring.predictor import InputColumn, Texts

# Limits of the time: rows of the sample, and predictions over all columns and repeats.
MOST_ROWS = 2_000
MOST_PREDICTIONS = 400_000
_FEWEST_ROWS = 200
_REPEATS = 3

METRIC: Mapping[Task, str] = {
    "regression": "root_mean_squared_error",
    "binary": "log_loss",
    "multiclass": "log_loss",
}


@dataclass(frozen=True)
class FeatureImportance:
    """Importance of one column.

    Attributes:
        name: of the column.
        increase: mean increase of the metric when the column is shuffled; None if the model's prediction is then not
            usable.
        deviation: standard deviation of the increase over the repeats; 0 for one repeat.
    """

    name: str
    increase: float | None
    deviation: float


@dataclass(frozen=True)
class Importance:
    """Importance of every column that the model reads, the most important one first.

    Attributes:
        metric: METRIC of the task; lower is better.
        value: the metric on the sample without shuffling.
        rows: of the sample.
        split_rows: of the split that the sample is from.
        repeats: shuffles of each column.
        seed: of the sample and the shuffles.
        features: sorted by their increase.
    """

    metric: str
    value: float
    rows: int
    split_rows: int
    repeats: int
    seed: int
    features: tuple[FeatureImportance, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON object of evaluation.json."""
        return {
            "split": "eval",
            "rows": self.rows,
            "split_rows": self.split_rows,
            "repeats": self.repeats,
            "seed": self.seed,
            "metric": self.metric,
            "value": self.value,
            "features": [vars(feature) for feature in self.features],
        }


def importance(
    problem: Problem,
    split: EvaluatedSplit,
    model: EvaluatedModel,
    *,
    weight: NDArray[np.float64] | None = None,
    seed: int,
    report: Progress = silent,
) -> Importance:
    """Measures the importance of every input of a model; the same arguments give the same numbers on any machine.

    Args:
        problem: of the model.
        split: the eval split.
        model: whose inputs are shuffled.
        weight: [rows] sample weights of the split, at least one above 0; None for equal weights. Rows of weight 0 are
            excluded.
        seed: of numpy's PCG64 generator, 0 or more.
        report: receives the progress.

    Raises: as `predict.predict`.
    """
    asker = SignatureRunner(model, problem)
    names = asker.features
    counting = np.arange(split.shards.rows) if weight is None else np.flatnonzero(weight)
    rows, repeats = _sizes(len(counting), len(names))
    chosen = _chosen(counting, rows, seed)
    sample = _sample(problem, split, chosen)
    weight = None if weight is None else weight[chosen]
    work = [(name, repeat) for name in names for repeat in range(repeats)]
    (base,) = _losses(problem, split, asker, sample, [None], rows, weight)
    found: dict[str, list[float | None]] = {name: [] for name in names}
    at_once = max(1, BATCH_ROWS // rows)
    for first in range(0, len(work), at_once):
        part = work[first : first + at_once]
        shuffles = [(name, _shuffle(rows, seed, name, repeat)) for name, repeat in part]
        losses = _losses(problem, split, asker, sample, shuffles, rows, weight)
        for (name, _), loss in zip(part, losses, strict=True):
            found[name].append(None if loss is None or base is None else loss - base)
        report("measuring feature importance", done=min(first + at_once, len(work)), total=len(work))
    features = [_feature(name, increases) for name, increases in found.items()]
    features.sort(key=lambda each: -(each.increase if each.increase is not None else float("inf")))
    value = base if base is not None else float("nan")
    return Importance(METRIC[problem.task], value, rows, split.shards.rows, repeats, seed, tuple(features))


def _sizes(rows: int, columns: int) -> tuple[int, int]:
    """Rows of the sample, and repeats."""
    most = min(MOST_ROWS, max(_FEWEST_ROWS, MOST_PREDICTIONS // max(columns, 1)))
    rows = min(rows, most)
    return rows, _REPEATS if rows * columns * _REPEATS <= MOST_PREDICTIONS else 1


def _chosen(counting: NDArray[np.int64], rows: int, seed: int) -> NDArray[np.int64]:
    """Rows drawn without replacement, in the order of the split."""
    if rows == len(counting):
        return counting
    random = np.random.Generator(np.random.PCG64(seed))
    return counting[np.sort(random.choice(len(counting), rows, replace=False))]


def _sample(problem: Problem, split: EvaluatedSplit, chosen: NDArray[np.int64]) -> dict[str, InputColumn]:
    parts = list(read_rows(problem, split, chosen))
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(parts: Sequence[InputColumn]) -> InputColumn:
    if not isinstance(parts[0], Texts):
        return np.concatenate(cast(Sequence[NDArray[Any]], parts))
    place: dict[bytes, int] = {}
    codes = [
        np.array([place.setdefault(value, len(place)) for value in part.values], np.int32)[part.codes]
        for part in cast(Sequence[Texts], parts)
    ]
    return Texts(np.concatenate(codes), list(place))


def _shuffle(rows: int, seed: int, name: str, repeat: int) -> NDArray[np.int64]:
    """A permutation that is independent of the order and number of columns."""
    return np.random.Generator(np.random.PCG64([seed, repeat, *name.encode()])).permutation(rows)


def _losses(
    problem: Problem,
    split: EvaluatedSplit,
    asker: SignatureRunner,
    sample: Mapping[str, InputColumn],
    shuffles: Sequence[tuple[str, NDArray[np.int64]] | None],
    rows: int,
    weight: NDArray[np.float64] | None,
) -> list[float | None]:
    """The metric of the sample for each shuffle, predicted in one batch; None if the predictions are not usable."""
    batch = {name: _stacked(name, column, shuffles, rows) for name, column in sample.items()}
    classes = classes_of(problem)
    keys = keys_of(problem, batch, split)
    label = labels_of(problem, batch, keys, classes, split)
    try:
        prediction, probability = asker.ask(batch, keys, classes)
    except PlatformError:
        if len(shuffles) == 1:
            if shuffles[0] is None:
                raise
            return [None]
        alone = (_losses(problem, split, asker, sample, [shuffle], rows, weight) for shuffle in shuffles)
        return [loss for losses in alone for loss in losses]
    weights = None if weight is None else np.tile(weight, len(shuffles))
    outcomes = Outcomes(problem.task, tuple(classes), label, prediction, probability, weights)
    blocks = np.arange(len(keys)).reshape(len(shuffles), rows)
    return [metrics.measure(outcomes, block)[METRIC[problem.task]] for block in blocks]


def _stacked(
    name: str, column: InputColumn, shuffles: Sequence[tuple[str, NDArray[np.int64]] | None], rows: int
) -> InputColumn:
    """The column's values once per shuffle, shuffled only in the shuffles of this column."""
    own = np.arange(rows)
    at = np.concatenate([shuffle[1] if shuffle is not None and shuffle[0] == name else own for shuffle in shuffles])
    return take(column, at)


def _feature(name: str, increases: Sequence[float | None]) -> FeatureImportance:
    known = [each for each in increases if each is not None]
    if len(known) < len(increases):
        return FeatureImportance(name, None, 0.0)
    # Without the exponent of the largest increase, whose square might overflow.
    exponent = int(np.frexp(np.abs(known).max())[1])
    deviation = float(np.ldexp(np.std(np.ldexp(known, -exponent)), exponent))
    return FeatureImportance(name, float(np.mean(known)), deviation)
