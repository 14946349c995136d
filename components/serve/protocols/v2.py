"""KServe's V2 protocol (open inference): tensors as JSON, or as binary data behind the JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from headrace.components.serve.modes.answerer import Answer, Description, RowsRequest
from headrace.components.serve.protocols import v2_binary
from headrace.components.serve.protocols.call import CallResponse, Headers, PredictCall, check_rows
from headrace.core.errors import DataError
from headrace.core.json_body import encode, parse
from headrace.core.saved_model.interface import KEY
from headrace.core.saved_model.json.messages import kind_of, shown
from headrace.core.saved_model.json.ranges import expected, first_outside
from headrace.core.saved_model.json.rows import NoPrediction, columns_from_outputs
from headrace.core.saved_model.json.tensors import TensorInput

_SHAPE = '{"inputs": [{"name": ..., "shape": [rows], "datatype": ..., "data": [...]}]}'
# By TensorFlow's names, as metadata of signatures has them.
DATATYPES = {
    "DT_FLOAT": "FP32",
    "DT_DOUBLE": "FP64",
    "DT_FLOAT16": "FP16",
    "DT_BFLOAT16": "BF16",
    "DT_STRING": "BYTES",
    "DT_BOOL": "BOOL",
    **{f"DT_{sign}INT{bits}": f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
# The names of numpy and TensorFlow, by datatype.
_DTYPES = {
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float32",
    "FP64": "float64",
    "BOOL": "bool",
    "BYTES": "string",
    **{f"{sign}INT{bits}": f"{sign}INT{bits}".lower() for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
_HEADER = b"inference-header-content-length"
_MOST_DIGITS = 19


def decode(body: bytes, headers: Headers, description: Description, *, max_instances: int) -> PredictCall:
    """An inference request.

    Args:
        body: JSON, followed by binary tensors if `headers` give the length of the JSON.
        headers: of the request, with lower-case names.
        description: of the model.
        max_instances: maximum rows per request.

    Raises:
        DataError: the request is not valid.
    """
    text, binary = body, b""
    for header, value in headers:
        if header == _HEADER:
            # Python converts no text of thousands of digits.
            if not value.isdigit() or len(value) > _MOST_DIGITS or int(value) > len(body):
                raise DataError(
                    "Inference-Header-Content-Length is not valid",
                    expected=f"at most the body's {len(body)} bytes",
                    received=value.decode("latin-1")[:80],
                )
            text, binary = body[: int(value)], body[int(value) :]
    content = parse(text, _SHAPE)
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise DataError("the body does not hold tensors", where="inputs", expected=_SHAPE, received=shown(inputs))
    columns: dict[str, list[Any]] = {}
    rows, first = 0, ""
    at = 0
    for place, tensor in enumerate(inputs):
        where = f"inputs[{place}]"
        name, shape, datatype = _head(tensor, where, description)
        if name in columns:
            raise DataError("the input is there twice", where=where, received=shown(name))
        check_rows(shape[0], f"{where}.shape", max_instances)
        if columns and shape[0] != rows:
            raise DataError(
                "the tensors differ in length", where=where, expected=f"{rows} rows, as {first}", received=f"{shape[0]}"
            )
        rows, first = shape[0], first or name
        size = _binary_size(tensor, where)
        if size is None:
            values = _flat(tensor.get("data"), shape, where)
        else:
            values = v2_binary.values(binary[at : at + size], datatype, shape, f"inputs.{name}")
            at += size
        _check_datatype(values, datatype, shape, name)
        columns[name] = _nested(values, shape, _tensor_input(description, name))
    if at != len(binary):
        raise DataError("binary data is left over", expected=f"{at} bytes", received=f"{len(binary)} bytes")
    outputs = _requested(content, description)
    identity = content.get("id")
    if identity is not None and not isinstance(identity, str):
        raise DataError("it is not a string", where="id", received=shown(identity))
    return PredictCall(
        RowsRequest(rows, columns=columns), lambda answer: _response(answer, description, identity, outputs)
    )


def _head(tensor: Any, where: str, description: Description) -> tuple[str, list[int], str]:
    """The name, the shape and the datatype of a tensor."""
    if not isinstance(tensor, dict):
        raise DataError(f"it is {kind_of(tensor)}", where=where, expected="an object", received=shown(tensor))
    name, shape, datatype = tensor.get("name"), tensor.get("shape"), tensor.get("datatype")
    known = description.interface.names
    if not isinstance(name, str) or name not in known:
        raise DataError(
            "the input does not exist in the model",
            where=f"{where}.name",
            expected=", ".join(known),
            received=shown(name),
        )
    sizes = shape if isinstance(shape, list) else []
    given = _tensor_input(description, name)
    dims = () if given is None else given.dims
    fits = len(sizes) == len(dims) + 1 if dims else len(sizes) <= 2
    fits &= all(size in (0, got) for size, got in zip(dims, sizes[1:], strict=False))
    if not sizes or not fits or not all(type(size) is int and 0 <= size <= 1 << 31 for size in sizes):
        expected = f"[rows, {', '.join(str(size or 'any') for size in dims)}]" if dims else "[rows] or [rows, n]"
        raise DataError("the shape is not valid", where=f"{where}.shape", expected=expected, received=shown(shape))
    if not isinstance(datatype, str) or datatype not in _DTYPES:
        raise DataError(
            "the datatype is not supported",
            where=f"{where}.datatype",
            expected=", ".join(sorted(_DTYPES)),
            received=shown(datatype),
        )
    return name, sizes, datatype


def _binary_size(tensor: Mapping[str, Any], where: str) -> int | None:
    parameters = tensor.get("parameters")
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise DataError("it is not an object", where=f"{where}.parameters", received=shown(parameters))
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise DataError("it is not a size", where=f"{where}.parameters.binary_data_size", received=shown(size))
    return size


def _flat(data: Any, shape: Sequence[int], where: str) -> list[Any]:
    """The values of a JSON tensor, which may be flat or nested as its shape."""
    place = f"{where}.data"
    if not isinstance(data, list):
        raise DataError(f"it is {kind_of(data)}", where=place, expected="an array", received=shown(data))
    level, count = data, shape[0]
    for size in shape[1:]:
        if not level or not isinstance(level[0], list):
            break
        for row, inner in enumerate(level):
            if not isinstance(inner, list) or len(inner) != size:
                raise DataError(
                    "the row does not have the length of the shape",
                    where=f"{place}[{row}]",
                    expected=f"{size} values",
                    received=shown(inner),
                )
        if len(level) != count:
            break
        level, count = list(chain.from_iterable(level)), count * size
    expected = math.prod(shape)
    if len(level) != expected:
        raise DataError(
            "the data does not have the size of the shape",
            where=place,
            expected=f"{expected} values",
            received=f"{len(level)}",
        )
    return level


def _check_datatype(values: Sequence[Any], datatype: str, shape: Sequence[int], name: str) -> None:
    """Raises DataError for a value that the datatype of its tensor does not hold; a null is a missing value."""
    dtype = _DTYPES[datatype]
    at = first_outside(values, dtype)
    if at is None:
        return
    value = values[at]
    number = type(value) in (int, float) and datatype != "BYTES"
    place = "".join(f"[{index}]" for index in np.unravel_index(at, shape))
    raise DataError(
        f"the number is no {datatype}"
        if number
        else f"it is {kind_of(value)}, and the tensor's datatype is {datatype}",
        where=f"inputs.{name}{place}",
        expected=expected(dtype),
        received=shown(value),
    )


def _nested(values: list[Any], shape: Sequence[int], given: TensorInput | None) -> list[Any]:
    """One value or one list per row, nested as the model's input has them."""
    if len(shape) == 1 or (shape[1] == 1 and (given is None or given.width is None)):
        return values
    for size in reversed(shape[2:]):
        values = [values[at : at + size] for at in range(0, len(values), max(size, 1))]
    return [values[row * shape[1] : (row + 1) * shape[1]] for row in range(shape[0])]


