"""Reference: the distribution that monitored rows are compared with, read from any of several artifacts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.components.monitor.columns import (
    SINGLE_MAXIMUM,
    CategoryColumn,
    MonitoredColumn,
    NumberColumn,
    category_column,
)
from headrace.components.monitor.read import MonitoredRows
from headrace.core import storage
from headrace.core.artifacts.examples import STATISTICS_SKETCH
from headrace.core.artifacts.kinds import MONITORING
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.model import open_model
from headrace.core.artifacts.open_examples import open_examples
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.rows.column_faults import parsed_numbers
from headrace.core.rows.validate import category_texts
from headrace.core.rules.column import NumberRule
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.statistics.binned import Bins
from headrace.core.statistics.file import from_bytes
from headrace.core.statistics.measure import ColumnStatistics, NumericStatistics, TableStatistics, merge_all
from headrace.core.values.columns import blank

FORMAT = 1
# Cells of a probability.
_PROBABILITIES = [step / 20 for step in range(21)]
_MERGED = 64
PROBABILITY = Numeric("predicted_probability", minimum=0.0, maximum=1.0)
# Kinds of references that may contain predictions.
_WITH_OUTPUTS = ("Monitoring", "rows")


@dataclass(frozen=True)
class Reference:
    """A reference.

    Attributes:
        kind: Examples, Model, statistics, Monitoring or rows.
        uri: URI of the reference.
        digest: digest of its content, 16 hexadecimal digits.
        columns: statistics by column: sketches if there are any, else in the form of statistics.json or
            monitoring.json.
    """

    kind: str
    uri: str
    digest: str
    columns: Mapping[str, Mapping[str, Any] | ColumnStatistics]

    def column(self, problem: Problem, declared: Numeric | Categorical) -> MonitoredColumn:
        """The monitored column of a feature.

        Raises:
            DataError: the reference lacks the feature, or has values of another kind.
        """
        found = self.columns.get(declared.name)
        numeric = isinstance(declared, Numeric)
        kind = None if found is None else "numeric" if _is_numeric(found) else "categorical"
        if found is None or kind != ("numeric" if numeric else "categorical"):
            raise DataError(
                f'the reference cannot be compared in the column "{declared.name}"',
                where=self.uri,
                expected=f"a {'numeric' if numeric else 'categorical'} column",
                received="no column" if kind is None else f"a {kind} one",
                fix="Pass Examples, or a Model, of the same Problem",
            )
        if isinstance(declared, Numeric):
            return _numbers(problem, declared, found)
        return _categories(problem, declared, found)

    def prediction(self, problem: Problem) -> MonitoredColumn:
        """The monitored column of predictions: with earlier predictions if there are any, else in the label's cells."""
        label, known = problem.label, self.columns.get("prediction")
        declared = predicted(problem)
        blanks = tuple(problem.missing)
        if known is not None and _is_numeric(known) == isinstance(label, Numeric) and self.kind in _WITH_OUTPUTS:
            if isinstance(declared, Numeric):
                return _numbers(problem, declared, known)
            return _categories(problem, declared, known)
        if isinstance(declared, Categorical):
            return category_column(problem, declared, {}, count=0, missing=0, complete=True)
        cells = self.columns.get(label.name)
        if cells is None or not _is_numeric(cells) or not isinstance(label, Numeric):
            return NumberColumn(declared, Bins.fixed([0.0]), 0, blanks)
        edges = _numbers(problem, label, cells).bins.edges
        return NumberColumn(declared, Bins.fixed(edges.tolist()), 0, blanks)

    def probability(self, problem: Problem) -> NumberColumn:
        """The monitored column of probabilities."""
        known = self.columns.get("probability")
        if known is not None and _is_numeric(known) and self.kind in _WITH_OUTPUTS:
            return _numbers(problem, PROBABILITY, known)
        return NumberColumn(PROBABILITY, Bins.fixed(_PROBABILITIES), 0, tuple(problem.missing))


def predicted(problem: Problem) -> Numeric | Categorical:
    """The declaration of the prediction as a column."""
    label = problem.label
    # Not "prediction", because a declaration cannot have the name of an output.
    return Numeric("predicted") if isinstance(label, Numeric) else Categorical("predicted", vocabulary=label.vocabulary)


