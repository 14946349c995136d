"""KServe's V2 protocol: tensors to rows and back, and what is wrong with them."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.serving import dynamic, load

from headrace.components.serve.app import ServerApp
from headrace.components.serve.modes.answerer import Answer, Description
from headrace.components.serve.protocols import v2, v2_binary
from headrace.core.errors import DataError
from headrace.core.saved_model.json.columns import Interface
from headrace.core.saved_model.json.tensors import TensorInput

DTYPES = {"f2": "FP16", "f4": "FP32", "f8": "FP64", "i1": "INT8", "u8": "UINT64", "i8": "INT64", "?": "BOOL"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import tensorflow as tf

    module = tf.Module()
    module.predict = tf.function(
        lambda x, l, text, flag, big: {  # noqa: E741 - the input's name
            "x": x,
            "l": l,
            "text": text,
            "flag": flag,
            "big": big,
            "half": tf.cast(x, tf.bfloat16),
        },
        input_signature=[
            tf.TensorSpec([None], tf.float32, "x"),
            tf.TensorSpec([None, 2], tf.float64, "l"),
            tf.TensorSpec([None], tf.string, "text"),
            tf.TensorSpec([None], tf.bool, "flag"),
            tf.TensorSpec([None], tf.uint64, "big"),
        ],
    )
    folder = tmp_path_factory.mktemp("v2") / "m"
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.predict})
    return load(folder)


def tensors(**changes: Any) -> list[dict[str, Any]]:
    made = {
        "x": {"datatype": "FP32", "shape": [2], "data": [0.1, -2]},
        "l": {"datatype": "FP64", "shape": [2, 2], "data": [0.1, 2, 3, 4]},
        "text": {"datatype": "BYTES", "shape": [2, 1], "data": ["a", "\u00fc"]},
        "flag": {"datatype": "BOOL", "shape": [2], "data": [True, False]},
        "big": {"datatype": "UINT64", "shape": [2], "data": [2**64 - 1, 7]},
    }
    return [{"name": name, **tensor, **changes.get(name, {})} for name, tensor in made.items()]


def ask(model: Any, content: Any, binary: bytes = b"") -> tuple[Any, bytes]:
    """The response's JSON, and the binary data behind it."""
    answerer = dynamic(model)
    head = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = [(b"inference-header-content-length", str(len(head)).encode())] if binary else []
    call = v2.decode(head + binary, headers, answerer.description, max_instances=1000)
    (answer,) = answerer.answer([call.request])
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, Answer)
    response = call.respond(answer)
    length = int(dict(response.headers).get(b"inference-header-content-length", len(response.body)))
    return json.loads(response.body[:length]), response.body[length:]


def test_json_tensors(model: Any) -> None:
    said, _ = ask(model, {"id": "7", "inputs": tensors()})
    assert (said["model_name"], said["model_version"], said["id"]) == ("m", "1", "7")
    assert {t["name"]: (t["datatype"], t["shape"], t["data"]) for t in said["outputs"]} == {
        "x": ("FP32", [2], [float(np.float32(0.1)), -2.0]),
        "l": ("FP64", [2, 2], [0.1, 2.0, 3.0, 4.0]),
        "text": ("BYTES", [2], ["a", "\u00fc"]),
        "flag": ("BOOL", [2], [True, False]),
        "big": ("UINT64", [2], [2**64 - 1, 7]),
        "half": ("BF16", [2], [0.10009765625, -2.0]),
    }
    nested, _ = ask(model, {"inputs": tensors(l={"data": [[0.1, 2], [3, 4]]}), "outputs": [{"name": "l"}]})
    assert nested["outputs"] == [{"name": "l", "datatype": "FP64", "shape": [2, 2], "data": [0.1, 2.0, 3.0, 4.0]}]


