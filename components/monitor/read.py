"""Monitored rows: the columns of a request log or of a plain table, by their names in the Problem, in batches.

A request log stores the columns and the predictions of a row in the structs `columns` and `predictions`, with the
columns `time` and `version`. In a plain table, all are columns. If a file lacks a column, its values are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.errors import DataError, EmptyFile
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.rows.derive import derived_features
from headrace.core.rows.split_rule import moments, numbers
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.sources.source import Part
from headrace.core.values.columns import Mask, logical, texts

# The structs of a request log.
COLUMNS, PREDICTIONS, TIME = "columns", "predictions", "time"
# Columns with the version of the model, in a request log and in Predictions.
_VERSION = "version"
_VERSIONS = (_VERSION, "model_version")
BATCH_ROWS = 1 << 16
_MICROSECONDS = 1_000_000
# The years 1 to 9999, which ISO 8601 writes in four digits.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799

# A column of a file, and a field of its struct; "" for the whole column.
Place = tuple[str, str]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MonitoredBatch:
    """A batch of rows.

    Attributes:
        rows: number of rows.
        columns: [rows] values by name in the Problem.
        outputs: [rows] values of those of key, prediction, probability and probabilities that the data contains.
        times: [rows] int64 microseconds since 1970 in UTC; None without a column of times.
        timed: [rows] bool: whether a row has a time; None without a column of times.
    """

    rows: int
    columns: Mapping[str, pa.Array]
    outputs: Mapping[str, pa.Array]
    times: Times | None = None
    timed: Mask | None = None


@dataclass(frozen=True)
class _Places:
    """Places of a file's columns: columns of the Problem by name, and outputs: key, time, version and predictions."""

    columns: Mapping[str, Place] = field(default_factory=dict)
    outputs: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class MonitoredRows:
    """Rows to measure, of one or many files.

    Attributes:
        problem: declares the columns.
        parts: parts of the input.
        places: places of the columns by file.
        features: measured columns: features in the data, and derived features whose inputs are all in the data.
        absent: names of the other features.
        outputs: outputs in the data: key, time, prediction, probability, probabilities; and version, if it is selected.
        version: version of the model whose rows are measured; "" for all rows.
    """

    problem: Problem
    parts: tuple[Part, ...]
    places: Mapping[str, _Places]
    features: tuple[Numeric | Categorical, ...]
    absent: tuple[str, ...]
    outputs: frozenset[str]
    version: str = ""

    @classmethod
    def open(
        cls,
        problem: Problem,
        data: str,
        csv: CsvDialect,
        *,
        time: str = "",
        prediction: str = "prediction",
        version: str = "",
    ) -> MonitoredRows:
        """Finds the columns in each file.

        Args:
            problem: declares the columns.
            data: a file, folder, glob, table or query.
            csv: dialect of CSV files.
            time: column of times; "" for that of a request log.
            prediction: column of predictions.
            version: version of the model whose rows are measured; "" for all rows.

        Raises:
            DataError: no file contains a feature, the column of times or the column of versions; or a file is damaged.
            UsageError: a name or the query is not valid, or access is denied.
            PlatformError: the service failed.
        """
        parts = list_parts(data, csv=csv)
        paths = dict.fromkeys(part.path for part in parts)
        places = {path: _places(problem, path, csv, time, prediction) for path in paths}
        there = {name for each in places.values() for name in each.columns}
        derivation = problem.derivation
        if all(column.name in there for column in derivation.served):
            there |= set(derivation.features)
        features = tuple(column for column in problem.columns if column.name in there)
        outputs = frozenset(name for each in places.values() for name in each.outputs)
        if not features:
            raise DataError(
                "the data has no feature of the Problem",
                where=data,
                expected=f"columns among {', '.join(column.name for column in problem.columns)}",
            )
        if time and TIME not in outputs:
            raise DataError(f'the column "{time}" does not exist', where=data, expected="the time of each row")
        if version and _VERSION not in outputs:
            raise DataError("the data has no versions", where=data, expected=f"the column {' or '.join(_VERSIONS)}")
        outputs -= frozenset() if version else {_VERSION}
        absent = tuple(column.name for column in problem.columns if column.name not in there)
        return cls(problem, tuple(parts), places, features, absent, outputs, version)

    def batches(self) -> Iterator[MonitoredBatch]:
        """The rows, in the order of the files.

        Raises:
            DataError: a file is damaged.
        """
        derived = {column.name for column in self.features} & set(self.problem.derivation.features)
        stored = {column.name for column in self.features} - derived
        if derived:
            stored |= {column.name for column in self.problem.derivation.served}
        texts = {column.name for column in self.features if isinstance(column, Categorical)}
        for part in self.parts:
            places = self.places[part.path]
            columns = {name: at for name, at in places.columns.items() if name in stored}
            outputs = {name: at for name, at in places.outputs.items() if name in self.outputs}
            read = list(dict.fromkeys(column for column, _ in (*columns.values(), *outputs.values())))
            coded = {at[0] for name, at in columns.items() if name in texts and not at[1]}
            if not read:
                continue
            for rows in read_part(part, read, BATCH_ROWS, coded):
                batch = rows.batch
                if self.version:
                    batch = batch.filter(self._of_version(batch, outputs))
                yield self._batch(batch, columns, outputs, stored, derives=bool(derived))

    def _of_version(self, batch: pa.RecordBatch, outputs: Mapping[str, Place]) -> pa.Array:
        if _VERSION not in outputs:
            return pa.array(np.zeros(batch.num_rows, np.bool_))
        return pc.equal(texts(_taken(batch, outputs[_VERSION]))[0], self.version).fill_null(False)

    def _batch(
        self,
        batch: pa.RecordBatch,
        columns: Mapping[str, Place],
        outputs: Mapping[str, Place],
        stored: set[str],
        *,
        derives: bool,
    ) -> MonitoredBatch:
        rows = batch.num_rows

        def found(names: Iterable[str], places: Mapping[str, Place]) -> dict[str, pa.Array]:
            empty = pa.nulls(rows, pa.string())
            return {name: _taken(batch, places[name]) if name in places else empty for name in names}

        values, others = found(stored, columns), found(self.outputs - {_VERSION}, outputs)
        if derives:
            values |= derived_features(self.problem, values, rows)
        if TIME not in others:
            return MonitoredBatch(rows, values, others)
        return MonitoredBatch(rows, values, others, *times_of(others.pop(TIME)))


