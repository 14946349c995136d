"""The ASGI application around a real model: both contracts, each refusal, and the bounds."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support.serving import dynamic, load

from headrace.components.serve.app import ServerApp
from headrace.components.serve.limits import Limits
from headrace.components.serve.routes import Routes
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.saved_model.json.columns import Columns, Interface
from headrace.core.saved_model.json.rows import NoPrediction
from headrace.core.scoring.predictor import BatchPredictions

ROWS = [
    {"key": "a", "mother_age": 30, "gestation_weeks": 40.0, "plurality": 1, "mother_smokes": True},
    {"key": "b", "mother_age": 20, "plurality": "2"},
]
# 1 + 0.05 * 30 + 4 - 0.5, and 1 + 0.05 * 20 + 3.8 - 2
WEIGHTS = [6.0, 3.8]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Any:
    return load(make_model(tmp_path_factory.mktemp("serve") / "model", "v1"))


@pytest.fixture
def app(model: Any) -> ServerApp:
    return app_of(model)


def app_of(model: Any, name: str = "natality", **options: Any) -> ServerApp:
    app = ServerApp(name, model.version, **options)
    app.use(dynamic(model, tell=app.metrics.add))
    return app


def call(
    app: ServerApp, *requests: Callable[[httpx.AsyncClient], Coroutine[Any, Any, httpx.Response]]
) -> list[httpx.Response]:
    """Sends requests to the application, all at a time."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return list(await asyncio.gather(*(request(client) for request in requests)))

    return asyncio.run(send())


def get(app: ServerApp, path: str) -> httpx.Response:
    return call(app, lambda client: client.get(path))[0]


