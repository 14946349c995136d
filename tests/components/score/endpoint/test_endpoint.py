"""The endpoint approach against our server, behind a proxy that fails as servers and networks do."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError
from peers.faulty_proxy import Answer, Asked, Proxy, faulty_proxy
from peers.our_server import our_server

from headrace.components.score.batch import run as direct
from headrace.components.score.batch.part_result import ScoringModel
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.endpoint import client
from headrace.components.score.endpoint.client import EndpointClient, Timing
from headrace.components.score.endpoint.endpoint import EndpointModel
from headrace.components.score.endpoint.scorer import EndpointScorer
from headrace.components.score.endpoint.tokens import GoogleTokens
from headrace.components.score.options import EndpointOptions
from headrace.components.score.score import score
from headrace.core import http
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.beam.runners import DirectRunner
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.progress import Progress, silent
from headrace.core.scoring.answered import ScoredBatch
from headrace.core.sources.open import list_parts, read_part
from headrace.core.storage.clocks import Moment

IDENTITY = "0123456789abcdef"
VERSION = "a" * 16
ROWS = 3000
BIRTHS = Path(__file__).parents[4] / "examples" / "natality" / "births.csv"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, natality_model: str) -> Iterator[str]:
    """Where our server answers for the model of births."""
    with our_server(natality_model, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def running_proxy(server: str) -> Iterator[Proxy]:
    with faulty_proxy(server) as proxy:
        yield proxy


@pytest.fixture
def proxy(running_proxy: Proxy) -> Proxy:
    running_proxy.reset()
    return running_proxy


@pytest.fixture(scope="module")
def births() -> pa.Table:
    """Births of the example that lack nothing, twice and a bit, each under a key of its own."""
    table = pacsv.read_csv(BIRTHS, convert_options=pacsv.ConvertOptions(strings_can_be_null=True)).drop_null()
    table = pa.concat_tables([table, table, table]).slice(0, ROWS)
    return table.set_column(0, "record_id", pa.array(range(1, ROWS + 1), pa.int64()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, births: pa.Table) -> Path:
    """Two files of births."""
    folder = tmp_path_factory.mktemp("data")
    pq.write_table(births.slice(0, 2000), folder / "a.parquet")
    pq.write_table(births.slice(2000), folder / "b.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, natality_model: str, data: Path) -> dict[str, bytes]:
    """The files that the direct approach gives."""
    folder = tmp_path_factory.mktemp("expected") / "out"
    direct.score(ScoreConfig(natality_model, str(data), str(folder), IDENTITY))
    return predictions(folder)


def predictions(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "predictions").iterdir()}


def options(proxy: Proxy, **others: Any) -> EndpointOptions:
    others = {"tries": 8, **others}
    return EndpointOptions(f"{proxy.url}/v1/models/natality:predict", **others)


def run(
    folder: Path, data: Path, asked: EndpointOptions, model: str = "", report: Progress = silent, **others: Any
) -> ScoreResult:
    others = {"key": "record_id", "optional": ("weight_gain_pounds", "cigarette_use"), **others}
    config = ScoreConfig(model, str(data), str(folder / "out"), IDENTITY, approach="endpoint", endpoint=asked, **others)
    return score(config, report)


def endpoint_of(asked: EndpointOptions, **others: Any) -> EndpointModel:
    others = {"model": "", "key": "record_id", "optional": ("weight_gain_pounds", "cigarette_use"), **others}
    return EndpointModel.of(ScoreConfig(data="d", output="o", identity=IDENTITY, endpoint=asked, **others), asked)


@dataclass
class Time:
    """Time that passes by waiting alone."""

    now: float = 0.0
    waited: list[float] = field(default_factory=list)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        self.waited.append(seconds)
        return event.is_set()

    @property
    def timing(self) -> Timing:
        return Timing(lambda: self.now, self.wait, lambda: 1.0)


@pytest.fixture
def ask(births: pa.Table, rows_of: Callable[..., Any]) -> Callable[..., ScoredBatch]:
    """`ask(options, rows, model=..., time=...)`: what comes of the first rows."""

    def score_rows(
        asked: EndpointOptions, rows: int = 960, *, time: Time | None = None, tokens: Any = None, **others: Any
    ) -> ScoredBatch:
        scorer = EndpointScorer(endpoint_of(asked, **others), tokens, (time or Time()).timing)
        batch = births.slice(0, rows).combine_chunks().to_batches()[0]
        return scorer.score(rows_of(batch.select(scorer.columns)))

    return score_rows


def refuse_every(n: int, answer: Answer) -> Callable[[Asked], Answer | None]:
    """Every nth request for predictions is answered with `answer`, from the first on."""
    return lambda asked: answer if asked.number >= 0 and asked.number % n == 0 else None


# What comes of it


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_predictions_are_those_of_the_direct_approach_bit_by_bit(
    tmp_path: Path, proxy: Proxy, data: Path, expected: dict[str, bytes], form: Any
) -> None:
    result = run(tmp_path, data, options(proxy, form=form))
    assert predictions(tmp_path / "out") == expected
    assert (result.approach, result.model_version, result.rows_in, result.rows_out) == ("endpoint", VERSION, ROWS, ROWS)
    assert PredictionsManifest.read(str(tmp_path / "out")).approach == "endpoint"
    if form == "instances":
        # 2000 and 1000 rows, in requests of whole blocks of 48.
        assert sorted(asked.rows for asked in proxy.predictions) == [48, 96, 960, 960, 960]


def test_the_size_of_requests_changes_no_byte(
    tmp_path: Path, proxy: Proxy, data: Path, expected: dict[str, bytes]
) -> None:
    run(tmp_path, data, options(proxy, rows_per_request=100), batch_rows=777)
    assert predictions(tmp_path / "out") == expected
    assert max(asked.rows for asked in proxy.predictions) == 96


def test_a_model_at_hand_says_what_may_be_missing_and_what_it_learned(
    tmp_path: Path, proxy: Proxy, data: Path, expected: dict[str, bytes], natality_model: str
) -> None:
    run(tmp_path, data, options(proxy), natality_model, key=None, optional=())
    assert predictions(tmp_path / "out") == expected
    manifest = PredictionsManifest.read(str(tmp_path / "out"))
    assert manifest.problem == "natality"


def test_beam_s_workers_ask_as_well(tmp_path: Path, proxy: Proxy, data: Path, expected: dict[str, bytes]) -> None:
    options_of = ("weight_gain_pounds", "cigarette_use")
    config = ScoreConfig(
        "", str(data), str(tmp_path / "out"), IDENTITY, key="record_id", optional=options_of,
        runner=DirectRunner(), endpoint=options(proxy),
    )  # fmt: skip
    source = EndpointModel.of(config, options(proxy))
    direct.score(config, source=source, approach="endpoint")
    assert predictions(tmp_path / "out") == expected
    # Whoever started the work asked what the model takes, and its workers were told.
    assert [asked.path for asked in proxy.asked if asked.number < 0] == ["/v1/models/natality/metadata"]


# Failures that pass

SLOW = threading.Event()


def slow(asked: Asked) -> Answer:
    SLOW.wait(1.0)
    return Answer(503)


FAULTS: dict[str, Callable[[Asked], Answer] | Answer] = {
    "429": Answer(429, b'{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}'),
    "500": Answer(500, b'{"error": "it failed"}'),
    "502": Answer(502, b"<html>Bad Gateway</html>"),
    "503": Answer(503, b'{"error": "busy"}', {"retry-after": "0"}),
    "504": Answer(504, b""),
    "408": Answer(408),
    "broken": Answer(200, b'{"predictions": [1.0, 2.'),
    "empty": Answer(200, b""),
    "page": Answer(200, b"<html>Welcome</html>"),
    "compressed": Answer(200, b"\x1f\x8b", {"content-encoding": "gzip"}),
    "cut": Answer(200, b'{"predictions": [' + b"1.0," * 900, cut=True),
    "closed": Answer(200, b"", {"content-length": "100"}, cut=True),
    "fewer": Answer(200, b'{"predictions": [{"key": "1", "prediction": 1.0}]}'),
    "slow": slow,
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_failure_that_passes_leaves_no_trace(
    proxy: Proxy, ask: Callable[..., ScoredBatch], fault: str, natality_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ask(options(proxy), 700)
    proxy.reset()
    send, seconds = http.send, 0.3 if fault == "slow" else 30.0

    def first_in_time(*arguments: Any, timeout_s: float, **others: Any) -> http.HttpResponse:
        """Only the answer that fails comes late, however busy the machine is."""
        assert timeout_s == seconds
        late = "POST" in arguments and not proxy.predictions
        return send(*arguments, timeout_s=timeout_s if late else 600.0, **others)

    monkeypatch.setattr(http, "send", first_in_time)
    answer = FAULTS[fault]
    proxy.fault = lambda asked: (answer if isinstance(answer, Answer) else answer(asked)) if not asked.number else None
    time = Time()
    scored = ask(options(proxy, request_seconds=seconds), 700, time=time)
    assert scored.predictions.equals(good.predictions)
    assert scored.quarantined == ()
    assert len(proxy.predictions) == 2
    assert time.waited == [0.25]


def test_answers_out_of_order_or_short_are_asked_for_again(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    good = ask(options(proxy), 700)

    def change(asked: Asked, answer: Answer) -> Answer:
        said = json.loads(answer.body)
        if asked.number == 1:
            said["predictions"].reverse()
        if asked.number == 2:
            said["predictions"].pop()
        return dataclasses.replace(answer, body=json.dumps(said).encode())

    proxy.change = change
    assert ask(options(proxy), 700).predictions.equals(good.predictions)
    assert len(proxy.predictions) == 4


def test_a_run_through_many_failures_loses_nothing(
    tmp_path: Path, proxy: Proxy, data: Path, expected: dict[str, bytes]
) -> None:
    kinds = ["429", "503", "500", "cut", "broken", "fewer", "closed"]

    def fault(asked: Asked) -> Answer | None:
        if asked.number < 0 or asked.number % 3 != 1:
            return None
        answer = FAULTS[kinds[asked.number % len(kinds)]]
        return answer if isinstance(answer, Answer) else None

    proxy.fault = fault
    result = run(tmp_path, data, options(proxy, rows_per_request=480, tries=50))
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (ROWS, ROWS, 0)
    assert predictions(tmp_path / "out") == expected


def test_back_off_grows_and_what_the_server_asks_for_comes_on_top(
    proxy: Proxy, ask: Callable[..., ScoredBatch]
) -> None:
    proxy.fault = lambda asked: Answer(503) if 0 <= asked.number < 4 else None
    time = Time()
    ask(options(proxy), time=time)
    assert time.waited == [0.25, 0.5, 1.0, 2.0]
    proxy.reset()
    proxy.fault = lambda asked: Answer(429, b"{}", {"retry-after": "7"}) if 0 <= asked.number < 2 else None
    time = Time()
    ask(options(proxy), time=time)
    # 7 seconds from the answer on, of which the back-off is a part.
    assert time.waited == [0.25, 6.75, 0.5, 6.5]


# Failures that stay


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_stays_ends_the_run_and_quarantines_nothing(
    tmp_path: Path, proxy: Proxy, data: Path, status: int
) -> None:
    proxy.fault = lambda asked: Answer(status, b'{"error": "out of order"}') if asked.number >= 0 else None
    with pytest.raises(PlatformError, match="returned no valid response") as caught:
        run(tmp_path, data, options(proxy, tries=2, concurrency=1))
    assert caught.value.exit_status == 75
    assert f"status {status}: out of order" in caught.value.text
    assert not (tmp_path / "out").exists()


def test_nobody_answers(ask: Callable[..., ScoredBatch], proxy: Proxy) -> None:
    closed = dataclasses.replace(options(proxy, tries=2), url="http://127.0.0.1:9/v1/models/natality:predict")
    with pytest.raises(PlatformError, match="Connection refused"):
        ask(closed)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "refuses the token"),
        (403, "denies access to this account"),
        (404, "no model at this address"),
        (405, "refuses the request"),
    ],
)
def test_what_the_user_has_to_mend(proxy: Proxy, ask: Callable[..., ScoredBatch], status: int, message: str) -> None:
    proxy.fault = lambda asked: Answer(status, b'{"error": "no"}') if asked.number >= 0 else None
    with pytest.raises(UsageError, match=message) as caught:
        ask(options(proxy, concurrency=1), 2000)
    assert f"status {status}: no" in caught.value.text
    assert len(proxy.predictions) == 1


def test_rows_are_not_sent_elsewhere(proxy: Proxy, server: str, ask: Callable[..., ScoredBatch]) -> None:
    elsewhere = {"location": f"{server}/v1/models/natality:predict?token=hunter2"}
    proxy.fault = lambda asked: Answer(307, b"", elsewhere) if asked.number >= 0 else None
    with pytest.raises(UsageError, match="redirects") as caught:
        ask(options(proxy))
    assert "hunter2" not in caught.value.text
    assert len(proxy.predictions) == 1


def test_the_deadline_is_for_all_requests_together(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    proxy.fault = lambda asked: Answer(503, b'{"error": "busy"}') if asked.number >= 0 else None
    time = Time()
    with pytest.raises(PlatformError, match="the deadline for all responses has passed") as caught:
        ask(options(proxy, tries=100, deadline_seconds=20.0), time=time)
    assert time.waited == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    assert "busy" in caught.value.text


@pytest.mark.parametrize(
    ("machine", "waited"), [(Moment.now().machine, [0.25, 0.5, 1.0]), ("another", [0.25, 0.5, 1.0, 2.0, 4.0, 8.0])]
)
def test_the_deadline_begins_with_the_work_on_its_machine_and_with_the_first_request_on_others(
    proxy: Proxy, machine: str, waited: list[float]
) -> None:
    """Clocks of two machines may differ by any time."""
    proxy.fault = lambda asked: Answer(503) if asked.number >= 0 else None
    time = Time()
    begun = Moment(machine, Moment.now(-17.0).at)
    asked = options(proxy, tries=100, deadline_seconds=20.0)
    requests = EndpointClient(asked, begun=begun, timing=time.timing)
    with pytest.raises(PlatformError, match="the deadline for all responses has passed"):
        requests.post(asked.url, b"{}", lambda response: response, threading.Event())
    assert time.waited == waited


def test_the_first_error_ends_what_others_ask(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    proxy.fault = lambda asked: Answer(403 if asked.number == 5 else 503) if asked.number >= 0 else None

    class Pauses(Time):
        def wait(self, event: threading.Event, seconds: float) -> bool:
            """Once the error is on its way, a pause lasts until it has arrived."""
            return event.wait(600) if len(proxy.predictions) > 5 else super().wait(event, seconds)

    with pytest.raises(UsageError, match="denies access to this account"):
        ask(options(proxy, concurrency=3, rows_per_request=48, tries=100), 2000, time=Pauses())
    # The tries of each of the three have ended.
    assert len(proxy.predictions) < 100


# Rows that the endpoint refuses


def test_one_in_a_hundred_rows_is_refused_and_the_others_are_scored(
    tmp_path: Path, proxy: Proxy, births: pa.Table, natality_model: str
) -> None:
    (tmp_path / "data").mkdir()
    bad = {i for i in range(ROWS) if i % 100 == 49}
    ages = pa.array([None if i in bad else age for i, age in enumerate(births["mother_age"].to_pylist())])
    at = births.schema.get_field_index("mother_age")
    pq.write_table(births.set_column(at, "mother_age", ages), tmp_path / "data" / "rows.parquet")
    # That the mother's age may be missing is not true: the server refuses a request that lacks it.
    optional = ("weight_gain_pounds", "cigarette_use", "mother_age")
    result = run(tmp_path, tmp_path / "data", options(proxy), optional=optional)
    assert (result.rows_in, result.rows_out, result.reasons) == (ROWS, ROWS - 30, {"missing_value": 30})
    (kept,) = PredictionsManifest.read(str(tmp_path / "out")).quarantine.files
    rows = list(read_rows(str(tmp_path / "out" / kept)))
    assert [row.row for row in rows] == sorted(i + 1 for i in bad)
    assert {(row.fault.column, row.fault.message) for row in rows} == {
        ("mother_age", "mother_age is missing, and is not optional")
    }
    # Each request is made once more, without the rows that it was refused for.
    assert len(proxy.predictions) <= 2 * -(-ROWS // 960)
    whole = tmp_path / "whole"
    direct.score(ScoreConfig(natality_model, str(tmp_path / "data"), str(whole), IDENTITY))
    assert predictions(tmp_path / "out") == predictions(whole)


def test_rules_that_are_only_to_warn_are_refused_where_the_server_enforces_them(
    tmp_path: Path, proxy: Proxy, births: pa.Table
) -> None:
    (tmp_path / "data").mkdir()
    at = births.schema.get_field_index("mother_age")
    pq.write_table(
        births.set_column(at, "mother_age", pa.array([500] * ROWS)).slice(0, 100), tmp_path / "data" / "rows.parquet"
    )
    with pytest.raises(UsageError, match="the server enforces the rules of its Model, and --rules warn does not reach"):
        run(tmp_path, tmp_path / "data", options(proxy), rules="warn")
    # It says so before a row is sent.
    assert proxy.predictions == []
    # A server that does not say it is found out by the first such row that it refuses.
    scorer = EndpointScorer(dataclasses.replace(endpoint_of(options(proxy)), must_warn=True))
    (part,) = list_parts(str(tmp_path / "data"))
    (rows,) = read_part(part, scorer.columns, 1000)
    with pytest.raises(UsageError, match="--rules warn does not reach it"):
        scorer.score(rows)


def test_a_server_that_warns_scores_rows_out_of_bounds(tmp_path: Path, natality_model: str, births: pa.Table) -> None:
    at = births.schema.get_field_index("mother_age")
    rows = births.set_column(at, "mother_age", pa.array([500] * ROWS)).slice(0, 100)
    pq.write_table(rows, tmp_path / "rows.parquet")
    with our_server(natality_model, tmp_path, "--rules", "warn") as url:
        asked = EndpointOptions(f"{url}/v1/models/natality:predict")
        result = run(tmp_path, tmp_path / "rows.parquet", asked, rules="warn")
    assert (result.rows_in, result.rows_out) == (100, 100)


def test_an_endpoint_that_refuses_all_rows_is_not_asked_about_each(
    proxy: Proxy, ask: Callable[..., ScoredBatch]
) -> None:
    proxy.fault = lambda asked: Answer(400, b'{"error": "unknown feature"}') if asked.number >= 0 else None
    with pytest.raises(DataError, match="the endpoint refuses the rows") as caught:
        ask(options(proxy, concurrency=1), 960)
    assert "unknown feature" in caught.value.text
    assert len(proxy.predictions) < 150


def test_a_text_that_json_cannot_hold_is_the_row_s_fault(
    proxy: Proxy, births: pa.Table, rows_of: Callable[..., Any]
) -> None:
    scorer = EndpointScorer(endpoint_of(options(proxy)))
    batch = births.slice(0, 100).combine_chunks().to_batches()[0].select(scorer.columns)
    race = [b"\xff" if i == 17 else value.encode() for i, value in enumerate(batch["mother_race"].to_pylist())]
    at = batch.schema.get_field_index("mother_race")
    scored = scorer.score(rows_of(batch.set_column(at, "mother_race", pa.array(race, pa.binary()))))
    assert [(row.row, row.fault.reason) for row in scored.quarantined] == [(18, "not_utf8")]
    assert scored.predictions.num_rows == 99


# How much, how fast, how many


def test_it_is_said_that_this_is_the_slow_way(tmp_path: Path, proxy: Proxy, data: Path) -> None:
    said: list[str] = []
    run(tmp_path, data, options(proxy), report=lambda message, **_: said.append(message))
    assert "the slow way for a batch" in said[0]


def test_a_request_that_is_too_large_makes_all_later_ones_smaller(
    proxy: Proxy, ask: Callable[..., ScoredBatch]
) -> None:
    good = ask(options(proxy), 1500)
    proxy.reset()
    proxy.fault = lambda asked: Answer(413) if asked.number >= 0 and len(asked.body) > 60_000 else None
    scored = ask(options(proxy, concurrency=1), 1500)
    assert scored.predictions.equals(good.predictions)
    sizes = [asked.rows for asked in proxy.predictions]
    assert all(size % 48 == 0 for size in sizes)
    taken = [asked.rows for asked in proxy.predictions if len(asked.body) <= 60_000]
    assert len(sizes) - len(taken) <= 3
    assert sizes[-len(taken) :] == taken


def test_a_row_that_alone_is_too_large_goes_to_quarantine(
    proxy: Proxy, births: pa.Table, rows_of: Callable[..., Any]
) -> None:
    proxy.fault = lambda asked: Answer(413) if asked.number >= 0 and len(asked.body) > 100_000 else None
    scorer = EndpointScorer(endpoint_of(options(proxy, bytes_per_request=300_000)))
    batch = births.slice(0, 500).combine_chunks().to_batches()[0].select(scorer.columns)
    race = ["x" * 400_000 if i == 17 else value for i, value in enumerate(batch["mother_race"].to_pylist())]
    at = batch.schema.get_field_index("mother_race")
    scored = scorer.score(rows_of(batch.set_column(at, "mother_race", pa.array(race))))
    assert [(row.row, row.fault.reason) for row in scored.quarantined] == [(18, "model_failed")]
    assert "for its size" in scored.quarantined[0].fault.message
    assert scored.predictions.num_rows == 499


def test_bodies_stay_within_what_is_allowed(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    good = ask(options(proxy), 1500)
    proxy.reset()
    scored = ask(options(proxy, bytes_per_request=20_000), 1500)
    assert scored.predictions.equals(good.predictions)
    assert max(len(asked.body) for asked in proxy.predictions) <= 20_000


def test_an_answer_that_is_too_large_is_not_read_but_asked_for_in_pieces(
    proxy: Proxy, ask: Callable[..., ScoredBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ask(options(proxy), 960)
    proxy.reset()
    monkeypatch.setattr(client, "LARGEST_REPLY", 20_000)
    assert ask(options(proxy), 960).predictions.equals(good.predictions)
    assert len(proxy.predictions) > 2


def test_the_budget_of_requests_per_second_holds_for_tries_too(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    proxy.fault = refuse_every(5, Answer(503))
    time = Time()
    ask(options(proxy, requests_per_second=2.0, concurrency=1, rows_per_request=48), 480, time=time)
    # Ten answers take thirteen requests, of which two are there at the start and two more come every second.
    assert len(proxy.predictions) == 13
    assert time.now == pytest.approx((13 - 2) / 2)


def test_as_many_requests_are_under_way_as_may_be_and_no_more(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    together = threading.Barrier(3)

    def fault(asked: Asked) -> Answer | None:
        if 0 <= asked.number < 6:
            # Only three that are there at the same time get past.
            together.wait(600)
        return None

    proxy.fault = fault
    ask(options(proxy, concurrency=3, rows_per_request=48), 960)
    assert proxy.most == 3
    assert len(proxy.predictions) == 20


# Which model, and who asks


def test_a_model_that_changes_in_the_middle_is_an_error(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    def change(asked: Asked, answer: Answer) -> Answer:
        return dataclasses.replace(answer, headers={"x-model-version": "b" * 16}) if asked.number == 2 else answer

    proxy.change = change
    with pytest.raises(PlatformError, match="changed during scoring") as caught:
        ask(options(proxy, concurrency=1, rows_per_request=48), 480)
    assert VERSION in caught.value.text
    assert "b" * 16 in caught.value.text


def test_another_version_than_the_model_at_hand_is_refused(
    tmp_path: Path, proxy: Proxy, natality_model: str, ask: Callable[..., ScoredBatch]
) -> None:
    proxy.change = lambda _, answer: dataclasses.replace(answer, headers={"x-model-version": "b" * 16})
    with pytest.raises(UsageError, match="serves another version"):
        ask(options(proxy), model=natality_model)


def test_a_server_whose_answers_name_no_version_is_asked_for_one(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    proxy.change = lambda _, answer: dataclasses.replace(answer, headers={})
    scored = ask(options(proxy), 48)
    assert {asked.path for asked in proxy.predictions} == {f"/v1/models/natality/versions/{VERSION}:predict"}
    assert set(scored.predictions["model_version"].to_pylist()) == {VERSION}


def test_an_endpoint_that_says_nothing_of_its_model_needs_it_at_hand(
    proxy: Proxy, ask: Callable[..., ScoredBatch], natality_model: str
) -> None:
    vertex = EndpointOptions(f"{proxy.url}/v1/projects/p/locations/l/endpoints/1:predict", concurrency=1)
    with pytest.raises(UsageError, match="does not describe its model"):
        ask(vertex)
    good = ask(options(proxy), 480)
    # A server that speaks TensorFlow Serving's predict need not speak its metadata.
    proxy.fault = lambda asked: Answer(404) if asked.method == "GET" else None
    assert ask(options(proxy), 480, model=natality_model).predictions.equals(good.predictions)
    with pytest.raises(UsageError, match="does not describe its model"):
        ask(options(proxy))
    proxy.reset()

    def change(asked: Asked, answer: Answer) -> Answer:
        said = {**json.loads(answer.body), "deployedModelId": "7" if asked.number < 3 else "8", "modelVersionId": "1"}
        return Answer(answer.status, json.dumps(said).encode())

    proxy.change = change
    assert ask(vertex, 480, model=natality_model).predictions.equals(good.predictions)
    with pytest.raises(PlatformError, match="8, version 1"):
        ask(dataclasses.replace(vertex, rows_per_request=48), 480, model=natality_model)


def test_the_token_is_sent_and_shown_nowhere(
    proxy: Proxy, ask: Callable[..., ScoredBatch], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ENDPOINT_TOKEN", "hunter2/secret")
    asked = options(proxy, token_variable="ENDPOINT_TOKEN", tries=2)
    ask(asked, 48)
    assert {one.headers["authorization"] for one in proxy.asked} == {"Bearer hunter2/secret"}
    endpoint = endpoint_of(asked)
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint
    assert b"hunter2" not in pickle.dumps(endpoint)
    assert "hunter2" not in repr(endpoint)
    for status in (400, 401, 403, 500):
        echo = json.dumps({"error": "x" * 290 + "Bearer hunter2/secret is wrong"}).encode()
        proxy.fault = lambda asked, status=status, echo=echo: Answer(status, echo) if asked.number >= 0 else None
        try:
            said = str(ask(asked, 1).quarantined)
        except (UsageError, PlatformError) as error:
            said = error.text
        assert "hunter" not in said
        assert str(status) in said
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("value", ["", " ", "two\nlines", "é"])
def test_a_token_that_is_none(
    proxy: Proxy, ask: Callable[..., ScoredBatch], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ENDPOINT_TOKEN", value)
    with pytest.raises(UsageError, match="token is missing") as caught:
        ask(options(proxy, token_variable="ENDPOINT_TOKEN"))
    assert "ENDPOINT_TOKEN" in caught.value.text
    assert "lines" not in caught.value.text


class Account(Credentials):  # type: ignore[misc]
    """Credentials of which each token is good until the next one."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made = 0
        self.fails = fails

    def refresh(self, request: Any) -> None:
        if self.fails:
            raise RefreshError("the account is gone")  # type: ignore[no-untyped-call]
        self.made += 1
        self.token = f"token-{self.made}"


