"""JSON to and from models that others wrote: every dtype, lists, bytes, fixed batches, constants, TensorFlow 1."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.serving import answer, dynamic, load
from support.tf1_models import estimator_model, session_model

from headrace.components.serve.protocols import rows as protocol
from headrace.core.errors import DataError, UsageError
from headrace.core.saved_model.json.rows import NoPrediction

Save = Callable[..., Any]


def spec(shape: Any = (None,), dtype: str = "float32", name: str = "x") -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """`save(function, *specs)`: a loaded model of plain TensorFlow."""

    def make(function: Callable[..., Any], *specs: Any, **options: Any) -> Any:
        import tensorflow as tf

        module = tf.Module()
        module.predict = tf.function(function, input_signature=specs)
        tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.predict})
        return load(tmp_path / "m", **options)

    return make


def ask(model: Any, rows: Any, form: str = "instances") -> Any:
    said = answer(model, json.dumps({form: rows}).encode())
    return json.loads(said)["predictions" if form == "instances" else "outputs"]


def test_nested_arrays_are_tensors_of_rank_3_and_more(save: Save) -> None:
    import tensorflow as tf

    model = save(
        lambda x, t: {"turned": tf.transpose(x, [0, 2, 1]), "joined": tf.strings.join([t, t])},
        spec((None, 2, 3), "int64"),
        spec((None, 1, 2), "string", "t"),
    )
    rows = [{"x": [[1, 2, 3], [4, 5, 2**53 + 1]], "t": [["a", "b"]]}, {"x": [[0] * 3] * 2, "t": [["d", "c"]]}]
    assert ask(model, rows) == [
        {"joined": [["aa", "bb"]], "turned": [[1, 4], [2, 5], [3, 2**53 + 1]]},
        {"joined": [["dd", "cc"]], "turned": [[0, 0]] * 3},
    ]
    for x, said in (
        ([[1, 2, 3]], r"instances\[1\].x: the array is of another length.*shape \[2, 3\]. Received: 1 values, not 2"),
        ([[1, 2, 3], [4, 5]], r"instances\[1\].x\[1\]: the array is of another length"),
        ([1, 2], r"instances\[1\].x\[0\]: it is a number"),
        ([[1, 2, 3], [4, 5, 0.5]], r"instances\[1\].x\[1\]\[2\]: it is no int64"),
        ([[1, 2, 3], [4, 5, [6]]], r"instances\[1\].x\[1\]\[2\]: it is no int64"),
    ):
        with pytest.raises(DataError, match=said):
            ask(model, [rows[0], {**rows[1], "x": x}])
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert ask(model, columns, "inputs")["turned"] == [row["turned"] for row in ask(model, rows)]


def test_nested_arrays_of_any_size_are_answered_row_by_row(save: Save) -> None:
    import tensorflow as tf

    model = save(
        lambda x, t: {"twice": x * 2, "total": tf.reduce_sum(x, [1, 2]), "texts": tf.strings.join([t, t])},
        spec((None, None, 2), "int64"),
        spec((None, None, None), "string", "t"),
    )
    rows = [
        {"x": [[1, 2], [3, 2**53 + 1]], "t": [["a", "b"]]},
        {"x": [], "t": [["c"], ["d"]]},
        {"x": [[5, 6]], "t": [["a", "b"]]},
        {"x": [[0, 1], [1, 0]], "t": [[]]},
    ]
    answers = [
        {"twice": [[2, 4], [6, 2**54 + 2]], "total": 2**53 + 7, "texts": [["aa", "bb"]]},
        {"twice": [], "total": 0, "texts": [["cc"], ["dd"]]},
        {"twice": [[10, 12]], "total": 11, "texts": [["aa", "bb"]]},
        {"twice": [[0, 2], [2, 0]], "total": 2, "texts": [[]]},
    ]
    assert ask(model, rows) == answers
    assert [ask(model, [row])[0] for row in rows] == answers
    for x, said in (
        ([[1, 2], [3]], r"instances\[1\].x\[1\]: the array is of another length.*shape \[any, 2\]. Received: 1 values"),
        ([1, 2], r"instances\[1\].x\[0\]: it is a number"),
        (3, r"instances\[1\].x: it is a number"),
        ([[1, 0.5]], r"instances\[1\].x\[0\]\[1\]: it is no int64"),
    ):
        with pytest.raises(DataError, match=said):
            ask(model, [rows[0], {**rows[1], "x": x}])
    with pytest.raises(
        DataError, match=r"instances\[0\].t\[1\]: the array is of another length.*Received: 1 values, not 2"
    ):
        ask(model, [{**rows[0], "t": [["a", "b"], ["c"]]}])


def test_outputs_that_are_not_one_per_row_are_refused_before_a_request(save: Save) -> None:
    import tensorflow as tf

    with pytest.raises(DataError, match=r"output n is one value per call, not one per row.*--batch whole"):
        save(lambda x: {"y": x, "n": tf.reduce_sum(x)}, spec())
    with pytest.raises(DataError, match=r'output "y" cannot be mapped.*Received: a ragged tensor'):
        save(lambda x: {"y": tf.RaggedTensor.from_tensor(x[:, None])}, spec())
    with pytest.raises(DataError, match=r'output "y" cannot be mapped.*Received: a sparse tensor'):
        save(lambda x: {"y": tf.sparse.from_dense(x[:, None])}, spec())


@pytest.mark.parametrize(
    ("dtype", "values", "bad"),
    [
        ("int64", [-(2**63), 2**63 - 1, 9007199254740993], [2**63, 1e300, 0.5, "1", None, True]),
        ("uint8", [0, 255, 7], [-1, 256, 1e19, [1]]),
        ("int32", [2**31 - 1, -(2**31)], [2**31]),
        ("float64", [1e39, -1e300, 0.1, 1700000059.0], [10**400, "1", None]),
        ("float32", [0.5, -2.0], [1e39, 1e300, 10**400]),
        ("bfloat16", [0.5, 1.0], [1e39]),
        ("bool", [True, False], [2, "x", None]),
        ("string", ["a", "é"], [None, [], {"b64": "!"}, {"c": 1}]),
    ],
)
def test_a_value_goes_in_by_the_type_of_the_input(save: Save, dtype: str, values: list[Any], bad: list[Any]) -> None:
    specs = (spec(dtype=dtype), spec((None, 2), dtype, "l"), spec((None, None), dtype, "v"))

    def same(x: Any, l: Any, v: Any) -> Any:  # noqa: E741 - the input's name
        return {"x": x, "l": l, "v": v}

    model = save(same, *specs)
    rows = [{"x": value, "l": [value, value], "v": [value] * (at + 1)} for at, value in enumerate(values)]
    assert ask(model, rows) == rows
    columns = {name: [row[name] for row in rows] for name in ("x", "l", "v")}
    assert ask(model, columns, "inputs") == columns
    for wrong in bad:
        for name, value, place in (("x", wrong, "x"), ("l", [values[0], wrong], r"l\[1\]"), ("v", [wrong], r"v\[0\]")):
            with pytest.raises(DataError, match=rf"instances\[1\]\.{place}: "):
                ask(model, [rows[0], {**rows[0], name: value}])


def test_lists_of_another_length_and_no_lists_are_refused(save: Save) -> None:
    model = save(lambda x, one: {"y": x[:, 0] + one[:, 0]}, spec((None, 2)), spec((None, 1), name="one"))
    assert ask(model, [{"x": [1, 2], "one": 3}, {"x": [4, 5], "one": [6]}]) == [4.0, 10.0]
    for value, said in (([1], "the array is of another length. Expected an array of 2 values"), (1, "it is a number")):
        with pytest.raises(DataError, match=rf"instances\[0\].x: {said}"):
            ask(model, [{"x": value, "one": 1}])


def test_bytes_go_in_and_come_out_as_base64(save: Save) -> None:
    import tensorflow as tf

    def made(x: Any) -> Any:
        n = tf.strings.length(x)
        raw = tf.map_fn(tf.io.serialize_tensor, n, fn_output_signature=tf.string)
        return {"n": n, "raw": raw, "pair": tf.stack([raw, raw], 1), "echo": x, "echo_bytes": x}

    model = save(made, spec(dtype="string"))
    encoded = base64.b64encode(b"\x89PNG\r\n").decode()
    raw = base64.b64encode(tf.io.serialize_tensor(2).numpy()).decode()
    (row,) = ask(model, [{"x": "ab"}])
    assert row == {
        "n": 2,
        "raw": {"b64": raw},
        "pair": [{"b64": raw}] * 2,
        "echo": "ab",
        "echo_bytes": {"b64": base64.b64encode(b"ab").decode()},
    }
    with pytest.raises(NoPrediction, match=r"the model's output echo is not UTF-8 text"):
        ask(model, [{"x": {"b64": encoded}}])


def test_a_request_may_have_lists_of_several_lengths(save: Save) -> None:
    import tensorflow as tf

    model = save(lambda x: {"total": tf.reduce_sum(x, 1), "same": x / 1.0}, spec((None, None)))
    rows = [[1.0, 2.0], [3.0], [], [4.0, 5.0]]
    answers = ask(model, [{"x": row} for row in rows])
    assert answers == [{"same": row, "total": sum(row)} for row in rows]


def test_calls_have_the_fixed_number_of_rows(save: Save) -> None:
    model = save(lambda x: {"y": x * 2}, spec((4,)))
    assert ask(model, [{"x": n} for n in range(9)]) == [2.0 * n for n in range(9)]
    import tensorflow as tf

    with pytest.raises(DataError, match="rows are not independent"):
        save(lambda x: {"y": tf.sort(x)}, spec((4,)))


def test_constants_are_given_when_the_server_starts(save: Save) -> None:
    specs = (spec(), spec((), name="limit"))
    model = save(lambda x, limit: {"y": x > limit}, *specs, constants={"limit": "1.5"})
    assert ask(model, [{"x": 1}, {"x": 2}]) == [False, True]
    with pytest.raises(UsageError, match=r"--constant.*Expected NAME=VALUE for limit \(float32\)"):
        save(lambda x, limit: {"y": x > limit}, *specs)


def test_a_key_that_the_model_computes_with_must_be_there(save: Save) -> None:
    import tensorflow as tf

    def made(key: Any, x: Any) -> Any:
        return {"key": tf.identity(key), "y": tf.strings.length(key), "x": x}

    model = save(made, spec(dtype="string", name="key"), spec())
    assert ask(model, [{"key": "abc", "x": 1}]) == [{"key": "abc", "x": 1.0, "y": 3}]
    with pytest.raises(DataError, match=r"instances\[0\].key: the feature is missing"):
        ask(model, [{"x": 1}])
    assert "key_input" not in json.loads(protocol.metadata(dynamic(model).description))["metadata"]


def test_graphs_of_tensorflow_1_and_signatures_by_name(tmp_path: Path) -> None:
    import tensorflow as tf

    model = load(session_model(tmp_path / "a", [["serve", "gpu"]]), signature="predict")
    assert ask(model, [{"x": [1, 2], "w": "b"}, {"x": [3, 4], "w": "a"}]) == [
        {"index": 1, "y": [3.0]},
        {"index": 0, "y": [7.0]},
    ]
    example = tf.train.Example()
    example.features.feature["age"].float_list.value.append(2.0)
    example.features.feature["word"].bytes_list.value.append(b"b")
    encoded = {"b64": base64.b64encode(example.SerializeToString()).decode()}
    path = estimator_model(tmp_path / "b", ["a", "b"])
    assert ask(load(path), [{"inputs": encoded}]) == [[3.0]]
    named = load(path, signature="classification")
    assert ask(named, [{"inputs": encoded}]) == [{"classes": ["up", "down"], "scores": [3.0, -3.0]}]
    metadata = json.loads(protocol.metadata(dynamic(named).description))["metadata"]
    assert list(metadata["signature_def"]["signature_def"]) == ["classification"]
    with pytest.raises(DataError, match=r"signature_name: the signature is not served. Expected classification"):
        answer(named, b'{"instances": [{}], "signature_name": "x"}')
    with pytest.raises(DataError, match="Received: classification, predict, raw, regression, serving_default"):
        load(path, signature="other")
