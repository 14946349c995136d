"""Hybrid mode: every answer is the model's, wherever it came from; errors name the rows of the whole request."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mode_requests import ROWS, instances, post, text_of
from support.serving import answer, dynamic, load
from support.tables import table_by_hand, table_of_model
from support.tiny_model import NAN_AGE

from headrace.components.serve.app import ServerApp
from headrace.components.serve.config import ServeConfig
from headrace.components.serve.modes.answer_cache import AnswerCache
from headrace.components.serve.modes.answerer import Answer, RowsRequest
from headrace.components.serve.modes.dynamic import Dynamic
from headrace.components.serve.modes.hybrid import Hybrid
from headrace.components.serve.start import find
from headrace.components.serve.start import load as start_load
from headrace.components.serve.tables.place import open_table
from headrace.core.errors import DataError, UsageError
from headrace.core.scoring.online.model import OnlineModel

# Rows that the table has, and rows that it lacks.
KNOWN, NEW = ROWS[:20], ROWS[20:]
BODY = instances(ROWS)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Path:
    return make_model(tmp_path_factory.mktemp("hybrid") / "model", "v1")


@pytest.fixture(scope="module")
def model(path: Path) -> OnlineModel:
    return load(path)


@pytest.fixture(scope="module")
def table(path: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return table_of_model(str(path), KNOWN, tmp_path_factory.mktemp("table"))


class Counted(Dynamic):
    """A model that counts the rows that it is given."""

    rows = 0

    def answer(self, requests: Sequence[RowsRequest]) -> Sequence[Answer | Exception]:
        self.rows += sum(request.rows for request in requests)
        return super().answer(requests)


def counted(model: OnlineModel) -> Counted:
    inner = dynamic(model)
    inner.__class__ = Counted
    assert isinstance(inner, Counted)
    return inner


def app_of(hybrid: Hybrid) -> ServerApp:
    app = ServerApp("natality", "v1")
    app.use(hybrid)
    return app


def test_answers_are_those_of_the_model_and_say_where_they_came_from(table: str, model: OnlineModel) -> None:
    inner = counted(model)
    app = app_of(Hybrid(open_table(table), inner))
    asked = [BODY[at] for at in (0, 30, 5, 25, 39)]
    response = post(app, "/predict", {"instances": asked})
    body = response.json()
    assert body.pop("source") == ["table", "model", "table", "model", "model"]
    assert body == json.loads(answer(model, text_of({"instances": asked})))
    assert response.headers["x-answered-by"] == "table=2, model=3"
    assert response.headers["x-table-version"] == "a" * 16
    assert inner.rows == 3
    columns = {name: [row[name] for row in asked] for name in asked[0]}
    by_column = post(app, "/v1/models/natality:predict", {"inputs": columns}).json()
    assert by_column.pop("source") == ["table", "model", "table", "model", "model"]
    assert by_column == json.loads(answer(model, text_of({"inputs": columns})))


@settings(deadline=None, max_examples=30)
@given(data=st.data())
@pytest.mark.parametrize("cache", [0, 3])
def test_any_mixture_in_any_batches_gives_the_models_answers(
    table: str, model: OnlineModel, cache: int, data: st.DataObject
) -> None:
    """Requests by row and by column, with keys and without, alone and together, again and again."""
    hybrid = Hybrid(open_table(table), dynamic(model), cache=AnswerCache(cache) if cache else None)
    plain = dynamic(model)
    for _ in range(data.draw(st.integers(1, 3))):
        requests = []
        for _ in range(data.draw(st.integers(1, 4))):
            rows = [dict(BODY[at]) for at in data.draw(st.lists(st.integers(0, 39), min_size=1, max_size=5))]
            for row in rows:
                if data.draw(st.booleans()):
                    del row["key"]
            if data.draw(st.booleans()):
                requests.append(RowsRequest(len(rows), instances=rows))
            else:
                names = {name for row in rows for name in row}
                requests.append(
                    RowsRequest(len(rows), columns={name: [row.get(name) for row in rows] for name in sorted(names)})
                )
        outcomes = hybrid.answer(requests)
        for request, outcome in zip(requests, outcomes, strict=True):
            (expected,) = plain.answer([request])
            assert isinstance(outcome, Answer)
            assert isinstance(expected, Answer)
            assert list(outcome.outputs) == list(expected.outputs)
            for name, values in expected.outputs.items():
                assert outcome.outputs[name].tobytes() == values.tobytes() or values.dtype == object
                assert outcome.outputs[name].tolist() == values.tolist()
            assert (outcome.version, outcome.bare) == (expected.version, expected.bare)


def test_the_cache_answers_rows_of_equal_content_and_no_others(table: str, model: OnlineModel) -> None:
    inner = counted(model)
    cache = AnswerCache(2)
    hybrid = Hybrid(open_table(table), inner, cache=cache)
    first = {**BODY[30], "key": "x"}

    def source(row: Any) -> str:
        (found,) = hybrid.answer([RowsRequest(1, [row])])
        assert isinstance(found, Answer)
        assert found.outputs["prediction"].tolist() == predictions(model, [row])
        return found.source[0]

    # The key is no input of the model; a number of another value is.
    assert [source(first), source(first), source({**first, "key": "y"})] == ["model", "cache", "cache"]
    assert source({**first, "mother_age": 30.5}) == "model"
    # "1", 1 and true are different inputs.
    assert source({**first, "plurality": 1}) == "model"
    assert len(cache) == 2
    # The least recently used one is gone.
    assert [source({**first, "mother_age": 30.5}), source(first)] == ["cache", "model"]
    assert inner.rows == 4


def predictions(model: OnlineModel, rows: list[Any]) -> list[float]:
    return [row["prediction"] for row in json.loads(answer(model, text_of({"instances": rows})))["predictions"]]


def test_errors_name_the_rows_of_the_whole_request(table: str, model: OnlineModel) -> None:
    app = app_of(Hybrid(open_table(table), dynamic(model)))
    bad = {**BODY[30], "mother_age": "old"}
    response = post(app, "/predict", {"instances": [BODY[0], BODY[1], bad, BODY[2]]})
    assert response.status_code == 422
    assert response.json()["error"].startswith("instances[2].mother_age: ")
    assert [fault["row"] for fault in response.json()["refused"]] == [2]
    twice = post(app, "/predict", {"instances": [BODY[0], bad, BODY[31], bad]}).json()
    assert [fault["row"] for fault in twice["refused"]] == [1, 3]
    assert "instances[1].mother_age" in twice["error"]
    assert "instances[3].mother_age" in twice["error"]
    infinite = {**BODY[30], "mother_age": NAN_AGE}
    response = post(app, "/predict", {"instances": [BODY[0], BODY[31], infinite]})
    assert (response.status_code, response.json()["not_finite"]) == (422, {"prediction": [2]})
    assert response.json()["error"].startswith("predictions[2].prediction: ")
    # What the table answers is not read by the model.
    good = post(app, "/predict", {"instances": [{"key": "k0", "mother_age": "old"}]})
    assert good.json()["source"] == ["table"]


def test_a_malformed_request_fails_alone(table: str, model: OnlineModel) -> None:
    hybrid = Hybrid(open_table(table), dynamic(model), cache=AnswerCache(5))
    columns = {"key": ["k0", "new"], "mother_age": 5, "plurality": ["1", "1"]}
    good = RowsRequest(1, [BODY[30]])
    outcomes = hybrid.answer([good, RowsRequest(2, columns=columns), RowsRequest(1, [5]), good])
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, True, False]
    assert "inputs.mother_age" in str(outcomes[1])


def test_a_table_of_another_version_is_not_looked_up(
    path: Path, table: str, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    newer = load(make_model(tmp_path / "newer", "v2"))
    with pytest.raises(UsageError, match="predictions of another version of the model") as caught:
        Hybrid(open_table(table), dynamic(newer))
    assert (caught.value.expected, caught.value.received) == ("version v2, which is served", "version v1")
    # A table of its version may follow.
    assert not Hybrid(open_table(table), dynamic(newer), follows=True).in_use
    inner = dynamic(load(path))
    hybrid = Hybrid(open_table(table), inner)
    assert hybrid.description is hybrid.description
    assert (hybrid.description.version, hybrid.description.mode) == ("v1", "hybrid")
    inner._current.switch(lambda: newer)
    assert hybrid.description.version == "v2"
    (found,) = hybrid.answer([RowsRequest(1, [BODY[0]])])
    assert isinstance(found, Answer)
    assert (found.version, list(found.source), hybrid.in_use) == ("v2", ["model"], False)
    assert found.outputs["prediction"].tolist() == predictions(newer, [BODY[0]])
    # The table of the new version follows.
    before = hybrid.description.facts()["table"]
    hybrid.use(open_table(table_of_model(str(tmp_path / "newer"), KNOWN, tmp_path / "table")))
    assert hybrid.description.facts()["table"] != before
    (found,) = hybrid.answer([RowsRequest(1, [BODY[0]])])
    assert isinstance(found, Answer)
    assert (list(found.source), hybrid.in_use) == (["table"], True)
    assert found.outputs["prediction"].tolist() == predictions(newer, [BODY[0]])


def test_a_table_of_other_outputs_is_refused(tmp_path: Path, model: OnlineModel) -> None:
    with pytest.raises(UsageError, match="the table holds other outputs than the model returns") as caught:
        Hybrid(open_table(table_by_hand(tmp_path, ["a"], "a" * 16)), dynamic(model))
    assert caught.value.received == "class, prediction, probabilities"


def test_started_by_its_options(table: str, path: Path) -> None:
    config = ServeConfig(str(path), mode="hybrid", table=table, cache_rows=10, follow_s=60.0)
    found = find(config)
    app = ServerApp(found.name, found.version)
    followers = start_load(found, app, lambda *_, **__: None)
    try:
        for _ in range(2):
            response = post(app, "/predict", {"instances": [BODY[0], BODY[30]]})
        assert response.json()["source"] == ["table", "cache"]
        assert response.headers["x-answered-by"] == "table=1, cache=1"
        metrics = post(app, "/metrics", None, method="GET").text.splitlines()
        for line in (
            'headrace_rows_by_source_total{source="table"} 2',
            'headrace_rows_by_source_total{source="cache"} 1',
            'headrace_rows_by_source_total{source="model"} 1',
            "headrace_table_in_use 1",
            "headrace_cached_rows 1",
        ):
            assert line in metrics
        assert len(followers) == 2
    finally:
        for follower in followers:
            follower.close()


def test_a_model_is_checked_by_its_golden_rows_behind_the_table(
    table: str, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    """A deployment checks them over HTTP, where the table might answer."""
    wrong = make_model(tmp_path / "wrong", "v1", golden_offset=0.001)
    config = ServeConfig(str(wrong), mode="hybrid", table=table)
    found = find(config)
    app = ServerApp(found.name, found.version)
    with pytest.raises(DataError, match="the model's prediction differs from its golden row"):
        start_load(found, app, lambda *_, **__: None)
    assert app.answerer is None


def test_a_saved_model_without_a_version(tmp_path: Path) -> None:
    """Its version is 1 in responses, and a digest in predictions; its outputs are lists of one value."""
    import numpy as np
    import tensorflow as tf

    class Halves(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])  # type: ignore[misc]
        def __call__(self, x: Any) -> Any:
            return {"half": x[:, None] / 2, "text": tf.strings.as_string(x), "pair": tf.stack([x, -x], axis=1)}

    halves = Halves()
    tf.saved_model.save(halves, str(tmp_path / "halves"), signatures=halves.__call__)
    rows = [{"id": f"k{i}", "x": float(np.float32(i / 3))} for i in range(6)]
    place = table_of_model(str(tmp_path / "halves"), rows[:4], tmp_path / "table", key="id")
    config = ServeConfig(str(tmp_path / "halves"), mode="hybrid", table=place)
    found = find(config)
    app = ServerApp(found.name, found.version)
    start_load(found, app, lambda *_, **__: None)
    body = post(app, "/predict", {"instances": rows}).json()
    assert body.pop("source") == ["table"] * 4 + ["model"] * 2
    assert body == json.loads(answer(load(tmp_path / "halves"), text_of({"instances": rows})))
    assert body["predictions"][2]["half"] == [rows[2]["x"] / 2]


def test_a_column_that_the_model_does_not_read_moves_no_row(table: str, model: OnlineModel) -> None:
    """Answers are cut from a batch by the requests' rows, which such a column must not change."""
    body = {"inputs": {**{name: [value] for name, value in BODY[30].items()}, "unread": [1, 2, 3]}}
    for app in (app_of(Hybrid(open_table(table), dynamic(model))), ServerApp("natality", "v1")):
        if app.answerer is None:
            app.use(dynamic(model))
        response = post(app, "/v1/models/natality:predict", body).json()
        assert response["outputs"]["prediction"] == predictions(model, [BODY[30]])
    longer = RowsRequest(3, columns=body["inputs"])
    outcomes = dynamic(model).answer([longer, RowsRequest(1, [BODY[31]])])
    assert isinstance(outcomes[0], Exception)
    assert isinstance(outcomes[1], Answer)
    assert outcomes[1].outputs["prediction"].tolist() == predictions(model, [BODY[31]])
