"""Columns to JSON and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.components.score.endpoint.reply import BrokenReply, reply_of
from headrace.components.score.endpoint.wire import (
    answers_of,
    body,
    columns_to_json,
    instances,
    takes_of_metadata,
)
from headrace.core.errors import DataError
from headrace.core.saved_model.interface import ModelBinding, ModelInput, ModelOutput
from headrace.core.scoring.to_columns import columns_of
from headrace.core.scoring.to_tensors import feeds_of

AGE = ModelInput("age", "float32", None, ("age",), optional=True)
RACE = ModelInput("race", "string", None, ("race",))


def takes(*outputs: ModelOutput, key_input: str | None = None) -> ModelBinding:
    return ModelBinding("serving_default", (AGE, RACE), outputs, key_input=key_input)


def columns(batch: dict[str, Any], *inputs: ModelInput) -> dict[str, list[Any]]:
    return columns_to_json(feeds_of(pa.RecordBatch.from_pydict(batch), inputs).feeds)


def test_columns_become_an_object_a_row() -> None:
    made = columns({"age": pa.array([30, None], pa.int32()), "race": ["white", "é"]}, AGE, RACE)
    assert made == {"age": [30.0, None], "race": ["white", "é"]}
    rows = [{"age": 30.0, "race": "white"}, {"age": None, "race": "é"}]
    assert instances(made) == rows
    assert body(made, "instances", "serving_default").decode() == (
        '{"instances":[{"age":30.0,"race":"white"},{"age":null,"race":"é"}]}'
    )
    assert json.loads(body(made, "inputs", "other")) == {"inputs": made, "signature_name": "other"}


def test_wide_inputs_become_arrays() -> None:
    dense = ModelInput("x", "float32", 2, ("a", "b"), optional=True)
    words = ModelInput("w", "string", 2, ("c", "d"))
    many = ModelInput("n", "int64", 2, ("l",))
    batch = {"a": [1.5, None], "b": [2, 3], "c": ["p", "q"], "d": ["r", "s"], "l": [[1, 2], [3, 2**60]]}
    made = columns(batch, dense, words, many)
    assert made == {"x": [[1.5, 2.0], [None, 3.0]], "w": [["p", "r"], ["q", "s"]], "n": [[1, 2], [3, 2**60]]}


def test_nested_lists_are_nested_arrays_of_a_request_and_of_a_reply() -> None:
    said = metadata(
        {"x": info("DT_FLOAT", -1, 2, 3), "t": info("DT_STRING", -1, 1, 2)},
        {"y": info("DT_INT64", -1, 3, 2), "w": info("DT_STRING", -1, 2, 1)},
    )
    made, _ = takes_of_metadata(said, "serving_default", "http://h")
    x, t = [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[0.5] * 3] * 2], [[["a", "b"]], [["c", "d"]]]
    assert columns({"x": x, "t": t}, *made.inputs) == {"t": t, "x": x}
    replies = [{"y": [[1, 2], [3, 4], [5, 2**60]], "w": [["a"], ["b"]]}] * 2
    given = columns_of(answers_of(replies, made, 2), made.outputs, 2)
    assert [array.to_pylist() for array in given.arrays] == [[r[n] for r in replies] for n in ("w", "y")]
    for y in ([[1, 2], [3, 4]], [[1, 2], [3, 4], [5]], [1, 2, 3], 1):
        with pytest.raises(BrokenReply, match=r"the output y is not of shape \[3, 2\] in every row"):
            answers_of([{**replies[0], "y": y}], made, 1)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())])
def test_bytes_are_base64_whether_they_are_text_or_not(kind: pa.DataType) -> None:
    made = columns({"race": pa.array([b"\xff", b"white"], pa.binary()).cast(kind)}, RACE)
    assert made == {"race": [{"b64": "/w=="}, {"b64": "d2hpdGU="}]}
    wide = ModelInput("w", "string", 2, ("l",))
    assert columns({"l": [[b"a", b"\xff"]]}, wide) == {"w": [[{"b64": "YQ=="}, {"b64": "/w=="}]]}


def test_bytes_that_come_back_are_bytes() -> None:
    takes = ModelBinding(
        "s", (AGE,), (ModelOutput("raw", "string", None, binary=True), ModelOutput("pair", "string", 2))
    )
    replies = [{"raw": {"b64": "/w=="}, "pair": ["a", {"b64": "Yg=="}]}, {"raw": "é", "pair": ["c", "d"]}]
    made = answers_of(replies, takes, 2)
    assert made["raw"].to_pylist() == [b"\xff", "é".encode()]
    assert made["pair"].to_pylist() == [b"a", b"b", b"c", b"d"]
    for broken in ({"b64": "!"}, {"b64": 1}, {"c": "a"}, 1):
        with pytest.raises(BrokenReply):
            answers_of([{"raw": broken, "pair": ["a", "b"]}], takes, 1)


def test_a_number_comes_through_bit_by_bit() -> None:
    bits = np.random.default_rng(1).integers(0, 1 << 32, 10_000, np.uint32).view(np.float32)
    values = bits[np.isfinite(bits)]
    sent = columns({"age": pa.array(values)}, AGE)
    text = body(sent, "inputs", "serving_default")
    back = np.array(json.loads(text)["inputs"]["age"], np.float32)
    assert back.tobytes() == values.tobytes()
    answer = json.dumps({"predictions": values.tolist()}).encode()
    output = ModelOutput("prediction", "float32")
    made = answers_of(reply_of(answer, "instances").predictions, takes(output), len(values))
    assert made["prediction"].tobytes() == back.tobytes()


def test_a_bare_value_a_row_or_an_object_or_an_array_a_column() -> None:
    one = takes(ModelOutput("prediction", "float32"))
    two = takes(ModelOutput("label", "string"), ModelOutput("p", "float64", 2))
    for predictions in ([1.5, 2], [{"prediction": 1.5}, {"prediction": 2}], {"prediction": [1.5, 2]}, [[1.5], [2]]):
        made = answers_of(predictions, one, 2)["prediction"]
        assert (made.dtype, made.tolist()) == (np.float32, [1.5, 2.0])
    for predictions in (
        [{"label": "a", "p": [0.25, 0.75], "more": 1}, {"label": "é", "p": [1, 0]}],
        {"label": ["a", "é"], "p": [[0.25, 0.75], [1, 0]]},
    ):
        both = answers_of(predictions, two, 2)
        assert both["label"].to_pylist() == [b"a", "é".encode()]
        assert both["p"].tolist() == [[0.25, 0.75], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("int8", [-128, 127]), ("uint64", [0, 2**64 - 1]), ("bool", [True, False]), ("float16", [0.5, 65504.0])],
)
def test_every_kind_of_number(dtype: str, values: list[Any]) -> None:
    made = answers_of(values, takes(ModelOutput("y", dtype)), 2)["y"]
    assert (made.dtype.name, made.tolist()) == (dtype, values)


def test_what_is_not_finite_is_left_for_the_row_to_answer() -> None:
    reply = reply_of(b'{"predictions": [null, NaN, Infinity, 1e39, 2.0]}', "instances")
    made = answers_of(reply.predictions, takes(ModelOutput("y", "float32")), 5)["y"]
    assert np.isfinite(made).tolist() == [False, False, False, False, True]


def test_rows_that_fill_up_are_left_out() -> None:
    made = answers_of([1, 2, 2, 2], takes(ModelOutput("y", "int32")), 4, kept=2)
    assert made["y"].tolist() == [1, 2]


def test_keys_that_come_back_are_those_that_were_sent() -> None:
    what = takes(ModelOutput("y", "int32"), key_input="key")
    predictions = [{"key": "a", "y": 1}, {"key": 7, "y": 2}]
    assert answers_of(predictions, what, 2, ["a", "7"])["y"].tolist() == [1, 2]
    assert answers_of([{"y": 1}, {"y": 2}], what, 2, ["a", "b"])["y"].tolist() == [1, 2]
    with pytest.raises(BrokenReply, match="the keys are not those"):
        answers_of(predictions[::-1], what, 2, ["a", "7"])


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([1.0], "1 predictions for 2 rows"),
        ([1.0, 2.0, 3.0], "3 predictions for 2 rows"),
        ({"y": [1.0]}, "y does not have 2 values"),
        ({"y": 1.0}, "y does not have 2 values"),
        ({}, "predictions lack y"),
        ([{"y": 1.0}, {"z": 1.0}], "lacks 'y'"),
        ([{"y": 1.0}, 1.0], "not an object of y"),
        ([1.0, {"y": 1.0}], "not an object of y"),
        (["1.0", "2.0"], "has values that are not float32"),
        ([[1.0], 2.0], "not an array in every row"),
        ([[1.0, 2.0], [3.0]], "not 1 values wide"),
        ([[["1"]], [["2"]]], "has values that are not float32"),
        ([True, False], "has values that are not float32"),
        ([10**400, 1], "is not float32"),
    ],
)
def test_an_answer_that_is_none(predictions: Any, message: str) -> None:
    with pytest.raises(BrokenReply, match=message):
        answers_of(predictions, takes(ModelOutput("y", "float32")), 2)


@pytest.mark.parametrize(
    ("output", "predictions", "message"),
    [
        (ModelOutput("y", "string"), ["a", None], "has values that are not text"),
        (ModelOutput("y", "string"), ["a", "\ud800"], "not Unicode"),
        (ModelOutput("y", "string", 2), ["ab", "cd"], "not an array in every row"),
        (ModelOutput("y", "string", 2), [["a"], ["b", "c", "d"]], "not 2 values wide"),
        (ModelOutput("y", "float32", 2), [[1.0], [1.0, 2.0]], "not 2 values wide"),
        (ModelOutput("y", "float32", 0), [[1.0, 2.0], [1.0]], "not 2 values wide"),
        (ModelOutput("y", "float32", 2), [["1", "2"], ["1", "2"]], "has values that are not float32"),
        (ModelOutput("y", "int8"), [1, 200], "is not int8"),
        (ModelOutput("y", "int8"), [1, 1.0], "has values that are not int8"),
        (ModelOutput("y", "int8"), [1, None], "has values that are not int8"),
        (ModelOutput("y", "int8"), [1, True], "has values that are not int8"),
        (ModelOutput("y", "bool"), [1, True], "has values that are not bool"),
    ],
)
def test_an_answer_of_another_type(output: ModelOutput, predictions: Any, message: str) -> None:
    with pytest.raises(BrokenReply, match=message):
        answers_of(predictions, takes(output), 2)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"", "instances"),
        (b'{"predictions": [1', "instances"),
        (b"\xff\xfe", "instances"),
        (b"[" * 100_000, "instances"),
        (b"[1, 2]", "instances"),
        (b'{"outputs": [1]}', "instances"),
        (b'{"predictions": {"y": [1]}}', "instances"),
        (b'{"predictions": [1]}', "inputs"),
        (b'{"outputs": 1}', "inputs"),
    ],
)
def test_a_body_that_is_no_answer(content: bytes, form: Any) -> None:
    with pytest.raises(BrokenReply):
        reply_of(content, form)


def test_vertex_says_which_model_answered() -> None:
    content = b'{"predictions": [1], "deployedModelId": "77", "modelVersionId": "3", "model": "m"}'
    assert reply_of(content, "instances").deployed == "77, version 3"
    assert reply_of(b'{"outputs": [1]}', "inputs").deployed == ""


def info(dtype: str, *sizes: int, unknown: bool = False) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in sizes], "unknown_rank": unknown},
        "name": "x:0",
    }


def metadata(inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    definition = {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict"}
    return {
        "model_spec": {"name": "m", "signature_name": "", "version": "12"},
        "metadata": {"signature_def": {"signature_def": {"serving_default": definition}}},
    }


def test_what_tensorflow_serving_says_of_a_model() -> None:
    said = metadata(
        {"b": info("DT_STRING", -1), "a": info("DT_FLOAT", -1, 4), "c": info("DT_BOOL", -1, -1)},
        {"y": info("DT_DOUBLE", -1, 1), "z": info("DT_INT64", -1), "e": info("DT_FLOAT", -1, 8)},
    )
    made, version = takes_of_metadata(said, "serving_default", "http://h")
    assert version == "12"
    assert [(t.name, t.dtype, t.width) for t in made.inputs] == [
        ("a", "float32", 4), ("b", "string", None), ("c", "bool", 0),
    ]  # fmt: skip
    assert [(t.name, t.dtype, t.width) for t in made.outputs] == [
        ("e", "float32", 8), ("y", "float64", None), ("z", "int64", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "taken",
    [
        info("DT_FLOAT"),
        info("DT_FLOAT", 8),
        info("DT_FLOAT", -1, -1, 2),
        info("DT_FLOAT", unknown=True),
        info("DT_RESOURCE", -1),
    ],
)
def test_what_no_column_holds(taken: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="cannot be fed from columns"):
        takes_of_metadata(metadata({"a": taken}, {"y": info("DT_FLOAT", -1)}), "serving_default", "http://h")


@pytest.mark.parametrize("said", [{}, [], None, {"metadata": {"signature_def": None}}])
def test_metadata_that_is_none(said: Any) -> None:
    with pytest.raises(DataError, match="does not describe its model"):
        takes_of_metadata(said, "serving_default", "http://h")


def test_a_signature_that_is_not_there() -> None:
    with pytest.raises(
        DataError, match=r"the signature does not exist in .* Expected one of serving_default. Received: other"
    ):
        takes_of_metadata(metadata({}, {}), "other", "http://h")