def times_of(column: pa.Array) -> tuple[Times, Mask]:
    """[rows] int64 times of a column, in microseconds since 1970 in UTC, and [rows] bool: whether a value is a time.

    Args:
        column: [rows] timestamps or dates (without a time zone in UTC), texts of them, or seconds since 1970.
    """
    kind = logical(pa.nulls(0, column.type)).type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        plain = logical(column).cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        present: Mask = plain.is_valid().to_numpy(zero_copy_only=False)
        values: Times = plain.fill_null(0).to_numpy(zero_copy_only=False)
    else:
        values, present = moments(column)
        if not present.any():
            seconds, present = numbers(column)
            present = present & (seconds >= _FIRST) & (seconds <= _LAST)
            values = np.floor(np.where(present, seconds, 0.0) * _MICROSECONDS).astype(np.int64)
    present = present & (values >= _FIRST * _MICROSECONDS) & (values <= _LAST * _MICROSECONDS)
    return np.where(present, values, 0), present


def _places(problem: Problem, path: str, csv: CsvDialect, time: str, prediction: str) -> _Places:
    served = problem.derivation.served
    names = {column.name: (column.source_column, column.name) for column in served}
    others = {
        "key": ((problem.key,) if problem.key is not None else ()) + ("key",),
        "prediction": (prediction,),
        "probability": ("probability",) if problem.task == "binary" else (),
        "probabilities": ("probabilities",) if problem.task == "multiclass" else (),
    }
    wanted = [name for among in (*names.values(), *others.values()) for name in among] + [time or TIME, *_VERSIONS]
    try:
        declared = source_of(path, csv).columns(path, list(dict.fromkeys(wanted)))
    except EmptyFile:
        return _Places()
    top: dict[str, Place] = {}
    nested: dict[str, dict[str, Place]] = {}
    for name, kind in declared:
        if name in (COLUMNS, PREDICTIONS) and pa.types.is_struct(kind):
            nested[name] = {each.name: (name, each.name) for each in kind}
        else:
            top[name] = (name, "")
    is_log = COLUMNS in nested
    inputs, outputs = nested.get(COLUMNS, top), nested.get(PREDICTIONS, top)
    columns = _first(names, inputs)
    found = _first(others, inputs | outputs if is_log else top)
    found |= _first({_VERSION: _VERSIONS}, top)
    moment = time or (TIME if is_log else "")
    if moment in top:
        found[TIME] = top[moment]
    return _Places(columns, found)


def _first(names: Mapping[str, Sequence[str]], places: Mapping[str, Place]) -> dict[str, Place]:
    """The place of each column, by the first of its names that exists; without columns that do not exist."""
    return {
        name: next(places[n] for n in among if n in places) for name, among in names.items() if set(among) & set(places)
    }


def _taken(batch: pa.RecordBatch, at: Place) -> pa.Array:
    column = batch.column(at[0])
    # A field of a null struct is null.
    return column.flatten()[column.type.get_field_index(at[1])] if at[1] else column