def test_google_s_tokens_are_renewed_when_they_are_refused(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    def fault(asked: Asked) -> Answer | None:
        # The first one is revoked after two requests.
        old = asked.headers.get("authorization") == "Bearer token-1"
        return Answer(401, b"{}") if asked.number >= 2 and old else None

    proxy.fault = fault
    account = Account()
    time = Time()
    tokens = GoogleTokens("http://h", account)
    ask(options(proxy, concurrency=1, rows_per_request=48), 240, tokens=tokens, time=time)
    sent = [asked.headers["authorization"] for asked in proxy.predictions]
    assert (account.made, time.waited) == (2, [])
    assert sent == ["Bearer token-1"] * 3 + ["Bearer token-2"] * 3


def test_credentials_that_do_not_work(proxy: Proxy, ask: Callable[..., ScoredBatch]) -> None:
    with pytest.raises(UsageError, match="no valid credentials for Google Cloud were found"):
        ask(options(proxy), tokens=GoogleTokens("http://h", Account(fails=True)))
    proxy.fault = lambda asked: Answer(401, b'{"error": "not you"}') if asked.number >= 0 else None
    account = Account()
    with pytest.raises(UsageError, match="refuses the token"):
        ask(options(proxy), tokens=GoogleTokens("http://h", account))
    assert account.made == 2


def test_a_process_has_one_scorer_for_an_endpoint(proxy: Proxy, natality_model: str) -> None:
    endpoint = endpoint_of(options(proxy))
    assert endpoint.load() is pickle.loads(pickle.dumps(endpoint)).load()
    assert endpoint.load() is not ScoringModel(natality_model).load()
