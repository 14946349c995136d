"""Dynamic mode: answers requests with the model in use, many requests in one call of the model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from headrace.components.serve.modes.answerer import Answer, DescribedOnce, Description, RowsRequest, slices
from headrace.components.serve.request_log import RequestLog
from headrace.core.errors import DataError, HeadraceError
from headrace.core.rules.counts import RuleCounts
from headrace.core.saved_model.interface import KEY
from headrace.core.saved_model.json.columns import Columns, columns_from_inputs, columns_from_instances
from headrace.core.saved_model.json.rows import NoPrediction, NotFinitePrediction, check_finite
from headrace.core.scoring.online.current import CurrentModel
from headrace.core.scoring.online.model import OnlineModel
from headrace.core.scoring.online.trial import DependentRows
from headrace.core.scoring.predictor import BatchPredictions
from headrace.core.scoring.ragged import concatenated, part_of

_log = logging.getLogger("headrace.serve")
Outcome = Answer | Exception


class Dynamic:
    """The model on demand.

    Args:
        current: holds the model in use, which may be switched between two batches.
        tell: called with the counts of rows that broke a rule of the Model.
        log: records predicted rows.
    """

    def __init__(
        self,
        current: CurrentModel[OnlineModel],
        *,
        tell: Callable[[RuleCounts], None] | None = None,
        log: RequestLog | None = None,
    ) -> None:
        self._current = current
        self._tell = tell
        self._log = log
        self._described = DescribedOnce()

    @property
    def description(self) -> Description:
        """The model in use."""
        model = self._current.model
        return self._described.of(
            model,
            make=lambda: Description(
                model.name, model.version, "dynamic", model.interface, model.signature, model.signature_def
            ),
        )

    @property
    def together(self) -> bool:
        """Whether the rows of a call are independent of each other."""
        return not self._current.model.whole

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Outcome]:
        """Answers a batch of requests in as few calls of the model as possible; see `Answerer.answer`."""
        model = self._current.model
        outcomes: list[Outcome | None] = [None] * len(requests)
        parts = self._columns(model, requests, outcomes)
        places = [place for part, _ in parts for place in part]
        if not places:
            return [outcome for outcome in outcomes if outcome is not None]
        try:
            columns = _joined([columns for _, columns in parts])
            predicted = model.predict(columns)
        except Exception as error:
            depend = isinstance(error, DependentRows)
            if depend:
                _log.warning("the model's rows depend on each other: from now on, each request is a call of its own")
            if not depend and (len(places) == 1 or isinstance(error, HeadraceError)):
                # It is not in the rows, so it is the same for each of them.
                return [error if outcome is None else outcome for outcome in outcomes]
            # Rows that depend on each other are called by request; what no check foresaw fails its request only.
            alone = {place: self.answer([requests[place]])[0] for place in places}
            return [alone[at] if outcome is None else outcome for at, outcome in enumerate(outcomes)]
        batch = [requests[place] for place in places]
        for place, (begin, end) in zip(places, slices(batch), strict=True):
            outcomes[place] = _outcome(model, requests[place], predicted, begin, end)
        self._record(columns, predicted)
        return [outcome for outcome in outcomes if outcome is not None]

    def _columns(
        self, model: OnlineModel, requests: Sequence[RowsRequest], outcomes: list[Outcome | None]
    ) -> list[tuple[list[int], Columns]]:
        """The columns of requests, and which requests they are of; errors of requests are written to `outcomes`."""
        by_row = [place for place, request in enumerate(requests) if request.instances is not None]
        parts: list[tuple[list[int], Columns]] = []
        if len(by_row) > 1:
            counts: list[RuleCounts] = []
            instances = list(chain.from_iterable(requests[place].instances or () for place in by_row))
            try:
                parts.append((by_row, columns_from_instances(instances, model.interface, counts.append)))
                self._count(counts)
            except Exception:
                # One of them is at fault: each is read alone, and the error names the row of its request.
                counts.clear()
        together = set(chain.from_iterable(places for places, _ in parts))
        for place, request in enumerate(requests):
            if place in together:
                continue
            try:
                parts.append(([place], self._columns_of(model, request)))
            except HeadraceError as error:
                # Its traceback holds this frame, and so itself: a circle per refused request would pile up.
                outcomes[place] = error.with_traceback(None)
            except Exception as error:
                outcomes[place] = error
        return parts

    def _columns_of(self, model: OnlineModel, request: RowsRequest) -> Columns:
        if request.instances is not None:
            return columns_from_instances(request.instances, model.interface, self._tell)
        columns = columns_from_inputs(request.columns, model.interface, self._tell)
        rows = len(next(iter(columns.values())))
        if rows != request.rows:
            # A batch is cut into answers by the requests' rows.
            raise DataError(
                "the columns differ in length", where="inputs", expected=f"{request.rows}", received=f"{rows}"
            )
        return columns

    def _count(self, counts: Sequence[RuleCounts]) -> None:
        if self._tell is not None:
            for each in counts:
                self._tell(each)

    def _record(self, columns: Columns, predicted: BatchPredictions) -> None:
        if self._log is None:
            return
        at = predicted.at
        if predicted.faults:
            at = at[~np.isin(at, list(predicted.faults))]
            kept = np.isin(predicted.at, at)
            outputs = {name: values[kept] for name, values in predicted.outputs.items()}
        else:
            outputs = dict(predicted.outputs)
        try:
            self._log({n: c[at] for n, c in columns.items()}, outputs, predicted.model_version, time.time())
        except Exception:
            _log.exception("the request log failed")


def _joined(parts: Sequence[Columns]) -> Columns:
    """The rows of all parts; a part without keys gets empty ones where another has keys."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(chain.from_iterable(parts))
    filled = [_with_key(part) if KEY in names and KEY not in part else part for part in parts]
    return {name: concatenated([part[name] for part in filled]) for name in names}


