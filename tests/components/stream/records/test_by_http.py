"""Record scoring by HTTP: the same results as in this process, whatever the rows per request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.tiny_model import INSTANCES, NAN_AGE

from headrace.components.score.options import EndpointOptions
from headrace.components.stream.models.load import LoadedModel
from headrace.components.stream.pubsub.by_http import ByHttp
from headrace.components.stream.records.by_http import HttpScorer
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import RecordResult, score_records
from headrace.core.errors import PlatformError

ROW = {"mother_age": 30, "gestation_weeks": 40, "plurality": "1", "mother_smokes": "true"}
BAD: list[tuple[bytes, str]] = [
    (b"{", "malformed_row"),
    (b"[1]", "malformed_row"),
    (b"", "malformed_row"),
    (b"{}", "missing_value"),
    (json.dumps({**ROW, "mother_age": "old"}).encode(), "not_a_number"),
    (json.dumps({**ROW, "mother_age": NAN_AGE}).encode(), "not_finite"),
    (json.dumps({**ROW, "plurality": [1]}).encode(), "malformed_row"),
]


def _scorer(url: str, rows: int) -> HttpScorer:
    return HttpScorer(EndpointOptions(url, rows_per_request=rows, tries=2))


def _records(count: int) -> list[bytes]:
    return [json.dumps({**INSTANCES[n % len(INSTANCES)], "key": f"k{n}"}).encode() for n in range(count)]


def _plain(results: list[RecordResult]) -> list[Any]:
    """Predictions without the epoch, which an endpoint does not know, and reasons."""
    found: list[Any] = []
    for one in results:
        if one.prediction is None:
            found.append(None if one.rejected is None else one.rejected.reason)
            continue
        content = json.loads(one.prediction)
        content.pop("model_epoch", None)
        found.append(content)
    return found


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_predictions_are_those_of_this_process(url: str, loaded: LoadedModel, rows: int) -> None:
    values = _records(11)
    version, results = _scorer(url, rows).score(values)
    assert version == "loaded"
    assert _plain(results) == _plain(score_records(values, loaded, JsonCodec()))


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_bad_records_are_rejected_for_the_same_reasons_and_change_no_others(
    url: str, loaded: LoadedModel, rows: int
) -> None:
    values = _records(10)
    for at, (value, _) in enumerate(BAD):
        values.insert(2 * at, value)
    _, results = _scorer(url, rows).score(values)
    expected = _plain(score_records(values, loaded, JsonCodec()))
    assert [one for one in expected if isinstance(one, str)] == [reason for _, reason in BAD]
    assert _plain(results) == expected
    assert all(one.rejected is None or 0 < len(one.rejected.message) <= 1000 for one in results)


def test_requests_keep_within_their_bytes(url: str, loaded: LoadedModel) -> None:
    values = _records(7)
    scorer = HttpScorer(EndpointOptions(url, bytes_per_request=2 * len(values[0]) + 20, concurrency=1))
    assert [len(part) for part in scorer._parts(dict(enumerate(values)))] == [2, 2, 2, 1]
    assert _plain(scorer.score(values)[1]) == _plain(score_records(values, loaded, JsonCodec()))


def test_an_endpoint_that_is_gone_fails_the_batch(url: str) -> None:
    scorer = ByHttp(EndpointOptions("http://127.0.0.1:9/v1/models/births:predict", tries=1)).make()
    scorer.look()
    with pytest.raises(PlatformError, match="the endpoint returned no valid response"):
        scorer.score(_records(3))
    assert scorer.alarms() == []
