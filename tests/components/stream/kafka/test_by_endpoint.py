"""The Kafka scorer by requests to an endpoint: as with models in its process, and waiting while nobody answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from support.http_server import Served
from support.kafka_stage import Stage, encoded
from support.serving import dynamic
from support.stream_models import APP
from support.tiny_model import INSTANCES, NAN_AGE

from headrace.components.score.options import EndpointOptions
from headrace.components.stream.kafka.by_endpoint import ByEndpoint
from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models.load import LoadedModel
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import RecordResult, score_records
from headrace.core.errors import HeadraceError, PlatformError, UsageError

ROW = INSTANCES[0]
RECORDS: list[bytes | None] = [
    *(encoded({**INSTANCES[at % len(INSTANCES)], "key": f"k{at}"}) for at in range(40)),
    b"{",
    None,
    b"[1]",
    encoded({**ROW, "mother_age": "old"}),
    encoded({**ROW, "mother_age": NAN_AGE}),
]


class Endpoint:
    """An endpoint that can be stopped."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._served = Served(dynamic(loaded.model))
        self.url = f"http://127.0.0.1:{self._served.port}/v1/models/{loaded.model.name}:predict"

    def stop(self) -> None:
        self._served.stop()
        self._served.join()


def by_endpoint(url: str, **options: Any) -> dict[str, Any]:
    return {"model_topic": "", "endpoint": EndpointOptions(url, tries=1, **options)}


def plain(value: bytes) -> dict[str, Any]:
    """A prediction without its epoch, which an endpoint does not know."""
    content: dict[str, Any] = json.loads(value)
    content.pop("model_epoch", None)
    return content


@pytest.mark.parametrize("rows", [1, 960])
def test_predictions_and_dead_letters_are_those_of_a_model_in_the_process(
    stage: Stage, loaded: LoadedModel, url: str, rows: int
) -> None:
    member = stage.member(**by_endpoint(url, rows_per_request=rows))
    stage.send(*RECORDS, key=b"k")
    expected = score_records(RECORDS, loaded, JsonCodec())
    predictions = [one.prediction for one in expected if one.prediction is not None]
    assert [plain(message.value()) for message in stage.read("predictions", 40)] == [plain(one) for one in predictions]
    letters = stage.letters(5)
    assert [letter["headrace-reason"] for letter in letters] == [
        one.rejected.reason for one in expected if one.rejected is not None
    ]
    assert {(letter["headrace-app"], letter["headrace-model-version"]) for letter in letters} == {(APP, "loaded")}
    assert "headrace-model-epoch" not in letters[0]
    text = member.metrics.text()
    assert f'headrace_stream_model_info{{app="{APP}",version="loaded"}} 1\n' in text
    assert f'headrace_stream_records_total{{app="{APP}",result="predicted"}} 40\n' in text
    assert member.metrics.ready


def test_while_the_endpoint_does_not_answer_records_wait(stage: Stage, loaded: LoadedModel) -> None:
    endpoint = Endpoint(loaded)
    member = stage.member(drain_s=0.5, **by_endpoint(endpoint.url))
    stage.send(encoded(ROW))
    stage.predictions(1)
    endpoint.stop()
    stage.send(*(encoded({**ROW, "key": f"{at}"}) for at in range(20)))
    member.until(lambda: 'retries_total{what="endpoint"}' in member.metrics.text(), "nothing was tried again")
    assert member.longest_idle(3.0) < 2.0
    assert len(stage.predictions(1)) == 1
    # The process ends in time, and commits nothing of the batch.
    member.stop.set()
    member.thread.join(600)
    assert member.error is not None
    assert member.error.exit_status == 75
    assert "Nothing is lost" in member.error.paragraph
    again = Endpoint(loaded)
    stage.member(**by_endpoint(again.url))
    keys = stage.keys(21)
    assert sorted(keys) == sorted([ROW["key"], *(f"{at}" for at in range(20))])
    stage.members[-1].end()
    again.stop()


def test_an_address_that_has_no_model_ends_the_member(stage: Stage, url: str) -> None:
    member = stage.member(**by_endpoint(url.replace("/v1/models/", "/v2/nothing/")))
    stage.send(encoded(ROW))
    member.thread.join(600)
    assert isinstance(member.error, UsageError)
    assert "the endpoint has no model at this address" in member.error.paragraph


class Scorer:
    """Fails as told, and then scores."""

    def __init__(self, *errors: HeadraceError) -> None:
        self.errors = list(errors)
        self.stops: list[threading.Event] = []
        self.released = threading.Event()

    def score(self, values: Sequence[bytes | None], stop: threading.Event) -> tuple[str, list[RecordResult]]:
        self.stops.append(stop)
        if self.errors:
            raise self.errors.pop(0)
        assert self.released.wait(600)
        return "v7", [RecordResult(b"{}", None, 1)] * len(values)


def scoring_with(scorer: Scorer) -> tuple[ByEndpoint, StreamMetrics]:
    metrics = StreamMetrics(dict)
    return ByEndpoint(APP, scorer, metrics), metrics  # type: ignore[arg-type]


def test_a_batch_is_scored_again_until_the_endpoint_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.components.stream.kafka.by_endpoint._MAX_WAIT_S", 0.01)
    scorer = Scorer(PlatformError("it is down"), PlatformError("it is down"))
    scorer.released.set()
    scoring, metrics = scoring_with(scorer)
    assert scoring.in_use == {}
    used, results = scoring.score(APP, [b"{}", b"{}"], lambda: None)
    assert used is not None
    assert (used.version, used.epoch, len(results)) == ("v7", None, 2)
    assert scoring.in_use == {APP: used}
    assert 'retries_total{what="endpoint"} 2\n' in metrics.text()
    scoring.close()


def test_giving_up_stops_the_requests_that_are_under_way() -> None:
    scorer = Scorer()
    scoring, _ = scoring_with(scorer)

    def wait() -> None:
        raise PlatformError("the process must end")

    with pytest.raises(PlatformError, match="must end"):
        scoring.score(APP, [b"{}"], wait)
    assert scorer.stops[0].is_set()
    scorer.released.set()
    scoring.close()