def _tensor_input(description: Description, name: str) -> TensorInput | None:
    """The input of a SavedModel that is not a Model artifact; None for a Model's, which has one value per row."""
    inputs = (given for given in description.interface.inputs if given.name == name)
    return next((given for given in inputs if isinstance(given, TensorInput)), None)


def _requested(content: Mapping[str, Any], description: Description) -> dict[str, bool]:
    """Whether binary data is requested, by requested output; all outputs by default."""
    known = description.signature_def["outputs"]
    parameters = content.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise DataError("it is not an object", where="parameters", received=shown(parameters))
    default = parameters.get("binary_data_output") is True
    requested = content.get("outputs")
    if not requested:
        if requested not in (None, []):
            raise DataError("it is not an array", where="outputs", received=shown(requested))
        return dict.fromkeys(known, default)
    if not isinstance(requested, list):
        raise DataError("it is not an array", where="outputs", received=shown(requested))
    outputs: dict[str, bool] = {}
    for place, output in enumerate(requested):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known:
            raise DataError(
                "the output does not exist in the model",
                where=f"outputs[{place}]",
                expected=", ".join(known),
                received=shown(output if name is None else name),
            )
        options = output.get("parameters") or {}
        binary = options.get("binary_data", default) if isinstance(options, dict) else default
        outputs[name] = binary is True
    return outputs


