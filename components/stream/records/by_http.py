"""Record scoring by HTTP: converts the records of a batch to predictions and rejections, by requests to an endpoint.

The client is that of batch scoring, with retries and backoff, a rate limit, tokens, and the parsing of refused rows. If
a request contains bad records, the others are predicted.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from headrace.components.score.endpoint.client import EndpointClient, EndpointResponse, SizeLimitExceeded
from headrace.components.score.endpoint.not_finite import NotFiniteRows
from headrace.components.score.endpoint.refused_rows import RefusedRows
from headrace.components.score.endpoint.reply import BrokenReply, reply_of
from headrace.components.score.options import EndpointOptions
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import (
    LONGEST_MESSAGE,
    VERSION,
    RecordResult,
    Rejection,
    rejected_for,
    rows_of,
)
from headrace.core.errors import DataError, HeadraceError
from headrace.core.scoring.bisect import RowsFailed, answered

_PREDICT = ":predict"
_BAD_REQUEST = re.compile(r"\bstatus 4(00|13)\b")


@dataclass(frozen=True)
class _Answer:
    """The predictions of a request, in order, and the version of the model; "" if the endpoint does not report it."""

    predictions: Sequence[Any]
    version: str


class HttpScorer:
    """Scores batches of JSON records by requests. Thread-safe.

    Args:
        options: URL, rows per request, concurrent requests, retries, rate limit and token.
        client: client of the endpoint; None creates one from the options.

    Raises:
        UsageError: the token is missing.
    """

    def __init__(self, options: EndpointOptions, client: EndpointClient | None = None) -> None:
        self._options = options
        self._client = client or EndpointClient(options)
        self._codec = JsonCodec()
        self._pool = ThreadPoolExecutor(options.concurrency, thread_name_prefix="ask")
        self._output = ""

    def score(
        self, values: Sequence[bytes | None], stop: threading.Event | None = None
    ) -> tuple[str, list[RecordResult]]:
        """Scores a batch of records.

        Args:
            values: values of the records, one or more, each a JSON object; None for a record without a value.
            stop: set by the caller when it no longer needs the results; None if it always does.

        Returns:
            The version that the endpoint reported last, "" if it reports none, and the result of each record, in order.
            Predictions contain the outputs and, if the endpoint reports it, `model_version`.

        Raises:
            UsageError: access is denied, or the URL is wrong.
            PlatformError: the endpoint failed at each attempt.
        """
        results: list[RecordResult | None] = [None] * len(values)
        good: dict[int, bytes] = {}
        for place, value in enumerate(values):
            try:
                rows_of(value, self._codec)
                good[place] = value or b""
            except DataError as error:
                results[place] = RecordResult(None, rejected_for("malformed_row", error))
        stop = stop or threading.Event()
        parts = self._parts(good)
        futures = [self._pool.submit(self._part, part, good, stop) for part in parts]
        version = ""
        for part, (found, named) in zip(parts, _results(futures, stop), strict=True):
            version = named or version
            for place, one in zip(part, found, strict=True):
                results[place] = one
        return version, [result for result in results if result is not None]

    def _parts(self, values: Mapping[int, bytes]) -> list[list[int]]:
        """The records of each request, by the limits of rows and bytes. A larger record is a separate request."""
        parts: list[list[int]] = []
        size = 0
        for place, value in values.items():
            bytes_of = len(value) + 1
            full = not parts or len(parts[-1]) >= self._options.rows_per_request
            if full or size + bytes_of > self._options.bytes_per_request:
                parts.append([])
                size = len('{"instances":[]}')
            parts[-1].append(place)
            size += bytes_of
        return parts

    def _part(
        self, places: Sequence[int], values: Mapping[int, bytes], stop: threading.Event
    ) -> tuple[list[RecordResult], str]:
        """The results of the records of a request. If some are refused, the others are sent again."""
        left = list(places)
        found: dict[int, RecordResult] = {}
        version = ""
        while left:
            asked = tuple(left)

            def ask(begin: int, end: int, asked: tuple[int, ...] = asked) -> _Answer:
                return self._ask(asked[begin:end], values, stop, begin)

            try:
                answers, failed = answered(ask, len(left))
            except _Refused as refused:
                found |= {left[row]: _rejected(*why) for row, why in refused.rows.items()}
                left = [place for row, place in enumerate(left) if row not in refused.rows]
                continue
            for row, message in failed.items():
                reason = "malformed_row" if _BAD_REQUEST.search(message) else "model_failed"
                found[left[row]] = _rejected(reason, message)
            kept = [place for row, place in enumerate(left) if row not in failed]
            version = next((answer.version for answer in answers if answer.version), "")
            made = [(one, answer.version) for answer in answers for one in answer.predictions]
            for place, (prediction, named) in zip(kept, made, strict=True):
                found[place] = RecordResult(self._codec.value([self._row(prediction, named)]), None, 1)
            break
        return [found[place] for place in places], version

    def _ask(self, places: Sequence[int], values: Mapping[int, bytes], stop: threading.Event, first: int) -> _Answer:
        """Sends one request; `first` is the index of its first row in the part.

        Raises:
            RowsFailed: the endpoint refuses the request, perhaps because of some rows.
            _Refused: the endpoint refuses some rows, and names them.
        """
        # The values of records are JSON objects, so they need no encoding.
        body = b'{"instances":[' + b",".join(values[place] for place in places) + b"]}"

        def read(response: EndpointResponse) -> _Answer:
            reply = reply_of(response.content, "instances")
            if len(reply.predictions) != len(places):
                raise BrokenReply(f"{len(reply.predictions)} predictions for {len(places)} records")
            return _Answer(reply.predictions, response.version or reply.deployed)

        try:
            return self._client.post(self._options.url, body, read, stop)
        except NotFiniteRows as error:
            # Indices beyond the request are those of padding.
            rows = {row for indices in error.rows.values() for row in indices if row < len(places)}
            if not rows:
                raise RowsFailed(str(error)) from error
            message = f"the model's output {next(iter(error.rows))} is not a finite number"
            raise _Refused({first + row: ("not_finite", message) for row in rows}) from error
        except RefusedRows as error:
            named = error.among(len(places)).rows
            if not named:
                raise RowsFailed("the endpoint refuses rows that it was not sent") from error
            raise _Refused({first + row: (of[0].reason, of[0].message) for row, of in named.items()}) from error
        except SizeLimitExceeded as error:
            raise RowsFailed(f"the endpoint refuses the record for its size, status 413: {error}") from error

    def _row(self, prediction: Any, version: str) -> dict[str, Any]:
        row = dict(prediction) if isinstance(prediction, dict) else {self._name(): prediction}
        return row | ({VERSION: version} if version else {})

    def _name(self) -> str:
        """The name of the only output, which a reply may omit: from the endpoint's metadata, else "prediction"."""
        if not self._output:
            self._output = _only_output(self._client, self._options.url)
        return self._output