def post(app: ServerApp, path: str, body: Any, **options: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return call(app, lambda client: client.post(path, content=content, **options))[0]


def error(response: httpx.Response) -> str:
    """What an error's body says; besides it, only refused rows are listed."""
    body = response.json()
    assert next(iter(body)) == "error"
    assert set(body) <= {"error", "refused"}
    assert "Traceback" not in body["error"]
    return str(body["error"])


def of_rules(metrics: str) -> list[str]:
    return [line for line in metrics.splitlines() if "_rows_total{" in line]


def weights(rows: list[dict[str, Any]]) -> list[float]:
    return [round(row["prediction"], 5) for row in rows]


def test_vertex_contract(app: ServerApp) -> None:
    health = get(app, "/health")
    assert health.status_code == 200
    assert health.json() == {"status": "ok", "model": "natality", "model_version": "v1"}
    response = post(app, "/predict", {"instances": ROWS, "parameters": {}})
    assert response.status_code == 200
    assert response.headers["x-model-version"] == "v1"
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["predictions"]
    predictions = response.json()["predictions"]
    assert [row["key"] for row in predictions] == ["a", "b"]
    assert weights(predictions) == WEIGHTS


def test_vertex_routes_are_where_vertex_wants_them(model: Any) -> None:
    app = app_of(model, routes=Routes("/v1/health/x", "/v1/endpoints/1:predict"))
    assert get(app, "/v1/health/x").status_code == 200
    assert get(app, "/health").status_code == 404
    assert weights(post(app, "/v1/endpoints/1:predict", {"instances": ROWS}).json()["predictions"]) == WEIGHTS


def test_a_prediction_has_a_key_where_its_request_has_keys(app: ServerApp) -> None:
    row = {name: value for name, value in ROWS[0].items() if name != "key"}
    assert [list(p) for p in post(app, "/predict", {"instances": [row]}).json()["predictions"]] == [["prediction"]]
    by_column = post(app, "/predict", {"instances": [{**row, "record_id": 5}]}).json()["predictions"]
    assert by_column[0]["key"] == "5"


@pytest.mark.parametrize("path", ["/v1/models/natality:predict", "/v1/models/natality/versions/v1:predict"])
def test_tensorflow_serving_by_row_and_by_column(app: ServerApp, path: str) -> None:
    by_row = post(app, path, {"signature_name": "serving_default", "instances": ROWS})
    assert by_row.status_code == 200
    assert weights(by_row.json()["predictions"]) == WEIGHTS
    inputs = {"key": ["a", "b"], "mother_age": [30, 20], "gestation_weeks": [40, None], "plurality": ["1", "2"]}
    by_column = post(app, path, {"inputs": {**inputs, "mother_smokes": ["true", None]}})
    assert by_column.status_code == 200
    assert list(by_column.json()) == ["outputs"]
    outputs = by_column.json()["outputs"]
    assert outputs["key"] == ["a", "b"]
    assert [round(value, 5) for value in outputs["prediction"]] == WEIGHTS


def test_tensorflow_serving_status_and_metadata(app: ServerApp) -> None:
    for path in ("/v1/models/natality", "/v1/models/natality/versions/v1"):
        assert get(app, path).json() == {
            "name": "natality",
            "ready": True,
            "model_version_status": [
                {"version": "v1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            ],
        }
    said = get(app, "/v1/models/natality/metadata").json()
    assert said["model_spec"] == {"name": "natality", "signature_name": "", "version": "v1"}
    signature = said["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert sorted(signature["inputs"]) == ["gestation_weeks", "key", "mother_age", "mother_smokes", "plurality"]
    assert signature["inputs"]["mother_age"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["mother_age"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    assert signature["inputs"]["key"]["dtype"] == "DT_STRING"
    assert sorted(signature["outputs"]) == ["key", "prediction"]


def test_head_and_other_methods(app: ServerApp) -> None:
    head = call(app, lambda client: client.head("/health"))[0]
    assert (head.status_code, head.content) == (200, b"")
    for method, path, allowed in (("GET", "/predict", "POST"), ("POST", "/health", "GET, HEAD")):
        response = call(app, lambda client, m=method, p=path: client.request(m, p))[0]
        assert response.status_code == 405
        assert response.headers["allow"] == allowed
        assert error(response) == f"the method is not allowed here. Expected {allowed}."


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/x",
            (
                "the path does not exist. Expected one of /health, /predict, /metrics, /openapi.json, "
                "/v1/models/natality[:predict], /v2/models/natality[/infer]."
            ),
        ),
        ("/v1/models/other", 'the model does not exist. Expected "natality".'),
        ("/v1/models/natality/versions/v2", 'the version of natality does not exist. Expected "v1".'),
        ("/v1/models/natality:classify", "the method does not exist. Expected :predict."),
    ],
)
def test_unknown_paths(app: ServerApp, path: str, message: str) -> None:
    response = get(app, path)
    assert response.status_code == 404
    assert error(response) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", 'the body is not JSON. Expected {"instances": ...}'),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe\xfd", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[1]", "the body is not an object"),
        (b"{}", "the body does not hold rows"),
        (rb'{"\ud800": 1}', "the body is not JSON"),
        (b'{"\\ud800": 1, "n": 1234567890123456789}', "the body has an unknown field"),
        (b'{"instances": [{"mother_age": 1}], "x": ' + b"[" * 2000, "the body is not JSON"),
        (b'{"instance": []}', 'the body has an unknown field. Expected {"instances": ...}'),
        (b'{"instances": {}}', "instances: the value is not an array"),
        (b'{"instances": []}', "instances: the number of rows is out of range. Expected 1 to 10000. Received: 0."),
        (b'{"instances": [1]}', "instances[0]: it is not an object"),
        (b'{"instances": [{"mother_age": NaN}]}', "the body is not JSON"),
        (b'{"instances": [{"mother_age": 1' + b"0" * 5000 + b"}]}", "the body is not JSON"),
        (b'{"instances": [' + b"[" * 990 + b"]" * 990 + b"]}", "instances[0]: it is not an object"),
        (b'{"instances": [{}], "instances": []}', "instances: the name is there twice"),
        (b'{"instances": [{}, {"a": 1, "b" : 2, "a": 3}]}', "instances[1].a: the name is there twice"),
        (b'{"instances": [{"a": {"b": 1, "b": 2}}]}', "b: the name is there twice"),
        (b'{"instances": [{"a": {"b": 1}, "c": ' + b"[" * 990 + b"]" * 990 + b"}]}", "the body is not JSON"),
        (b'{"instances": [{}], "parameters": {"top": 3}}', "parameters: the model accepts no parameters"),
        (b'{"instances": [{}], "signature_name": "other"}', "signature_name: the signature is not served"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/v1/models/natality:predict"])
def test_each_bad_request_is_a_400(app: ServerApp, path: str, body: bytes, message: str) -> None:
    response = post(app, path, body)
    assert response.status_code == 400
    assert error(response).startswith(message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"1" * 400, "mother_age is an integer of more than 38 digits, which is not between"),
        (b"-" + b"9" * 4000, "mother_age is an integer of more than 38 digits, which is not between"),
        (b"[" * 990 + b"]" * 990, "mother_age is a value that is nested too deeply, which is not a finite number"),
    ],
)
def test_a_value_that_no_number_holds_is_a_422_that_names_it(app: ServerApp, value: bytes, message: str) -> None:
    response = post(app, "/predict", b'{"instances": [{"mother_age": %s, "plurality": "1"}]}' % value)
    assert response.status_code == 422
    assert error(response).startswith(f"instances[0].mother_age: {message}")


def test_texts_that_look_like_names_are_read(app: ServerApp) -> None:
    """Only a name that an object has twice is refused; the quick check counts what looks like a name."""
    row = {**ROWS[0], "key": '":":":', "gestation_weeks": None}
    body = json.dumps({"instances": [row, {**row, "unread": {"a": {"a": 1}}}]}, separators=(" ,", " : ")).encode()
    predictions = post(app, "/predict", body).json()["predictions"]
    assert [one["key"] for one in predictions] == ['":":":', '":":":']


@pytest.mark.parametrize("path", ["/predict", "/v1/models/natality:predict"])
def test_rows_that_break_a_rule_are_a_422_that_names_row_field_and_reason(app: ServerApp, path: str) -> None:
    bad = [
        {"plurality": "1", "mother_agee": 30},
        {"mother_age": "young", "plurality": ""},
        {"mother_age": 30, "plurality": "1", "mother_smokes": ["true"]},
    ]
    response = post(app, path, {"instances": [ROWS[0], *bad]})
    assert response.status_code == 422
    assert response.json()["refused"] == [
        {
            "row": 1,
            "column": "mother_age",
            "reason": "missing_value",
            "message": "mother_age is missing, and is not optional",
        },
        {
            "row": 2,
            "column": "mother_age",
            "reason": "not_a_number",
            "message": 'mother_age is "young", which is not a finite number',
        },
        {
            "row": 2,
            "column": "plurality",
            "reason": "missing_value",
            "message": "plurality is missing, and is not optional",
        },
        {
            "row": 3,
            "column": "mother_smokes",
            "reason": "malformed_row",
            "message": "mother_smokes is ['true'], which is not one value",
        },
    ]
    assert error(response) == (
        "3 of 4 rows break the rules of the model. Received: instances[1].mother_age: mother_age is missing, and is "
        'not optional; instances[2].mother_age: mother_age is "young", which is not a finite number; '
        "instances[3].mother_smokes: mother_smokes is ['true'], which is not one value. "
        'The field "mother_agee" is ignored: perhaps mother_age is meant.'
    )
    assert error(post(app, path, {"instances": [bad[1]]})) == (
        'instances[0].mother_age: mother_age is "young", which is not a finite number.'
    )
    metrics = get(app, "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert of_rules(metrics.text) == [
        'headrace_refused_rows_total{rule="malformed_row",field="mother_smokes"} 1',
        'headrace_refused_rows_total{rule="missing_value",field="mother_age"} 1',
        'headrace_refused_rows_total{rule="missing_value",field="plurality"} 2',
        'headrace_refused_rows_total{rule="not_a_number",field="mother_age"} 2',
    ]


def test_rows_that_break_a_rule_are_predicted_and_counted_if_asked(
    tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    folder = make_model(tmp_path / "model", "v1")
    problem = json.loads((folder / "problem.json").read_text())
    problem["features"][0] |= {"minimum": 10, "maximum": 45}
    problem["features"][2]["vocabulary"] = ["1", "2"]
    (folder / "problem.json").write_text(json.dumps(problem))
    body = {"instances": [ROWS[0], {"mother_age": 60, "plurality": 3}, {"mother_age": 46, "plurality": "1"}]}
    answers, metrics = {}, {}
    for mode in ("enforce", "warn"):
        app = app_of(load(folder, rules=mode))
        answers[mode] = post(app, "/predict", body)
        metrics[mode] = of_rules(get(app, "/metrics").text)
    assert [answer.status_code for answer in answers.values()] == [422, 200]
    assert [(entry["row"], entry["column"], entry["reason"]) for entry in answers["enforce"].json()["refused"]] == [
        (1, "mother_age", "out_of_range"),
        (1, "plurality", "unknown_value"),
        (2, "mother_age", "out_of_range"),
    ]
    assert len(answers["warn"].json()["predictions"]) == 3
    assert metrics == {
        mode: [
            f'headrace_{what}_rows_total{{rule="out_of_range",field="mother_age"}} 2',
            f'headrace_{what}_rows_total{{rule="unknown_value",field="plurality"}} 1',
        ]
        for mode, what in (("enforce", "refused"), ("warn", "predicted"))
    }


def test_many_refused_rows_are_counted_and_the_first_are_listed(app: ServerApp) -> None:
    body = post(app, "/v1/models/natality:predict", {"inputs": {"mother_age": ["x"] * 1001}}).json()
    assert body["refused_rows"] == 1001
    assert {entry["row"] for entry in body["refused"]} == set(range(1000))
    assert body["error"].startswith(
        '1001 of 1001 rows break the rules of the model. Received: inputs.mother_age[0]: mother_age is "x"'
    )
    assert "; and 991 more." in body["error"]


def test_rows_and_columns_are_not_mixed(app: ServerApp) -> None:
    both = {"instances": ROWS, "inputs": {}}
    assert "Received: instances and inputs." in error(post(app, "/v1/models/natality:predict", both))
    assert "the body does not hold rows" in error(post(app, "/predict", {"inputs": {}}))
    assert "inputs: it is not an object" in error(post(app, "/v1/models/natality:predict", {"inputs": [1]}))


def test_a_model_with_one_input_takes_its_values_without_a_name(save: Callable[..., str]) -> None:
    """As TensorFlow Serving does, by row and by column."""
    import tensorflow as tf

    path = "/v1/models/natality:predict"
    sums = app_of(load(save(lambda x: {"y": tf.reduce_sum(x, 1)}, tf.TensorSpec([None, 2], tf.float32, "x"))))
    for body in ({"instances": [[1, 2], [3, 4]]}, {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}):
        assert post(sums, path, body).json() == {"predictions": [3.0, 7.0]}
        assert post(sums, "/predict", body).json() == {"predictions": [3.0, 7.0]}
    for columns in ([[1, 2], [3, 4]], {"x": [[1, 2], [3, 4]]}):
        assert post(sums, path, {"inputs": columns}).json() == {"outputs": [3.0, 7.0]}
    assert "instances[1].x: the array is of another length" in error(post(sums, path, {"instances": [[1, 2], [3]]}))
    assert "instances[0]: it is not an object" in error(post(sums, path, {"instances": [[1, 2], {"x": [3, 4]}]}))
    lengths = app_of(load(save(lambda s: {"n": tf.strings.length(s)}, tf.TensorSpec([None], tf.string, "s"))))
    for instances in (["abc", "d"], [{"b64": "YWJj"}, "d"], [{"s": {"b64": "YWJj"}}, {"s": "d"}]):
        assert post(lengths, path, {"instances": instances}).json() == {"predictions": [3, 1]}
    assert post(lengths, path, {"inputs": ["abc", {"b64": "YQ=="}]}).json() == {"outputs": [3, 1]}


def test_predictions_that_are_not_finite_are_a_422_that_names_their_instances(app: ServerApp) -> None:
    bad = {**ROWS[0], "mother_age": 99}
    response = post(app, "/predict", {"instances": [ROWS[0], bad, ROWS[0], bad]})
    assert response.status_code == 422
    assert response.json() == {
        "error": (
            "predictions[1].prediction: the model's prediction is not finite. Expected a finite number. Received: nan."
        ),
        "not_finite": {"prediction": [1, 3]},
    }
    columns = {name: [ROWS[0][name], bad[name]] for name in bad}
    assert post(app, "/v1/models/natality:predict", {"inputs": columns}).json()["not_finite"] == {"prediction": [1]}


def test_before_the_model_is_there(model: Any) -> None:
    app = ServerApp("natality", "v1")
    for response in (
        get(app, "/health"),
        post(app, "/predict", {"instances": ROWS}),
        get(app, "/v1/models/natality/metadata"),
    ):
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert error(response) == "the model is being loaded"
    assert get(app, "/v1/models/natality").json()["model_version_status"][0]["state"] == "LOADING"
    app.use(dynamic(model))
    assert get(app, "/health").status_code == 200


def test_a_body_that_is_too_big_is_a_413_whether_it_says_so_or_not(model: Any) -> None:
    app = app_of(model, limits=Limits(max_body_bytes=100))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 50

    told = post(app, "/predict", b"x" * 101)
    untold = call(app, lambda client: client.post("/predict", content=chunks()))[0]
    for response in (told, untold):
        assert response.status_code == 413
        assert error(response) == "the body is too large. Expected at most 100 bytes."
    assert post(app, "/predict", b"x" * 100).status_code == 400


def test_too_many_rows_are_a_400(model: Any) -> None:
    app = app_of(model, limits=Limits(max_instances=2))
    assert post(app, "/predict", {"instances": ROWS}).status_code == 200
    assert "Expected 1 to 2. Received: 3." in error(post(app, "/predict", {"instances": [*ROWS, ROWS[0]]}))
    columns = {"inputs": {"mother_age": [1] * 3, "plurality": ["1"] * 3}}
    assert "Expected 1 to 2. Received: 3." in error(post(app, "/v1/models/natality:predict", columns))


def test_a_gzip_body_is_bounded_after_decompression(model: Any) -> None:
    app = app_of(model, limits=Limits(max_body_bytes=1 << 20))
    body = json.dumps({"instances": ROWS}).encode()
    gzip_header = {"content-encoding": "gzip"}
    answer = post(app, "/predict", gzip.compress(body), headers=gzip_header)
    assert weights(answer.json()["predictions"]) == WEIGHTS
    for wrong, status, message in (
        (gzip.compress(b" " * (1 << 20) + b"{}"), 413, "the body is too large. Expected at most 1048576 bytes."),
        (b"x", 400, "the body is not gzip, as Content-Encoding states"),
        (gzip.compress(body)[:-5], 400, "the body is not gzip, as Content-Encoding states. Expected one member."),
        (gzip.compress(body) + b"x", 400, "the body is not gzip, as Content-Encoding states. Expected one member."),
    ):
        response = post(app, "/predict", wrong, headers=gzip_header)
        assert response.status_code == status
        assert error(response).startswith(message)
    other = post(app, "/predict", body, headers={"content-encoding": "br"})
    assert other.status_code == 415
    assert error(other) == "the body's encoding is not supported. Expected gzip, or no Content-Encoding."


class Held:
    """A model that answers when it is let."""

    name = "natality"
    version = "held"
    interface = Interface(())
    signature = "serving_default"
    signature_def: dict[str, Any] = {"outputs": {"prediction": {}}}  # noqa: RUF012 - the protocol's attribute, read only
    binary: frozenset[str] = frozenset()

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.failure = failure

    whole = False

    def predict(self, columns: Columns) -> BatchPredictions:
        self.begun.release()
        assert self.go_on.wait(600)
        if self.failure is not None:
            raise self.failure
        return BatchPredictions({"prediction": np.full(100, 1.5)}, np.arange(100), {}, "held")


def held_app(**limits: Any) -> tuple[ServerApp, Held]:
    held = Held()
    return app_of(held, limits=Limits(**limits)), held


def test_load_beyond_the_places_is_shed_and_health_answers_meanwhile() -> None:
    app, held = held_app(max_running=1, max_waiting=1)

    async def scene() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            tasks = [asyncio.create_task(client.post("/predict", json={"instances": [{}]}))]
            await asyncio.to_thread(held.begun.acquire)
            tasks.append(asyncio.create_task(client.post("/predict", json={"instances": [{}]})))
            while not app.batcher.waiting:
                await asyncio.sleep(0)
            shed = await client.post("/predict", json={"instances": [{}]})
            assert shed.status_code == 503
            assert shed.headers["retry-after"] == "1"
            assert error(shed) == "too many requests are waiting"
            assert (await client.get("/health")).status_code == 200
            held.go_on.set()
            assert [(await task).json() for task in tasks] == [{"predictions": [1.5]}] * 2
            assert (await client.post("/predict", json={"instances": [{}]})).status_code == 200

    asyncio.run(scene())


def test_a_prediction_that_takes_too_long_is_a_504_and_keeps_its_place_until_it_ends() -> None:
    app, held = held_app(max_running=1, max_waiting=0, time_limit_s=0.1)

    async def scene() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            late = await client.post("/predict", json={"instances": [{}]})
            assert late.status_code == 504
            assert error(late) == "the prediction took longer than 0.1 s"
            assert (await client.post("/predict", json={"instances": [{}]})).status_code == 503
            held.go_on.set()
            for _ in range(5000):
                if (await client.post("/predict", json={"instances": [{}]})).status_code == 200:
                    return
                await asyncio.sleep(0.02)
            pytest.fail("the place was not given back")

    asyncio.run(scene())


def test_a_request_that_waits_too_long_gives_its_place_back() -> None:
    app, held = held_app(max_running=1, max_waiting=1, time_limit_s=0.1)

    async def scene() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            first = asyncio.create_task(client.post("/predict", json={"instances": [{}]}))
            await asyncio.to_thread(held.begun.acquire)
            second = client.post("/predict", json={"instances": [{}]})
            assert [r.status_code for r in await asyncio.gather(first, second)] == [504, 504]
            # The first one still runs; the second one's place is free again.
            assert (await client.post("/predict", json={"instances": [{}]})).status_code == 504
            held.go_on.set()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (PlatformError("the model failed", received="OOM"), 500, "the model failed. Received: OOM."),
        (DataError("no"), 400, "no."),
        (
            NoPrediction("the model failed", received="no age below 0"),
            422,
            "the model failed. Received: no age below 0.",
        ),
        (RuntimeError("secret"), 500, "unexpected internal error; the server's log has the cause"),
    ],
)
def test_a_failure_is_a_clean_error(
    failure: Exception, status: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held(failure)
    app = app_of(held)
    held.go_on.set()
    response = post(app, "/predict", {"instances": [{}]})
    assert (response.status_code, error(response)) == (status, message)
    assert ("secret" in caplog.text) == isinstance(failure, RuntimeError)


def test_a_client_that_goes_away_leaves_no_trace() -> None:
    app, _ = held_app(max_running=1, max_waiting=0)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    for _ in range(3):
        asyncio.run(app(scope, receive, send))
    assert sent == []


@pytest.mark.parametrize(
    "limit", [{"max_body_bytes": 0}, {"time_limit_s": -1}, {"max_running": 0}, {"max_waiting": -1}]
)
def test_limits_check_themselves(limit: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(limit))} is wrong"):
        Limits(**limit)