def _with_key(part: Columns) -> Columns:
    return {**part, KEY: np.full(len(next(iter(part.values()))), "", dtype=object)}


def _outcome(model: OnlineModel, request: RowsRequest, predicted: BatchPredictions, begin: int, end: int) -> Outcome:
    """The answer to the request whose rows are those from `begin` up to `end`."""
    outputs = predicted.outputs
    if predicted.faults:
        failure = _failure(predicted, begin, end)
        if failure is not None:
            return failure
        begin, end = (int(np.searchsorted(predicted.at, row)) for row in (begin, end))
    if begin or end < len(predicted.at):
        outputs = {name: part_of(values, begin, end) for name, values in outputs.items()}
    if KEY in outputs and model.interface.takes_key and not _keyed(model, request):
        outputs = {name: values for name, values in outputs.items() if name != KEY}
    return Answer(outputs, predicted.model_version, len(model.signature_def["outputs"]) == 1, model.binary)


def _keyed(model: OnlineModel, request: RowsRequest) -> bool:
    """Whether the request itself has keys, which the batch may have from another one."""
    names = [name for name in (KEY, model.interface.key_name) if name is not None]
    if request.instances is None:
        return any(name in (request.columns or {}) for name in names)
    return any(instance.get(name) is not None for instance in request.instances for name in names)


def _failure(predicted: BatchPredictions, begin: int, end: int) -> NoPrediction | None:
    """Why rows from `begin` up to `end` have no prediction, or None if all have one."""
    found = {row - begin: fault for row, fault in predicted.faults.items() if begin <= row < end}
    failed = next((row for row, fault in found.items() if fault.reason == "model_failed"), None)
    if failed is not None:
        return NoPrediction("the model failed", where=f"predictions[{failed}]", received=found[failed].message)
    if not found:
        return None
    first, last = (int(np.searchsorted(predicted.at, row)) for row in (begin, end))
    try:
        check_finite({name: values[first:last] for name, values in predicted.outputs.items()})
    except NotFinitePrediction as error:
        return error
    return None
