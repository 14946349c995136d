"""Endpoint scorer: scores rows by requests to an HTTP endpoint, for a model that is not available as a SavedModel."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from headrace.components.score.endpoint import wire
from headrace.components.score.endpoint.client import (
    BatchStopped,
    EndpointClient,
    EndpointResponse,
    SizeLimitExceeded,
    Timing,
)
from headrace.components.score.endpoint.not_finite import answers_around
from headrace.components.score.endpoint.refused_rows import RefusedRows, enforced
from headrace.components.score.endpoint.reply import reply_of
from headrace.components.score.endpoint.request_size import RequestSize
from headrace.components.score.endpoint.tokens import Tokens
from headrace.components.score.options import EndpointOptions
from headrace.core.artifacts.quarantine import Fault
from headrace.core.errors import DataError, PlatformError
from headrace.core.saved_model.binding import and_key
from headrace.core.saved_model.interface import ModelBinding
from headrace.core.scoring.answered import FaultCause
from headrace.core.scoring.bisect import RowsFailed, answered
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.scorer import RowScorer
from headrace.core.scoring.to_columns import Answer, joined
from headrace.core.storage.clocks import Moment

Made = TypeVar("Made")

# An endpoint that refused this number of single rows and accepted none is assumed to refuse all rows.
_REFUSED_ROWS = 100


class ServedModel(Protocol):
    """A model behind an endpoint; `endpoint.EndpointModel` is one."""

    @property
    def options(self) -> EndpointOptions:
        """How it is requested."""

    @property
    def takes(self) -> ModelBinding:
        """What the model accepts and returns, and from which columns."""

    @property
    def model_version(self) -> str:
        """Version of the model."""

    @property
    def answers_as(self) -> str:
        """The version that each response must name; "" if unknown."""

    @property
    def begun(self) -> Moment | None:
        """Start of the deadline; None for the first request of each process."""

    @property
    def must_warn(self) -> bool:
        """Whether rules are only to warn, and it is not known whether the server does."""


class EndpointScorer(RowScorer):
    """Scores batches of rows by requests to an endpoint; safe to call from several threads at a time.

    The options set the rows per request. The last request of a batch is padded with its last row to a multiple of the
    block size, as in the direct approach: the same model on the same kind of machine then returns the same bits.

    Attributes:
        takes: the model's inputs and outputs, and the columns of its inputs.
        model_version: version of the model.
    """

    def __init__(self, endpoint: ServedModel, tokens: Tokens | None = None, timing: Timing | None = None) -> None:
        """Creates the client.

        Args:
            endpoint: the model behind an endpoint.
            tokens: the source of the bearer token; by default from the options.
            timing: clock and waiting.

        Raises:
            UsageError: the token is missing.
        """
        options, takes = endpoint.options, endpoint.takes
        inputs = and_key(takes)
        if inputs != takes.inputs:
            # Errors of the key are reported elsewhere.
            inputs = (*takes.inputs, replace(inputs[-1], optional=True))
        super().__init__(takes, inputs, endpoint.model_version)
        self._options = options
        self._must_warn = endpoint.must_warn
        self._blank = takes.key_input if takes.key is None else None
        self._client = EndpointClient(options, tokens, endpoint.begun, timing)
        self._size = RequestSize(options.rows_per_request, options.bytes_per_request, takes.batch)
        self._pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix="ask")
        self._lock = threading.Lock()
        self._answers_as = endpoint.answers_as
        self._answered = False
        self._refused = 0

    def _answers(self, feeds: list[Feed], rows: int) -> tuple[dict[str, Answer], Mapping[int, FaultCause]]:
        """Predicts the rows, in pieces with concurrent requests."""
        stop = threading.Event()
        step = self._size.rows
        begins = range(0, rows, step)
        futures = [
            self._pool.submit(self._piece, [f.slice(b, b + step) for f in feeds], min(step, rows - b), stop)
            for b in begins
        ]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # Nothing is under way any more when this is left, also if it is interrupted.
            stop.set()
            for future in futures:
                future.cancel()
            wait(futures)
        pieces = _results(futures)
        failed = {b + row: said for b, (_, of) in zip(begins, pieces, strict=True) for row, said in of.items()}
        return joined([answer for answers, _ in pieces for answer in answers], self.takes.outputs), failed

    def _piece(
        self, feeds: list[Feed], rows: int, stop: threading.Event
    ) -> tuple[list[dict[str, Answer]], dict[int, FaultCause]]:
        """The predictions for the accepted rows of a piece, and the faults or messages of the refused rows."""
        chosen, at = feeds, np.arange(rows)
        refused: dict[int, FaultCause] = {}

        def call(begin: int, end: int) -> dict[str, Answer]:
            try:
                return self._asked([feed.slice(begin, end) for feed in chosen], end - begin, stop)
            except RefusedRows as error:
                raise error.moved(begin) from None

        try:
            while True:
                try:
                    answers, failed = answered(call, len(at))
                    return answers, {**refused, **{int(at[row]): said for row, said in failed.items()}}
                except RefusedRows as error:
                    # The rest is requested without them.
                    refused |= {int(at[row]): self._in_columns(faults) for row, faults in error.rows.items()}
                    kept = np.ones(len(at), np.bool_)
                    kept[list(error.rows)] = False
                    chosen, at = [feed.where(kept) for feed in chosen], at[kept]
        except BaseException:
            # The error ends the batch, so the other requests are stopped.
            stop.set()
            raise

    def _in_columns(self, faults: Sequence[Fault]) -> tuple[Fault, ...]:
        """Faults of the server's fields as those of the columns that they are fed from."""
        columns = {taken.name: taken.columns[0] for taken in self.takes.inputs}
        return tuple(replace(fault, column=columns.get(str(fault.column), fault.column)) for fault in faults)

    def _asked(self, feeds: list[Feed], rows: int, stop: threading.Event) -> dict[str, Answer]:
        """Predicts rows, in as many requests as their size requires.

        Raises:
            RowsFailed: the endpoint refuses them, perhaps because of some of them.
            RefusedRows: rows of it break a rule of the endpoint's Model.
        """
        answers = []
        begin, most = 0, rows
        while begin < rows:
            count = min(most, self._size.next(rows - begin))
            try:
                made = self._request([f.slice(begin, begin + count) for f in feeds], count, stop)
            except SizeLimitExceeded:
                most = max(1, count // 2)
                continue
            except RefusedRows as error:
                raise error.moved(begin) from None
            except RowsFailed as error:
                if rows == 1:
                    self._note_refusal(str(error))
                raise
            self._answered = True
            answers.append(made)
            begin += count
            most = rows - begin
        return joined(answers, self.takes.outputs)

    def _request(self, feeds: list[Feed], rows: int, stop: threading.Event) -> dict[str, Answer]:
        """Predicts rows in one request.

        Raises:
            RowsFailed: the endpoint refuses it.
            SizeLimitExceeded: the request or its response exceeds a size limit.
        """
        columns = wire.columns_to_json(feeds)
        if self._blank is not None:
            columns[self._blank] = [""] * rows
        return answers_around(lambda asked: self._posted(asked, rows, stop), columns, rows, self.takes.outputs)

    def _posted(self, columns: Mapping[str, list[Any]], rows: int, stop: threading.Event) -> dict[str, Answer]:
        """Predicts rows of JSON values; raises the errors of `_request`."""
        body, filled = self._body(columns, rows)
        keys = None
        if self.takes.key_input is not None and self._blank is None:
            keys = _filled(columns[self.takes.key_input], filled)

        def read(response: EndpointResponse) -> dict[str, Answer]:
            reply = reply_of(response.content, self._options.form)
            self._check_version(response.version or reply.deployed)
            return wire.answers_of(reply.predictions, self.takes, filled, keys, rows)

        try:
            return self._client.post(self._options.url, body, read, stop)
        except RefusedRows as error:
            if self._must_warn and error.by_mode:
                raise enforced(self._options.url) from None
            named = error.among(rows)
            if not named.rows:
                raise RowsFailed("the endpoint refuses rows that it was not sent") from None
            raise named from None
        except SizeLimitExceeded as error:
            if filled == 1:
                raise RowsFailed(f"the endpoint refuses the row for its size: {error}") from None
            self._size.lower(len(body))
            raise

    def _body(self, columns: Mapping[str, list[Any]], rows: int) -> tuple[bytes, int]:
        """A body and its number of rows, padded to a multiple of the block size if the size limit allows.

        Raises:
            SizeLimitExceeded: it exceeds the size limit, and has more than one row; a single row is sent in any case.
        """
        body = wire.body(columns, self._options.form, self.takes.signature)
        if not self._size.fits(rows, len(body)) and rows > 1:
            raise SizeLimitExceeded
        filled = self._size.filled(rows)
        if filled > rows and self._size.fits(filled, len(body) * filled // rows):
            more = {name: _filled(values, filled) for name, values in columns.items()}
            whole = wire.body(more, self._options.form, self.takes.signature)
            if self._size.fits(filled, len(whole)):
                return whole, filled
        return body, rows

    def _check_version(self, said: str) -> None:
        """Raises PlatformError if the version differs from that of earlier responses."""
        if not said:
            return
        with self._lock:
            self._answers_as = self._answers_as or said
        if said != self._answers_as:
            raise PlatformError(
                "the model behind the endpoint changed during scoring",
                where=self._options.url,
                expected=f"responses of version {self._answers_as}",
                received=f"a response of version {said}",
                fix="Score again after the deployment, or use the address of one version",
            )

    def _note_refusal(self, said: str) -> None:
        """Counts a row that was refused in a request of its own.

        Raises:
            DataError: too many rows were refused and none accepted, so the rows are not the cause.
        """
        with self._lock:
            self._refused += 1
        if self._refused >= _REFUSED_ROWS and not self._answered:
            raise DataError(
                "the endpoint refuses the rows",
                where=self._options.url,
                expected=f"a prediction for one of the first {_REFUSED_ROWS} rows that were sent one by one",
                received=said,
                fix="Check that each input is fed from the right column, in the form that the endpoint accepts",
            )


def _filled(values: list[Any], rows: int) -> list[Any]:
    """Pads values to a number of rows with the last one."""
    return values + values[-1:] * (rows - len(values))


def _results(futures: Sequence[Future[Made]]) -> list[Made]:
    """The results of all futures, or the error that ended them."""
    ended = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
    for error in ended:
        # Stopped futures were ended by the error of another one.
        if not isinstance(error, BatchStopped):
            raise error
    return [future.result() for future in futures]
