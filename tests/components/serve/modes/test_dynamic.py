"""Many requests in one call of the model: each gets its own answer, error and key."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.serving import dynamic, load
from support.tiny_model import NAN_AGE

from headrace.components.serve.modes.answerer import Answer, RowsRequest, slices
from headrace.core.errors import DataError, HeadraceError, PlatformError
from headrace.core.rules.counts import RuleCounts
from headrace.core.saved_model.json.refused_rows import RowsRefused
from headrace.core.saved_model.json.rows import NotFinitePrediction

ROW = {"mother_age": 30, "gestation_weeks": 40.0, "plurality": "1", "mother_smokes": "true"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Any:
    return load(make_model(tmp_path_factory.mktemp("dynamic") / "model", "v1"))


def by_row(*rows: Any) -> RowsRequest:
    return RowsRequest(len(rows), instances=rows)


def test_a_bad_request_fails_alone_and_is_named_by_its_own_rows(model: Any) -> None:
    counts = RuleCounts()

    def tell(more: RuleCounts) -> None:
        nonlocal counts
        counts = counts.merge(more)

    columns = {name: [value, value] for name, value in ROW.items()}
    found = dynamic(model, tell=tell).answer(
        [
            by_row(ROW),
            by_row(ROW, {**ROW, "mother_age": "old"}),
            by_row(7),
            RowsRequest(2, columns={**columns, "mother_age": [20, 30]}),
            RowsRequest(2, columns={**columns, "mother_age": [20]}),
            by_row({**ROW, "mother_age": NAN_AGE}, ROW),
            by_row({**ROW, "key": "k", "mother_age": 40}),
        ]
    )
    assert [type(outcome) for outcome in found] == [
        Answer,
        RowsRefused,
        DataError,
        Answer,
        DataError,
        NotFinitePrediction,
        Answer,
    ]
    plain: Any = list(found)
    assert plain[0].outputs["prediction"].tolist() == pytest.approx([6.0])
    assert list(plain[0].outputs) == ["prediction"]
    assert "instances[1].mother_age: mother_age is" in plain[1].paragraph
    assert plain[2].paragraph.startswith("instances[0]: it is not an object")
    assert plain[3].outputs["prediction"].tolist() == pytest.approx([5.5, 6.0])
    assert "the columns differ in length" in plain[4].paragraph
    assert plain[5].rows == {"prediction": [0]}
    assert list(plain[6].outputs) == ["key", "prediction"]
    assert plain[6].outputs["key"].tolist() == [b"k"]
    assert plain[6].outputs["prediction"].tolist() == pytest.approx([6.5])
    # Rows of a batch that is read again are counted once.
    assert counts.refused == {"not_a_number": {"mother_age": 1}}


@pytest.mark.parametrize("bad", [{**ROW, "mother_age": "old"}, 7, {**ROW, "gestation_weeks": 1e308}])
def test_a_refused_request_is_freed_without_a_collection(model: Any, bad: Any) -> None:
    """Full collections stop all requests, so that they are rare: what they alone would free would pile up."""
    answerer = dynamic(model)

    def left() -> int:
        return sum(isinstance(one, RowsRequest) for one in gc.get_objects())

    gc.collect()
    before = left()
    gc.disable()
    try:
        for _ in range(10):
            (refused,) = answerer.answer([by_row(bad)])
            assert isinstance(refused, HeadraceError)
            del refused
        assert left() == before
    finally:
        gc.enable()


def test_a_row_on_which_the_model_fails_fails_its_request(tmp_path: Path) -> None:
    import tensorflow as tf

    def positive(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_positive(x, message="no age below 0")]):
            return {"y": tf.identity(x)}

    module = tf.Module()
    module.predict = tf.function(positive, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.predict})
    requests = [by_row({"x": 1}), by_row({"x": 2}, {"x": -1}), by_row({"x": 3}, {"x": 4})]
    first, second, third = dynamic(load(tmp_path / "m")).answer(requests)
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert first.outputs["y"].tolist() == [1.0]
    assert third.outputs["y"].tolist() == [3.0, 4.0]
    assert "predictions[1]: the model failed. Received: " in str(second.paragraph)  # type: ignore[union-attr]
    assert first.bare


def test_lists_of_several_lengths_in_one_batch(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.predict = tf.function(
        lambda x: {"total": tf.reduce_sum(x, 1), "same": x},
        input_signature=[tf.TensorSpec([None, None], tf.float32, "x")],
    )
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.predict})
    requests = [
        by_row({"x": [1, 2]}),
        RowsRequest(2, columns={"x": [[3], [4, 5, 6]]}),
        by_row({"x": []}),
        RowsRequest(1, columns={"x": [[7, 8]]}),
    ]
    answers: Any = dynamic(load(tmp_path / "m")).answer(requests)
    assert [answer.outputs["total"].tolist() for answer in answers] == [[3.0], [3.0, 15.0], [0.0], [15.0]]
    assert [[row.tolist() for row in answer.outputs["same"]] for answer in answers] == [
        [[1.0, 2.0]],
        [[3.0], [4.0, 5.0, 6.0]],
        [[]],
        [[7.0, 8.0]],
    ]


def test_rows_that_depend_on_each_other_are_called_as_they_are(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.predict = tf.function(lambda x: {"y": tf.sort(x)}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.predict})
    answerer = dynamic(load(tmp_path / "m"))
    assert not answerer.together
    (answer,) = answerer.answer([by_row({"x": 3}, {"x": 1}, {"x": 2})])
    assert isinstance(answer, Answer)
    assert answer.outputs["y"].tolist() == [1.0, 2.0, 3.0]


def test_rows_whose_dependence_only_real_rows_show_are_separated_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import tensorflow as tf

    def sorted_if_far(x: Any) -> Any:
        # Synthetic rows are below 1,000.
        return {"y": tf.where(tf.reduce_any(x > 5000.0), tf.sort(x), x)}

    module = tf.Module()
    module.predict = tf.function(sorted_if_far, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.predict})
    model = load(tmp_path / "m")
    answerer = dynamic(model)
    assert answerer.together
    near: Any = answerer.answer([by_row({"x": 2}, {"x": 1}), by_row({"x": 0})])
    assert [outcome.outputs["y"].tolist() for outcome in near] == [[2.0, 1.0], [0.0]]
    far: Any = answerer.answer(
        [by_row({"x": 9000}, {"x": 8000}, {"x": 3}), by_row({"x": 1}), by_row({"x": 7}, {"x": 6})]
    )
    assert [outcome.outputs["y"].tolist() for outcome in far] == [[3.0, 8000.0, 9000.0], [1.0], [7.0, 6.0]]
    assert not answerer.together
    assert "the model's rows depend on each other: from now on, each request is a call of its own" in caplog.text


def test_a_failure_that_is_not_in_the_rows_fails_all_and_a_bug_only_its_request(model: Any) -> None:
    class Failing:
        def __init__(self, error: Exception, row: float | None = None) -> None:
            self.error, self.row = error, row

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def predict(self, columns: Mapping[str, Any]) -> Any:
            if self.row is None or self.row in columns["mother_age"]:
                raise self.error
            return model.predict(columns)

    requests = [by_row(ROW), by_row({**ROW, "mother_age": 31})]
    whole = dynamic(Failing(PlatformError("out of memory"))).answer(requests)
    assert [type(outcome) for outcome in whole] == [PlatformError, PlatformError]
    one = dynamic(Failing(KeyError("bug"), 31.0)).answer(requests)
    assert [type(outcome) for outcome in one] == [Answer, KeyError]


def test_the_request_log_gets_predicted_rows_and_breaks_nothing(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def log(columns: Any, predictions: Any, version: str, time: float) -> None:
        seen.append((columns, predictions, version, time))
        raise OSError("disk full")

    found = dynamic(model, log=log).answer([by_row(ROW, ROW), by_row({**ROW, "mother_age": NAN_AGE})])
    assert [type(outcome) for outcome in found] == [Answer, NotFinitePrediction]
    ((columns, predictions, version, time),) = seen
    assert columns["mother_age"].tolist() == [30.0, 30.0]
    assert columns["plurality"].tolist() == ["1", "1"]
    assert predictions["prediction"].tolist() == pytest.approx([6.0, 6.0])
    assert version == "v1"
    assert time > 1.7e9
    assert "the request log failed" in caplog.text


def test_requests_by_key_for_tables() -> None:
    rows = by_row({"key": "a"}, {"x": 1}, {"key": 7})
    assert rows.column("key") == ["a", None, 7]
    assert rows.place(1, "key") == "instances[1].key"
    assert rows.only([2, 0]).instances == [{"key": 7}, {"key": "a"}]
    columns = RowsRequest(3, columns={"key": ["a", "b", "c"], "x": [1]})
    assert columns.column("key") == ["a", "b", "c"]
    assert columns.column("none") == [None] * 3
    assert columns.place(1, "key") == "inputs.key[1]"
    with pytest.raises(DataError, match=r"inputs\.x: it is not one value per row"):
        columns.column("x")
    with pytest.raises(DataError, match=r"instances\[0\]: it is not an object"):
        by_row(1).column("key")
    only = RowsRequest(2, columns={"key": ["a", "b"]}).only([1])
    assert (only.rows, only.columns) == (1, {"key": ["b"]})
    assert slices([rows, columns]) == [(0, 3), (3, 6)]