def _response(
    answer: Answer, description: Description, identity: str | None, outputs: Mapping[str, bool]
) -> CallResponse:
    tensors: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, binary in outputs.items():
        values = answer.outputs.get(name)
        if values is None:
            # A key that the request does not have is not returned.
            continue
        datatype = DATATYPES.get(description.signature_def["outputs"].get(name, {}).get("dtype"), "")
        if not datatype or v2_binary.is_ragged(values):
            raise NoPrediction("a tensor cannot hold the output", where=name, expected="rows of one length")
        tensor: dict[str, Any] = {"name": name, "shape": list(values.shape), "datatype": datatype}
        if binary:
            blobs.append(v2_binary.tensor_bytes(values, datatype))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            data = columns_from_outputs({name: values.reshape(-1)}, bare=True)
            tensor["data"] = data
        tensors.append(tensor)
    content: dict[str, Any] = {"model_name": description.name, "model_version": answer.version, "outputs": tensors}
    if identity is not None:
        content["id"] = identity
    if answer.source:
        content["parameters"] = {"source": ",".join(answer.source)}
    text = encode(content)
    if not blobs:
        return CallResponse(text, headers=answer.headers)
    length = (_HEADER, str(len(text)).encode())
    return CallResponse(b"".join([text, *blobs]), 200, (*answer.headers, length), b"application/octet-stream")


def server_metadata() -> bytes:
    """The response to `GET /v2`."""
    return encode({"name": "headrace", "version": "2", "extensions": ["binary_tensor_data"]})


def metadata(description: Description) -> bytes:
    """The response to `GET /v2/models/NAME`."""
    signature = description.signature_def
    names = set(description.interface.names)
    facts = description.facts()
    return encode(
        {
            "name": description.name,
            "versions": [description.version],
            "platform": "tensorflow_savedmodel",
            "inputs": [_tensor(n, info) for n, info in sorted(signature["inputs"].items()) if n in names or n == KEY],
            "outputs": [_tensor(name, info) for name, info in sorted(signature["outputs"].items())],
            **({"parameters": dict(facts)} if facts else {}),
        }
    )


def _tensor(name: str, info: Mapping[str, Any]) -> dict[str, Any]:
    shape = [int(dim["size"]) for dim in info["tensor_shape"]["dim"]]
    return {"name": name, "datatype": DATATYPES.get(info["dtype"], "BYTES"), "shape": shape}