def open_reference(problem: Problem, uri: str, csv: CsvDialect) -> Reference:
    """The reference at `uri`: Examples, a Model, an endpoint's folder, a Monitoring, a statistics.json, or rows.

    Examples have sketches, which also represent single frequent numbers. A Model or a statistics.json has only
    quantiles.

    Raises:
        DataError: the reference is damaged, or contains no feature of the Problem.
        UsageError: the path does not exist.
    """
    endpoint = storage.join(uri, "endpoint.json")
    if storage.exists(endpoint):
        uri = storage.join(uri, "versions", str(storage.read_json(endpoint).get("live")))
    if storage.exists(storage.join(uri, MONITORING.manifest)):
        return _monitoring(problem, uri)
    if is_there("Model", uri):
        return _of_json("Model", uri, open_model(uri).statistics())
    if is_there("Examples", uri):
        found = open_examples(uri, problem)
        sketch = storage.join(uri, STATISTICS_SKETCH)
        if not storage.exists(sketch):
            return _of_json("Examples", uri, found.statistics)
        content = storage.read_bytes(sketch)
        digest = hashlib.sha256(content).hexdigest()[:16]
        return Reference("Examples", uri, digest, from_bytes(content).columns)
    if uri.endswith("statistics.json"):
        plain = storage.read_json(uri)
        if not isinstance(plain, dict) or not isinstance(plain.get("columns"), dict):
            raise DataError("it is not a statistics.json", where=uri, expected="what `headrace preprocess` measured")
        return _of_json("statistics", uri, plain["columns"])
    return _rows(problem, uri, csv)


def _of_json(kind: str, uri: str, columns: Mapping[str, Mapping[str, Any]]) -> Reference:
    return Reference(kind, uri, _digest(columns), columns)


def _monitoring(problem: Problem, uri: str) -> Reference:
    where = storage.join(uri, MONITORING.manifest)
    plain = storage.read_json(where)
    if not isinstance(plain, dict) or plain.get("kind") != MONITORING.kind or plain.get("format") != FORMAT:
        raise DataError("it is not a Monitoring", where=where, expected="what `headrace monitor` wrote")
    if plain.get("problem") != problem.name:
        raise DataError(
            "the Monitoring is of another problem", where=where, expected=problem.name, received=str(plain["problem"])
        )
    return _of_json("Monitoring", uri, plain["columns"])


def _rows(problem: Problem, uri: str, csv: CsvDialect) -> Reference:
    """Measures rows that are not Examples."""
    rows = MonitoredRows.open(problem, uri, csv)
    outputs = {"prediction": predicted(problem), "probability": PROBABILITY}
    declared = {column.name: column for column in rows.features}
    declared |= {name: column for name, column in outputs.items() if name in rows.outputs}
    parts: list[TableStatistics] = []
    for batch in rows.batches():
        columns = {**batch.columns, **batch.outputs}
        arrays = [_typed(problem, column, columns[name]) for name, column in declared.items()]
        table = pa.RecordBatch.from_arrays(arrays, names=list(declared))
        parts.append(TableStatistics.measure(table, table.schema.names))
        if len(parts) == _MERGED:
            parts = [merge_all(parts)]
    if not parts:
        raise DataError("the reference has no rows", where=uri, expected="one row or more")
    measured = merge_all(parts)
    digest = _digest({name: column.to_json() for name, column in measured.columns.items()})
    return Reference("rows", uri, digest, measured.columns)


def _typed(problem: Problem, declared: Numeric | Categorical, column: pa.Array) -> pa.Array:
    present = blank(column, problem.missing)
    if isinstance(declared, Categorical):
        return category_texts(declared, present)[0].cast(pa.string())
    values, valid, _ = parsed_numbers(NumberRule(declared), declared.name, present)
    return pa.array(np.clip(values, -SINGLE_MAXIMUM, SINGLE_MAXIMUM).astype(np.float32), mask=~valid)


def _is_numeric(column: Mapping[str, Any] | ColumnStatistics) -> bool:
    if isinstance(column, Mapping):
        return bool(column.get("kind") == "numeric")
    return isinstance(column, NumericStatistics)


def _numbers(problem: Problem, declared: Numeric, found: Mapping[str, Any] | ColumnStatistics) -> NumberColumn:
    blanks = tuple(problem.missing)
    if isinstance(found, NumericStatistics):
        if not found.count:
            return NumberColumn(declared, Bins.fixed([0.0]), found.missing, blanks)
        return NumberColumn(declared, Bins.of_sketch(found.sketch, found.count), found.missing, blanks)
    plain: Any = found
    if "cells" in plain:
        counts = np.array(plain["cells"], np.int64)
        return NumberColumn(declared, Bins.of_counts(plain["edges"], counts), int(plain["missing"]), blanks)
    if not plain["count"]:
        return NumberColumn(declared, Bins.fixed([0.0]), int(plain["missing"]), blanks)
    bins = Bins.of_quantiles(plain["quantiles"], plain["count"])
    return NumberColumn(declared, bins, int(plain["missing"]), blanks)


def _categories(problem: Problem, declared: Categorical, found: Mapping[str, Any] | ColumnStatistics) -> CategoryColumn:
    plain: Any = found if isinstance(found, Mapping) else found.to_json()
    if "cells" in plain:
        cells: Sequence[int] = plain["cells"]
        rows = dict(zip(plain["categories"], cells, strict=False)) | dict(plain["new"])
        count = sum(cells)
        complete = bool(plain["judges_new"]) and count == sum(rows.values())
    else:
        rows = {str(text): int(number) for text, number in plain["vocabulary"]}
        count, complete = int(plain["count"]), bool(plain.get("complete", True))
    missing = int(plain["missing"])
    return category_column(problem, declared, rows, count=count, missing=missing, complete=complete)


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