def test_tensors_of_rank_3_and_more(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.predict = tf.function(
        lambda image: {"sum": tf.reduce_sum(image, [1, 2]), "image": image},
        input_signature=[tf.TensorSpec([None, 2, 3], tf.float32, "image")],
    )
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.predict})
    model = load(tmp_path / "m")
    image = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 4
    tensor = {"name": "image", "datatype": "FP32", "shape": [2, 2, 3]}
    flat, _ = ask(model, {"inputs": [{**tensor, "data": image.ravel().tolist()}]})
    outputs = {each["name"]: each for each in flat["outputs"]}
    assert outputs["sum"]["data"] == image.sum((1, 2)).tolist()
    assert (outputs["image"]["shape"], outputs["image"]["data"]) == ([2, 2, 3], image.ravel().tolist())
    nested, _ = ask(model, {"inputs": [{**tensor, "data": image.tolist()}]})
    binary, _ = ask(model, {"inputs": [{**tensor, "parameters": {"binary_data_size": 48}}]}, image.tobytes())
    assert flat == nested == binary
    for change, message in (
        ({"shape": [2, 3, 2]}, r"shape: the shape is not valid. Expected \[rows, 2, 3\]"),
        ({"shape": [2, 6]}, r"shape: the shape is not valid. Expected \[rows, 2, 3\]"),
        ({"data": image.tolist()[:1]}, "the data does not have the size of the shape. Expected 12 values"),
        ({"data": [[[1, 2, 3]], [[1, 2, 3]]]}, r"data\[0\]: the row does not have the length of the shape"),
        ({"data": [[[1, 2], [3, 4]]] * 2}, r"data\[0\]: the row does not have the length of the shape"),
    ):
        with pytest.raises(DataError, match=message):
            ask(model, {"inputs": [{**tensor, "data": [0.0] * 12, **change}]})


def test_tensors_with_open_inner_dimensions(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.predict = tf.function(
        lambda image: {"sum": tf.reduce_sum(image, [1, 2])},
        input_signature=[tf.TensorSpec([None, None, 3], tf.float32, "image")],
    )
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.predict})
    model = load(tmp_path / "m")
    for size in (1, 4):
        image = np.arange(6 * size, dtype=np.float32).reshape(2, size, 3)
        tensor = {"name": "image", "datatype": "FP32", "shape": [2, size, 3], "data": image.ravel().tolist()}
        answers, _ = ask(model, {"inputs": [tensor]})
        assert answers["outputs"][0]["data"] == image.sum((1, 2)).tolist()
    for shape in ([2, 3, 2], [2, 6], [4, 3]):
        with pytest.raises(DataError, match=r"shape: the shape is not valid. Expected \[rows, any, 3\]"):
            ask(model, {"inputs": [{"name": "image", "datatype": "FP32", "shape": shape, "data": [0.0] * 12}]})


