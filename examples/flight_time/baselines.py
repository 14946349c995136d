"""Measures least squares and gradient boosting (scikit-learn) on the splits that the model was trained and tested on.

Usage: python examples/flight_time/baselines.py EXAMPLES [EVALUATION] [--page docs/flight_time.md]

EXAMPLES is what `headrace preprocess` made of the flights; EVALUATION, what `headrace evaluate` said of the model. Each
baseline gets every feature, the crosses of the Problem included. Settings are chosen on the eval split; what is printed
is of the test split, which no choice has seen.
"""

# ruff: noqa: T201 - a script tells what it did

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

LABEL, NUMBER = "air_time", "distance"
CATEGORIES = ("hour", "weekday", "day_of_year", "origin", "dest", "carrier")
CROSSES = (("origin", "dest"), ("hour", "weekday"))
BEGIN, END = "<!-- baselines: begin -->", "<!-- baselines: end -->"

Columns = Mapping[str, Any]


def read(examples: Path, split: str) -> Columns:
    """The columns of a split, as numpy arrays: numbers, and text for categories and crosses."""
    names = [LABEL, NUMBER, *CATEGORIES]
    shards = sorted((examples / split).glob("*.tfrecord"))
    table = pa.Table.from_batches(
        [decode(records, names) for shard in shards for records in read_records(shard, compressed=False)]
    )
    columns: dict[str, Any] = {name: table[name].to_numpy().astype(np.float64) for name in (LABEL, NUMBER)}
    columns |= {name: table[name].cast(pa.string()).to_numpy(zero_copy_only=False) for name in CATEGORIES}
    return columns | {" x ".join(parts): columns[parts[0]] + "-" + columns[parts[1]] for parts in CROSSES}


class LeastSquares:
    """A linear model of the distance and of one-hot categories and crosses, with a ridge.

    Args:
        ridge: its weight.
    """

    def __init__(self, ridge: float) -> None:
        self._model = Ridge(alpha=ridge, solver="sparse_cg", tol=1e-6)
        self._encoder = OneHotEncoder(handle_unknown="ignore")
        self._scaler = StandardScaler()

    def fit(self, train: Columns, _: Columns) -> None:
        self._encoder.fit(_texts(train))
        self._scaler.fit(train[NUMBER][:, None])
        self._model.fit(self._matrix(train), train[LABEL])

    def predict(self, rows: Columns) -> Any:
        return self._model.predict(self._matrix(rows))

    def _matrix(self, rows: Columns) -> Any:
        return sparse.hstack(
            [self._scaler.transform(rows[NUMBER][:, None]), self._encoder.transform(_texts(rows))], format="csr"
        )


class Boosting:
    """Gradient-boosted trees by histograms; the number of trees is where the eval split stops getting better.

    Categories of no more than 255 values are categories to it; of others, and of the day, the order counts.

    Args:
        leaves: of a tree, at most.
        rate: what each tree adds is multiplied by it.
    """

    def __init__(self, leaves: int, rate: float) -> None:
        self._model = HistGradientBoostingRegressor(
            max_leaf_nodes=leaves,
            learning_rate=rate,
            max_iter=1000,
            early_stopping=True,
            n_iter_no_change=20,
            random_state=1,
            categorical_features=[name not in (NUMBER, "day_of_year", "hour") for name in self._names],
        )
        self._codes: dict[str, dict[str, int]] = {}

    _names = (NUMBER, *CATEGORIES, *(" x ".join(parts) for parts in CROSSES))

    def fit(self, train: Columns, evaluation: Columns) -> None:
        for name in self._names:
            if name not in (NUMBER, "day_of_year", "hour"):
                self._codes[name] = {value: code for code, value in enumerate(np.unique(train[name]))}
        self._model.fit(self._matrix(train), train[LABEL], X_val=self._matrix(evaluation), y_val=evaluation[LABEL])

    def predict(self, rows: Columns) -> Any:
        return self._model.predict(self._matrix(rows))

    def _matrix(self, rows: Columns) -> Any:
        def numbers(name: str) -> Any:
            known = self._codes.get(name)
            if known is None:
                return rows[name].astype(np.float64)
            return np.array([known.get(value, np.nan) for value in rows[name].tolist()])

        return np.stack([numbers(name) for name in self._names], axis=1)


def metrics(predicted: Any, actual: Any) -> dict[str, float]:
    """Root mean squared error and mean absolute error in minutes, and the share of the variance explained."""
    errors = predicted - actual
    return {
        "root_mean_squared_error": float(np.sqrt(np.mean(errors**2))),
        "mean_absolute_error": float(np.mean(np.abs(errors))),
        "r_squared": float(1 - np.mean(errors**2) / np.var(actual)),
    }


def best(tried: Iterable[tuple[str, Any]], train: Columns, evaluation: Columns) -> tuple[str, Any, float]:
    """What has the least error on the eval split, with the seconds that fitting it took."""
    found: tuple[float, str, Any, float] | None = None
    for name, model in tried:
        begin = time.perf_counter()
        model.fit(train, evaluation)
        seconds = time.perf_counter() - begin
        error = metrics(model.predict(evaluation), evaluation[LABEL])["root_mean_squared_error"]
        print(f"{name}: {error:.3f} minutes on the eval split, fitted in {seconds:.1f} s", flush=True)
        if found is None or error < found[0]:
            found = error, name, model, seconds
    if found is None:
        raise ValueError("nothing was tried")
    return found[1:]


def main() -> int:
    """Fits the baselines, and prints or writes a table of them and of the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("examples", type=Path)
    parser.add_argument("evaluation", type=Path, nargs="?")
    parser.add_argument("--page", type=Path, help="a page whose table, between two markers, is written anew")
    arguments = parser.parse_args()
    train, evaluation, test = (read(arguments.examples, split) for split in ("train", "eval", "test"))
    actual = test[LABEL]
    lines = {"the mean of the train split": metrics(np.full(len(actual), train[LABEL].mean()), actual)}
    for tried in (
        [(f"least squares, ridge {ridge:g}", LeastSquares(ridge)) for ridge in (0.1, 1.0, 10.0)],
        [
            (f"gradient boosting, {leaves} leaves, rate {rate:g}", Boosting(leaves, rate))
            for leaves, rate in ((63, 0.2), (255, 0.1))
        ],
    ):
        name, model, _ = best(tried, train, evaluation)
        lines[name] = metrics(model.predict(test), actual)
    if arguments.evaluation:
        said = json.loads((arguments.evaluation / "evaluation.json").read_text())
        if said["rows"] != len(actual):
            raise SystemExit(f"{arguments.evaluation}: expected {len(actual)} rows, received {said['rows']}")
        name = "headrace, wide and deep"
        lines[name] = {metric: said["metrics"][metric]["value"] for metric in next(iter(lines.values()))}
    table = [
        f"Minutes in the air of the {len(actual):,} flights of the test split.",
        "",
        "| model | root mean squared error | mean absolute error | R² |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {found['root_mean_squared_error']:.2f} | {found['mean_absolute_error']:.2f} "
            f"| {found['r_squared']:.4f} |"
            for name, found in lines.items()
        ),
    ]
    print("\n".join(table))
    if arguments.page:
        before, begin, rest = arguments.page.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"{arguments.page}: expected the lines {BEGIN} and {END}")
        arguments.page.write_text("\n".join([before + BEGIN, *table, END + after]))
    return 0


def _texts(rows: Columns) -> Any:
    names = (*CATEGORIES, *(" x ".join(parts) for parts in CROSSES))
    return np.stack([rows[name] for name in names], axis=1)


if __name__ == "__main__":
    sys.exit(main())
