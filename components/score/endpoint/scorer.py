"""Scores rows by requests to an HTTP endpoint: the slow way for a batch, for a model that is only reachable there."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from headrace.components.score.endpoint import wire
from headrace.components.score.endpoint.client import Client, Response, Stopped, Timing, TooLarge
from headrace.components.score.endpoint.not_finite import answers_around
from headrace.components.score.endpoint.request_size import RequestSize
from headrace.components.score.endpoint.tokens import Tokens
from headrace.components.score.options import EndpointOptions
from headrace.core.errors import DataError, PlatformError
from headrace.core.saved_model.binding import and_key
from headrace.core.saved_model.interface import Takes
from headrace.core.scoring.bisect import RowsFailed, answered
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.scorer import RowScorer
from headrace.core.scoring.to_columns import Answer, joined

Made = TypeVar("Made")

# An endpoint that refused so many rows alone, and has answered none, refuses them all.
_REFUSED_ROWS = 100


class ServedModel(Protocol):
    """A model behind an endpoint; `endpoint.Endpoint` is one."""

    @property
    def options(self) -> EndpointOptions:
        """How it is requested."""

    @property
    def takes(self) -> Takes:
        """What the model accepts and returns, and from which columns."""

    @property
    def model_version(self) -> str:
        """Version of the model."""

    @property
    def answers_as(self) -> str:
        """Version that each answer must name; "" where it is not known before."""

    @property
    def begun(self) -> float:
        """Seconds since 1970, from which its deadline counts."""


class EndpointScorer(RowScorer):
    """Scores batches of rows by requests to an endpoint; safe to call from several threads at a time.

    A request has as many rows as the options say, and the last one of a batch is filled up to whole blocks with its
    last row, as the direct approach does it: the same model on the same kind of machine then gives the same bits.

    Attributes:
        takes: what the model takes and gives, and from which columns.
        model_version: which model it is.
    """

    def __init__(self, endpoint: ServedModel, tokens: Tokens | None = None, timing: Timing | None = None) -> None:
        """Prepares to ask.

        Args:
            endpoint: whom.
            tokens: where the bearer token comes from; by default what the options say.
            timing: what time it is, and how it passes.

        Raises:
            UsageError: there is no token where one is to be.
        """
        options, takes = endpoint.options, endpoint.takes
        inputs = and_key(takes)
        if inputs != takes.inputs:
            # What is wrong with a key is said of it already.
            inputs = (*takes.inputs, replace(inputs[-1], optional=True))
        super().__init__(takes, inputs, endpoint.model_version)
        self._options = options
        self._blank = takes.key_input if takes.key is None else None
        self._client = Client(options, tokens, endpoint.begun, timing)
        self._size = RequestSize(options.rows_per_request, options.bytes_per_request, takes.batch)
        self._pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix="ask")
        self._lock = threading.Lock()
        self._answers_as = endpoint.answers_as
        self._answered = False
        self._refused = 0

    def _answers(self, feeds: list[Feed], rows: int) -> tuple[dict[str, Answer], dict[int, str]]:
        """What the endpoint answers the rows, in pieces that are asked about side by side."""
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
    ) -> tuple[list[dict[str, Answer]], dict[int, str]]:
        """The answers to the rows of a piece that are not refused, and what was said of those that are."""

        def call(begin: int, end: int) -> dict[str, Answer]:
            return self._asked([feed.slice(begin, end) for feed in feeds], end - begin, stop)

        try:
            return answered(call, rows)
        except BaseException:
            # It ends the batch: whatever else is asked for it, is asked for in vain.
            stop.set()
            raise

    def _asked(self, feeds: list[Feed], rows: int, stop: threading.Event) -> dict[str, Answer]:
        """The answers to rows, in as many requests as their size asks for.

        Raises:
            RowsFailed: the endpoint refuses them, perhaps for the sake of some.
        """
        answers = []
        begin, most = 0, rows
        while begin < rows:
            count = min(most, self._size.next(rows - begin))
            try:
                made = self._request([f.slice(begin, begin + count) for f in feeds], count, stop)
            except TooLarge:
                most = max(1, count // 2)
                continue
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
        """The answers to one request.

        Raises:
            RowsFailed: the endpoint refuses it.
            TooLarge: it, or its answer, is larger than is taken.
        """
        columns = wire.columns_to_json(feeds)
        if self._blank is not None:
            columns[self._blank] = [""] * rows
        return answers_around(lambda asked: self._posted(asked, rows, stop), columns, rows, self.takes.outputs)

    def _posted(self, columns: Mapping[str, list[Any]], rows: int, stop: threading.Event) -> dict[str, Answer]:
        """The answers to rows of JSON values; raises what `_request` does."""
        body, filled = self._body(columns, rows)
        keys = None
        if self.takes.key_input is not None and self._blank is None:
            keys = _filled(columns[self.takes.key_input], filled)

        def read(response: Response) -> dict[str, Answer]:
            reply = wire.reply_of(response.content, self._options.form)
            self._check_version(response.version or reply.deployed)
            return wire.answers_of(reply.predictions, self.takes, filled, keys, rows)

        try:
            return self._client.post(self._options.url, body, read, stop)
        except TooLarge as error:
            if filled == 1:
                raise RowsFailed(f"the endpoint refuses the row for its size: {error}") from None
            self._size.lower(len(body))
            raise

    def _body(self, columns: Mapping[str, list[Any]], rows: int) -> tuple[bytes, int]:
        """A body, and for how many rows it asks: filled up to whole blocks, if there is room.

        Raises:
            TooLarge: it is larger than may be sent, and not of one row, which only the endpoint can refuse.
        """
        body = wire.body(columns, self._options.form, self.takes.signature)
        if not self._size.fits(rows, len(body)) and rows > 1:
            raise TooLarge
        filled = self._size.filled(rows)
        if filled > rows and self._size.fits(filled, len(body) * filled // rows):
            more = {name: _filled(values, filled) for name, values in columns.items()}
            whole = wire.body(more, self._options.form, self.takes.signature)
            if self._size.fits(filled, len(whole)):
                return whole, filled
        return body, rows

    def _check_version(self, said: str) -> None:
        """Raises PlatformError if another model answers than did before."""
        if not said:
            return
        with self._lock:
            self._answers_as = self._answers_as or said
        if said != self._answers_as:
            raise PlatformError(
                "the model behind the endpoint changed while it was asked",
                where=self._options.url,
                expected=f"answers of version {self._answers_as}",
                received=f"one of version {said}",
                fix="Ask again when it stays, or ask for one version by its own address",
            )

    def _note_refusal(self, said: str) -> None:
        """Counts a row that was refused alone.

        Raises:
            DataError: so many were refused, and none answered, that it is not for the rows.
        """
        with self._lock:
            self._refused += 1
        if self._refused >= _REFUSED_ROWS and not self._answered:
            raise DataError(
                "the endpoint refuses the rows",
                where=self._options.url,
                expected=f"an answer to one of the first {_REFUSED_ROWS} rows that were sent alone",
                received=said,
                fix="See that each input is fed from the right column, in the form that the endpoint takes",
            )


def _filled(values: list[Any], rows: int) -> list[Any]:
    """Values for so many rows: the last one fills what is left."""
    return values + values[-1:] * (rows - len(values))


def _results(futures: Sequence[Future[Made]]) -> list[Made]:
    """What came of all of them, or the error that ended them."""
    ended = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
    for error in ended:
        # Those that stopped, did so for the sake of another.
        if not isinstance(error, Stopped):
            raise error
    return [future.result() for future in futures]
