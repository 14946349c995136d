"""Record scoring: converts a batch of record values to predictions and rejections, by one call of the model.

It uses the same `OnlineModel` as the server, with the same padding. The prediction of a row is bit-identical in a
stream's batch of any size, in a request and in batch scoring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.components.stream.models.load import LoadedModel
from headrace.components.stream.records.codec import Codec
from headrace.core.errors import DataError
from headrace.core.rules.counts import RuleCounts
from headrace.core.saved_model.interface import KEY
from headrace.core.saved_model.json.columns import Columns, columns_from_instances
from headrace.core.saved_model.json.refused_rows import RowsRefused
from headrace.core.saved_model.json.rows import NoPrediction, rows_from_outputs
from headrace.core.scoring.online.model import OnlineModel
from headrace.core.scoring.online.trial import DependentRows
from headrace.core.scoring.predictor import BatchPredictions

# Members of a prediction that name its model.
VERSION, EPOCH = "model_version", "model_epoch"
NO_MODEL = "no_model"
TOO_LARGE = "too_large"
LONGEST_MESSAGE = 1000

Row = dict[str, Any]


@dataclass(frozen=True)
class Rejection:
    """The reason why a record, or some of its rows, have no prediction.

    Attributes:
        reason: one of the reasons of quarantined rows, "no_model", or "too_large".
        message: the expected and the received value, at most 1,000 characters.
        rows: indices of the rows without a prediction; empty for the whole record.
    """

    reason: str
    message: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class RecordResult:
    """The result of a record: a prediction, a rejection, or both.

    Attributes:
        prediction: encoded prediction; None if no row of the record has one.
        rejected: the reason why rows have no prediction; None if all have one.
        rows: number of predicted rows.
    """

    prediction: bytes | None
    rejected: Rejection | None
    rows: int = 0


def score_records(
    values: Sequence[bytes | None],
    loaded: LoadedModel,
    codec: Codec,
    tell: Callable[[RuleCounts], None] | None = None,
) -> list[RecordResult]:
    """Scores a batch of records.

    Args:
        values: values of the records, one or more; None for a record without a value.
        loaded: the model in use.
        codec: codec of the records.
        tell: called with the counts of rows that broke a rule of the Model; None for no counts.

    Returns:
        The result of each record, in order. Predictions contain the outputs, `model_version` and `model_epoch`.

    Raises:
        PlatformError: the model failed for a reason other than its records.
    """
    rows: list[Row] = []
    owners: list[tuple[int, int]] = []
    rejected: dict[int, Rejection] = {}
    for record, value in enumerate(values):
        try:
            decoded = rows_of(value, codec)
        except DataError as error:
            rejected[record] = rejected_for("malformed_row", error)
            continue
        owners += [(record, row) for row in range(len(decoded))]
        rows += decoded
    predictions, faults = _predict(rows, loaded, tell)
    return _results(len(values), owners, predictions, faults, rejected, codec)


def rows_of(value: bytes | None, codec: Codec) -> list[Row]:
    """The rows of a record.

    Raises:
        DataError: the record has no value, or its value is damaged.
    """
    if value is None:
        raise DataError("the record has no value", expected="a row of features")
    return codec.rows(value)


def no_model(values: Sequence[bytes | None], app: str) -> list[RecordResult]:
    """The results of records that arrive while there is no model."""
    nothing = RecordResult(None, Rejection(NO_MODEL, f"{app} has no model yet"))
    return [nothing] * len(values)


def _results(
    records: int,
    owners: Sequence[tuple[int, int]],
    predictions: Sequence[Row | None],
    faults: dict[int, Rejection],
    rejected: dict[int, Rejection],
    codec: Codec,
) -> list[RecordResult]:
    if len(owners) == records and not faults and not rejected:
        # The common case: one row per record, and all rows are predicted.
        return [RecordResult(codec.value([one]), None, 1) for one in predictions if one is not None]
    made: list[list[Row]] = [[] for _ in range(records)]
    bad: list[list[tuple[int, Rejection]]] = [[] for _ in range(records)]
    for at, (record, row) in enumerate(owners):
        prediction = predictions[at]
        if prediction is None:
            bad[record].append((row, faults[at]))
        else:
            made[record].append(prediction)
    results = []
    for record in range(records):
        if record in rejected:
            results.append(RecordResult(None, rejected[record]))
            continue
        why = None
        if bad[record]:
            first = bad[record][0][1]
            some = tuple(row for row, _ in bad[record]) if made[record] else ()
            why = Rejection(first.reason, first.message, some)
        value = codec.value(made[record]) if made[record] else None
        results.append(RecordResult(value, why, len(made[record])))
    return results


def _predict(
    rows: Sequence[Row], loaded: LoadedModel, tell: Callable[[RuleCounts], None] | None
) -> tuple[list[Row | None], dict[int, Rejection]]:
    """The prediction of each row, None for rejected rows, and the rejections by row."""
    model = loaded.model
    faults: dict[int, Rejection] = {}
    at = list(range(len(rows)))
    columns = _columns(rows, model, at, faults, tell)
    found: list[Row | None] = [None] * len(rows)
    if columns is None:
        return found, faults
    for places, predicted in _called(model, columns, len(at)):
        answered = _json_rows(predicted, model, [at[place] for place in places], faults)
        for row, prediction in answered.items():
            if prediction.get(KEY) == "" and not _keyed(rows[row], model):
                # Only other rows of the batch have a key.
                del prediction[KEY]
            prediction[VERSION], prediction[EPOCH] = loaded.event.version, loaded.event.epoch
            found[row] = prediction
    return found, faults


def _keyed(row: Row, model: OnlineModel) -> bool:
    return any(row.get(name) is not None for name in (KEY, model.interface.key_name) if name is not None)


def _columns(
    rows: Sequence[Row],
    model: OnlineModel,
    at: list[int],
    faults: dict[int, Rejection],
    tell: Callable[[RuleCounts], None] | None,
) -> Columns | None:
    """The columns of the rows that are not rejected, whose indices remain in `at`; None if there are none."""
    while at:
        try:
            return columns_from_instances([rows[row] for row in at], model.interface, tell)
        except RowsRefused as error:
            # An error lists only the first thousand refused rows; the others are found in the next round.
            refused = {at[row]: listed[0] for row, listed in error.rows.items()}
            faults |= {row: Rejection(fault.reason, fault.message[:LONGEST_MESSAGE]) for row, fault in refused.items()}
            at[:] = [row for row in at if row not in refused]
            # All rows that broke a rule are already counted.
            tell = None
        except DataError as error:
            bad = _at_fault(rows, at, model, error)
            faults |= bad
            at[:] = [row for row in at if row not in bad]
    return None


def _at_fault(rows: Sequence[Row], at: Sequence[int], model: OnlineModel, error: DataError) -> dict[int, Rejection]:
    """The rows that cannot be read, found by bisection."""
    if len(at) == 1:
        return {at[0]: rejected_for("malformed_row", error)}
    found: dict[int, Rejection] = {}
    half = len(at) // 2
    for part in (at[:half], at[half:]):
        try:
            columns_from_instances([rows[row] for row in part], model.interface)
        except RowsRefused:
            # The rows are readable, and will be refused in the next round.
            continue
        except DataError as inner:
            found |= _at_fault(rows, part, model, inner)
    return found


def _called(model: OnlineModel, columns: Columns, rows: int) -> list[tuple[range, BatchPredictions]]:
    """The model's predictions for all rows in one call, or in one call per row if rows depend on each other."""
    if not model.whole:
        try:
            return [(range(rows), model.predict(columns))]
        except DependentRows:
            pass
    alone = [{name: values[row : row + 1] for name, values in columns.items()} for row in range(rows)]
    return [(range(row, row + 1), model.predict(one)) for row, one in enumerate(alone)]


