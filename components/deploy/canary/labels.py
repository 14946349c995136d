"""Labels of logged requests, joined by key, from which each replayed row gets a bounded loss per version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.components.deploy.canary.replay import Outputs
from headrace.core.checks import check_positive
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Categorical, Numeric, Problem

_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class LabelLosses:
    """Losses of predictions for rows whose key has a label, in [0, 1] for a class.

    For two classes, the Brier score (probability - y)^2; for more, half of its sum over the classes. For a number, the
    absolute error divided by `scale`. A paired difference above 1 counts as 1, which bounds the influence of a row.

    Args:
        labels: labels by key: a number, or the index of the class.
        classes: classes of the label in the order of the model's probabilities; () for a number.
        scale: a large error in the unit of a numeric label, such as twice the mean absolute error; above 0.

    Raises:
        UsageError: the scale is not a positive number.
    """

    labels: Mapping[str, float]
    classes: tuple[str, ...] = ()
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.scale, "scale", where="LabelLosses")

    @cached_property
    def output(self) -> str:
        """Name of the output that is compared with the label."""
        return {0: "prediction", 2: "probability"}.get(len(self.classes), "probabilities")

    def __call__(self, keys: npt.NDArray[np.object_], outputs: Outputs) -> npt.NDArray[np.float64]:
        """[rows] float64 losses; NaN for rows without a label.

        Args:
            keys: [rows] texts.
            outputs: outputs of one version, by name: [rows] or [rows, classes].

        Raises:
            UsageError: the version has no output `output`.
        """
        labels = np.array([self.labels.get(key, math.nan) for key in keys.tolist()], np.float64)
        if self.output not in outputs:
            raise UsageError(
                "the predictions cannot be compared with the labels",
                expected=f"an output {self.output}",
                received=", ".join(sorted(outputs)),
            )
        values = outputs[self.output].astype(np.float64)
        if not self.classes:
            return np.abs(values - labels) / self.scale
        if len(self.classes) == 2:
            return (values - labels) ** 2
        known = ~np.isnan(labels)
        truth = np.zeros_like(values)
        truth[known, labels[known].astype(np.int64)] = 1.0
        return np.where(known, ((values - truth) ** 2).sum(axis=1) / 2, np.nan)


def read_labels(problem: Problem, data: str, scale: float = 1.0) -> LabelLosses:
    """Reads keys and labels of a table. Rows without a usable label are left out.

    Args:
        problem: the Problem of both versions, with a key and a label that is a column of the table.
        data: a file, folder, glob or table with the columns of the key and the label; the last row of a key is used.
        scale: as of `LabelLosses`.

    Raises:
        UsageError: the Problem has no key, or its label is derived.
        DataError: the table lacks a column, no row has a usable label, or a file is damaged.
    """
    # These import pyarrow, which images that only serve and deploy lack.
    from headrace.core.sources.open import list_parts, read_part
    from headrace.core.values.columns import texts

    label = problem.label
    if problem.key is None or label.name in problem.derive:
        raise UsageError(
            "labels cannot be joined to requests",
            where=data,
            expected="a Problem with a key, and a label that is a column of the table",
            received="no key" if problem.key is None else f"the derived label {label.name}",
        )
    classes = () if isinstance(label, Numeric) else tuple(label.vocabulary or ())
    found: dict[str, float] = {}
    columns = [problem.key, label.source_column]
    for part in list_parts(data, columns=columns):
        for rows in read_part(part, columns, _BATCH_ROWS):
            keys, _ = texts(rows.batch.column(problem.key))
            values = _values(label, classes, rows.batch.column(label.source_column))
            found.update((k, v) for k, v in zip(keys.to_pylist(), values.tolist(), strict=True) if k and v == v)
    if not found:
        raise DataError(
            "no row has a usable label",
            where=data,
            expected=f"{problem.key} and {label.source_column}, " + (", ".join(classes) or "a number"),
        )
    return LabelLosses(found, classes, scale)


def _values(label: Numeric | Categorical, classes: tuple[str, ...], column: Any) -> npt.NDArray[np.float64]:
    """[rows] float64 labels; NaN if a label is missing or not usable."""
    from headrace.core.rows.validate import category_texts
    from headrace.core.values.numbers import parse_numbers

    if isinstance(label, Numeric):
        numbers, missing, wrong = parse_numbers(column)
        return np.where(missing | wrong | ~np.isfinite(numbers), np.nan, numbers)
    text, _ = category_texts(label, column)
    index = {name: float(at) for at, name in enumerate(classes)}
    return np.array([index.get(each, np.nan) for each in text.to_pylist()], np.float64)