class _Refused(Exception):
    """Rows that an endpoint refuses: reason and message by index of the row."""

    def __init__(self, rows: Mapping[int, tuple[str, str]]) -> None:
        super().__init__("the endpoint refused rows")
        self.rows = rows


def _rejected(reason: str, message: str) -> RecordResult:
    return RecordResult(None, Rejection(reason, message[:LONGEST_MESSAGE]))


def _only_output(client: EndpointClient, url: str) -> str:
    def read(response: EndpointResponse) -> str:
        definitions = json.loads(response.content)["metadata"]["signature_def"]["signature_def"]
        (definition,) = definitions.values()
        (name,) = definition["outputs"]
        return str(name)

    if not url.endswith(_PREDICT):
        return "prediction"
    try:
        return client.get(f"{url.removesuffix(_PREDICT)}/metadata", read) or "prediction"
    except (HeadraceError, ValueError, KeyError, TypeError):
        return "prediction"


def _results(
    futures: Sequence[Future[tuple[list[RecordResult], str]]], stop: threading.Event
) -> list[tuple[list[RecordResult], str]]:
    """The results of all requests. Raises the first error, and stops the others."""
    try:
        wait(futures, return_when="FIRST_EXCEPTION")
        failed = next((one.exception() for one in futures if one.done() and one.exception() is not None), None)
        if failed is not None:
            raise failed
        return [future.result() for future in futures]
    finally:
        stop.set()
        for future in futures:
            future.cancel()
        wait(futures)