def _json_rows(
    predicted: BatchPredictions, model: OnlineModel, rows: Sequence[int], faults: dict[int, Rejection]
) -> dict[int, Row]:
    """The predictions as JSON values by row. Rejected rows are added to `faults`."""
    faults |= {rows[row]: Rejection(f.reason, f.message[:LONGEST_MESSAGE]) for row, f in predicted.faults.items()}
    at, outputs = predicted.at, predicted.outputs
    if predicted.faults:
        good = ~np.isin(at, list(predicted.faults))
        at, outputs = at[good], {name: values[good] for name, values in outputs.items()}
    if not len(at):
        return {}
    places = [rows[place] for place in at.tolist()]
    try:
        made = rows_from_outputs(outputs, bare=False, binary=model.binary)
    except NoPrediction:
        found = {}
        for index, row in enumerate(places):
            try:
                one = {name: values[index : index + 1] for name, values in outputs.items()}
                found[row] = rows_from_outputs(one, bare=False, binary=model.binary)[0]
            except NoPrediction as error:
                faults[row] = rejected_for("model_failed", error)
        return found
    return dict(zip(places, made, strict=True))


def rejected_for(reason: str, error: DataError) -> Rejection:
    """The rejection of a record because of an error."""
    # Without the place in the batch, which is meaningless in the dead-letter topic.
    plain = DataError(error.what, expected=error.expected, received=error.received)
    return Rejection(reason, plain.paragraph[:LONGEST_MESSAGE])