def test_binary_tensors(model: Any) -> None:
    blobs = {
        "x": np.array([0.1, -2], "<f4").tobytes(),
        "l": np.array([0.1, 2, 3, 4], "<f8").tobytes(),
        "text": b"".join(struct.pack("<I", len(text)) + text for text in (b"a", "\u00fc".encode())),
        "flag": b"\1\0",
        "big": np.array([2**64 - 1, 7], "<u8").tobytes(),
    }
    inputs = [
        {
            **{k: v for k, v in tensor.items() if k != "data"},
            "parameters": {"binary_data_size": len(blobs[tensor["name"]])},
        }
        for tensor in tensors()
    ]
    outputs = [{"name": n, "parameters": {"binary_data": True}} for n in ("x", "text", "big", "half")]
    content = {"inputs": inputs, "outputs": [*outputs, {"name": "flag"}]}
    said, data = ask(model, content, b"".join(blobs.values()))
    half = (np.array([0.10009765625, -2.0], "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    assert data == blobs["x"] + blobs["text"] + blobs["big"] + half
    assert said["outputs"][-1] == {"name": "flag", "datatype": "BOOL", "shape": [2], "data": [True, False]}
    for cut, message in ((-1, "does not have the size of the shape"), (None, "binary data is left over")):
        wrong = b"".join(blobs.values())[:cut] if cut else b"".join(blobs.values()) + b"x"
        with pytest.raises(DataError, match=message):
            ask(model, content, wrong)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_of_binary_tensors(dtype: str) -> None:
    array = np.array([0, 1, 1, 0], dtype).reshape(2, 2)
    data = v2_binary.tensor_bytes(array, DTYPES[dtype])
    assert v2_binary.values(data, DTYPES[dtype], [2, 2], "x") == array.reshape(-1).tolist()


NUMBERS = {
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    **{f"{sign}INT{bits}": f"{sign}int{bits}".lower() for sign in ("", "U") for bits in (8, 16, 32, 64)},
}


@given(
    st.sampled_from(sorted(NUMBERS)),
    st.lists(st.integers(-(2**65), 2**65) | st.integers(-300, 300) | st.floats(-1e39, 1e39), min_size=1, max_size=3),
    st.sampled_from(["float64", "float32", "int64", "uint8"]),
)
def test_a_number_outside_the_stated_datatype_is_refused(datatype: str, values: list[Any], dtype: str) -> None:
    # Whatever the model's own dtype is, which is checked later.
    interface = Interface((TensorInput("x", "numeric", dtype=dtype),))
    description = Description("m", "1", "dynamic", interface, "serving_default", {"outputs": {}})
    tensor = {"name": "x", "shape": [len(values)], "datatype": datatype, "data": values}
    body = json.dumps({"inputs": [tensor]}).encode()
    exact = [Fraction(value) for value in values]
    if datatype.startswith("FP"):
        with np.errstate(over="ignore"):
            held = np.isfinite(np.array(values, np.float64).astype(NUMBERS[datatype])).tolist()
    else:
        info = np.iinfo(NUMBERS[datatype])
        held = [each.denominator == 1 and int(info.min) <= each <= int(info.max) for each in exact]
    if all(held):
        call = v2.decode(body, [], description, max_instances=10)
        assert call.request.columns == {"x": values}
    else:
        at = held.index(False)
        with pytest.raises(DataError, match=rf"^inputs\.x\[{at}\]: the number is no {datatype}\. Expected a "):
            v2.decode(body, [], description, max_instances=10)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x", {"datatype": "INT8", "data": [1, 300]}, r"inputs.x\[1\]: the number is no INT8. Expected a whole"),
        ("x", {"datatype": "INT32", "data": [1.5, 1]}, r"inputs.x\[0\]: the number is no INT32"),
        ("x", {"datatype": "FP16", "data": [1, 65520]}, r"inputs.x\[1\]: the number is no FP16. Expected a number"),
        ("x", {"datatype": "FP64", "data": [1, 1e39]}, r"inputs.x\[1\]: the number is too big"),
        ("l", {"datatype": "FP32", "data": [1, 2, 3, 4e38]}, r"inputs.l\[1\]\[1\]: the number is no FP32"),
        ("big", {"data": [2**64, 1]}, r"inputs.big\[0\]: the number is no UINT64. Expected a whole"),
        ("big", {"data": [-1, 1]}, r"inputs.big\[0\]: the number is no UINT64"),
        ("big", {"datatype": "INT64", "data": [-1, 1]}, r"inputs.big\[0\]: it is no uint64"),
        ("flag", {"data": [True, 2]}, r"inputs.flag\[1\]: the number is no BOOL. Expected true or false. Received: 2"),
        ("flag", {"data": ["true", True]}, r"inputs.flag\[0\]: it is a string, and the tensor's datatype is BOOL"),
        ("text", {"data": ["a", 1]}, r"inputs.text\[1\]\[0\]: it is a number, and the tensor's datatype is BYTES"),
        ("text", {"data": ["a", "\ud800"]}, r"inputs.text\[1\]: the text is not valid Unicode"),
    ],
)
def test_values_outside_their_datatype_name_the_input(
    model: Any, name: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ask(model, {"inputs": tensors(**{name: change})})


def test_binary_values_outside_their_datatype() -> None:
    description = Description(
        "m", "1", "dynamic", Interface((TensorInput("x", "numeric"),)), "serving_default", {"outputs": {}}
    )
    for datatype, data, message in (
        ("BOOL", b"\1\2", r"inputs.x: it is no BOOL. Expected bytes of 0 or 1. Received: 2 at byte 1"),
        ("FP16", np.array([1, np.inf], "<f2").tobytes(), r"inputs.x\[1\]: the number is no FP16"),
        ("FP32", np.array([-np.inf, 1], "<f4").tobytes(), r"inputs.x\[0\]: the number is no FP32"),
        ("BF16", b"\x80\x7f\x80\x3f", r"inputs.x\[0\]: the number is no BF16"),
    ):
        tensor = {
            "name": "x",
            "shape": [2],
            "datatype": datatype,
            "parameters": {"binary_data_size": len(data)},
        }
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = [(b"inference-header-content-length", str(len(head)).encode())]
        with pytest.raises(DataError, match=message):
            v2.decode(head + data, headers, description, max_instances=10)


def test_missing_numbers_bytes_and_shortest_texts() -> None:
    assert v2_binary.values(np.array([np.nan, 0.1], "<f4").tobytes(), "FP32", [2], "x") == [None, 0.1]
    assert v2_binary.values(b"\2\0\0\0\xff\xfe", "BYTES", [1], "x") == [{"b64": base64.b64encode(b"\xff\xfe").decode()}]
    assert v2_binary.values(b"\x80\x3f", "BF16", [1], "x") == [1.0]
    for wrong in (b"", b"\2\0\0", b"\2\0\0\0a", b"\1\0\0\0ab", b"\xff\xff\xff\xffa"):
        with pytest.raises(DataError, match="does not hold the texts of the shape"):
            v2_binary.values(wrong, "BYTES", [1], "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[", "the body is not JSON"),
        ({}, "inputs: the body does not hold tensors"),
        ({"inputs": [1]}, r"inputs\[0\]: it is a number"),
        (
            {"inputs": [{"name": "z"}]},
            r"inputs\[0\].name: the input does not exist in the model. Expected big, flag, l, text, x",
        ),
        ({"inputs": tensors(x={"shape": []})}, r"inputs\[0\].shape: the shape is not valid"),
        ({"inputs": tensors(x={"shape": [True]})}, r"inputs\[0\].shape: the shape is not valid"),
        ({"inputs": tensors(x={"shape": [2, 2, 2]})}, r"inputs\[0\].shape: the shape is not valid"),
        ({"inputs": tensors(x={"shape": [0], "data": []})}, r"inputs\[0\].shape: the number of rows is out of range"),
        ({"inputs": tensors(x={"shape": [1001]})}, r"inputs\[0\].shape: the number of rows is out of range"),
        ({"inputs": tensors(x={"datatype": "FP31"})}, r"inputs\[0\].datatype: the datatype is not supported"),
        ({"inputs": tensors(x={"data": [1]})}, r"inputs\[0\].data: the data does not have the size of the shape"),
        ({"inputs": tensors(x={"data": None})}, r"inputs\[0\].data: it is null"),
        (
            {"inputs": tensors(x={"shape": [2, 0], "data": []})},
            r"inputs.x\[0\]: it is an array",
        ),
        ({"inputs": tensors(l={"data": [[1, 2], [3]]})}, r"inputs\[1\].data\[1\]: the row does not have the length"),
        ({"inputs": tensors(l={"shape": [2, 3], "data": [1] * 6})}, r"inputs.l\[0\]: the array is of another length"),
        ({"inputs": tensors(l={"shape": [3, 2], "data": [1] * 6})}, r"inputs\[1\]: the tensors differ in length"),
        ({"inputs": [*tensors(), tensors()[0]]}, r"inputs\[5\]: the input is there twice"),
        ({"inputs": tensors()[1:]}, r"inputs.x: the feature is missing"),
        ({"inputs": tensors(x={"data": ["a", 1]})}, r"inputs.x\[0\]: it is a string"),
        ({"inputs": tensors(x={"parameters": 1})}, r"inputs\[0\].parameters: it is not an object"),
        (
            {"inputs": tensors(x={"parameters": {"binary_data_size": -1}})},
            r"inputs\[0\].parameters.binary_data_size: it is not a size",
        ),
        ({"inputs": tensors(), "outputs": [{"name": "z"}]}, r"outputs\[0\]: the output does not exist in the model"),
        ({"inputs": tensors(), "outputs": 7}, r"outputs: it is not an array"),
        ({"inputs": tensors(), "id": 7}, r"id: it is not a string"),
        ({"inputs": tensors(), "parameters": [1]}, r"parameters: it is not an object"),
    ],
)
def test_what_is_wrong_is_named(model: Any, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ask(model, content)


def test_routes_and_metadata(model: Any) -> None:
    app = ServerApp("m", "1")

    async def scene() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            assert (await client.get("/v2/health/live")).status_code == 200
            assert (await client.get("/v2/health/ready")).status_code == 503
            app.use(dynamic(model))
            for path in ("/v2/health/ready", "/v2/models/m/ready", "/v2/models/m/versions/1/ready"):
                assert (await client.get(path)).status_code == 200
            assert (await client.get("/v2")).json()["extensions"] == ["binary_tensor_data"]
            said = (await client.get("/v2/models/m")).json()
            assert {t["name"]: (t["datatype"], t["shape"]) for t in said["inputs"]} == {
                "x": ("FP32", [-1]),
                "l": ("FP64", [-1, 2]),
                "text": ("BYTES", [-1]),
                "flag": ("BOOL", [-1]),
                "big": ("UINT64", [-1]),
            }
            infer = await client.post("/v2/models/m/infer", json={"inputs": tensors()})
            assert infer.status_code == 200
            assert infer.headers["x-model-version"] == "1"
            for length in ("9", "-1", "9" * 5000):
                wrong = await client.post(
                    "/v2/models/m/infer", content=b"{}", headers={"Inference-Header-Content-Length": length}
                )
                assert wrong.status_code == 400
                assert "Inference-Header-Content-Length is not valid" in wrong.json()["error"]
            app.draining = True
            assert (await client.get("/v2/health/ready")).status_code == 503
            assert (await client.get("/v2/health/live")).headers["connection"] == "close"

    asyncio.run(scene())
