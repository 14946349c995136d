"""Request and response bodies of prediction servers: columns to JSON and back, for Vertex AI and TF Serving."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.components.score.endpoint.reply import BrokenReply
from headrace.components.score.options import Form
from headrace.core.errors import DataError
from headrace.core.saved_model.interface import (
    DTYPES,
    KEY,
    KEY_INPUT,
    SERVING_DEFAULT,
    ModelBinding,
    ModelInput,
    ModelOutput,
    is_bytes,
)
from headrace.core.scoring.bisect import RowsFailed
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.to_columns import Answer

_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "HALF": "float16"}
# Python types of JSON values, by numpy's kind; kinds that are missing here are integers.
_JSON_KINDS: Mapping[str, set[type]] = {"f": {int, float, type(None)}, "b": {bool}}


def columns_to_json(feeds: Sequence[Feed]) -> dict[str, list[Any]]:
    """The values of each input as JSON values; NaN, a missing value, is null, and bytes are {"b64": ...}.

    Raises:
        RowsFailed: a text is not UTF-8, which JSON cannot hold.
    """
    return {feed.taken.name: _values(feed) for feed in feeds}


def instances(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """One object per row."""
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def body(columns: Mapping[str, list[Any]], form: Form, signature: str) -> bytes:
    """The body of a request: one object per row as `instances`, or the columns as `inputs`."""
    rows: Any = instances(columns) if form == "instances" else columns
    more = {} if signature == SERVING_DEFAULT else {"signature_name": signature}
    return json.dumps({form: rows, **more}, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def answers_of(
    predictions: Any, takes: ModelBinding, rows: int, keys: Sequence[Any] | None = None, kept: int | None = None
) -> dict[str, Answer]:
    """Converts predictions to the outputs of a model in this process.

    Args:
        predictions: of a reply.
        takes: the model's outputs.
        rows: number of rows of the request.
        keys: of the request; compared with the keys of the response, if it has any.
        kept: number of rows to return, from the first; None for all.

    Raises:
        BrokenReply: the number of predictions is wrong, one lacks an output, or a type or a key is wrong.
    """
    columns = _by_output(predictions, takes, rows)
    echoed = columns.get(takes.key_input or "")
    if keys is not None and echoed is not None and not _same_keys(echoed, keys):
        raise BrokenReply("the keys are not those of the rows that were sent")
    made: dict[str, Answer] = {}
    for given in takes.outputs:
        if given.name not in columns:
            raise BrokenReply(f"predictions lack {given.name}")
        made[given.name] = _answer(given, columns[given.name][:kept])
    return made


def takes_of_metadata(metadata: Any, signature: str, where: str) -> tuple[ModelBinding, str]:
    """Reads a model's inputs and outputs, and its version, from TensorFlow Serving's metadata.

    Raises:
        DataError: the signature does not exist, or an input cannot be fed from columns.
    """
    try:
        definitions = metadata["metadata"]["signature_def"]["signature_def"]
        if signature not in definitions:
            raise DataError(
                "the signature does not exist in the endpoint's model",
                where=where,
                expected=f"one of {', '.join(sorted(definitions))}",
                received=signature,
                fix="Choose one of them with --signature",
            )
        definition = definitions[signature]
        inputs = [_input(name, info, where) for name, info in sorted(definition["inputs"].items())]
        outputs = [_input(name, info, where) for name, info in sorted(definition["outputs"].items())]
        passes = metadata["metadata"].get(KEY_INPUT) == KEY
        version = str(metadata["model_spec"]["version"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            "the endpoint does not describe its model",
            where=where,
            expected=f"the metadata of a signature {signature}",
            received=f"{type(error).__name__}: {error}",
        ) from error
    given = tuple(
        ModelOutput(
            o.name,
            o.dtype,
            None if o.width == 1 and not o.dims else o.width,
            is_bytes(o.name, o.dtype),
            listed=o.width == 1 and not o.dims,
            dims=o.dims,
        )
        for o in outputs
    )
    # For another server this is unknown; each response is checked for the keys of its request.
    return ModelBinding(signature, tuple(inputs), given, key_use="passes" if passes else "repeats"), version


def _input(name: str, info: Mapping[str, Any], where: str) -> ModelInput:
    kind = str(info["dtype"]).removeprefix("DT_")
    dtype = _DTYPES.get(kind, kind.lower())
    sizes = [int(dim["size"]) for dim in info["tensor_shape"].get("dim", [])]
    shapeless = info["tensor_shape"].get("unknown_rank") or not sizes or sizes[0] != -1
    if shapeless or (len(sizes) > 2 and min(sizes[1:]) < 1) or dtype not in DTYPES:
        raise _unfit(name, f"{kind} of shape {sizes}", where)
    if len(sizes) > 2:
        return ModelInput(name, dtype, math.prod(sizes[1:]), (name,), dims=tuple(sizes[1:]))
    return ModelInput(name, dtype, None if len(sizes) == 1 else max(sizes[1], 0), (name,))


def check_shapes(takes: ModelBinding, where: str) -> None:
    """Refuses nested lists whose sizes the model leaves open, which requests and replies do not state.

    Raises:
        DataError: the model has such an input or output.
    """
    tensors: list[ModelInput | ModelOutput] = [*takes.inputs, *takes.outputs]
    for each in tensors:
        if 0 in each.dims:
            raise _unfit(each.name, f"{each.dtype} of shape {each.shape}", where)


def _unfit(name: str, received: str, where: str) -> DataError:
    return DataError(
        f"the signature's {name} cannot be fed from columns, or be read as one, by requests",
        where=where,
        expected="one value per row, or a fixed number of values per row, of numbers, booleans or strings",
        received=received,
        fix="Score with the SavedModel itself (--approach direct)",
    )


def _values(feed: Feed) -> list[Any]:
    if feed.numbers is None:
        texts = [_texts(text) for text in feed.texts]
        if feed.taken.width is None:
            return texts[0]
        return [_nested(list(row), feed.taken.dims) for row in zip(*texts, strict=True)]
    numbers = feed.numbers.reshape(len(feed.numbers), *feed.taken.dims) if feed.taken.dims else feed.numbers
    values: list[Any] = numbers.tolist()
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        return [_without_nan(value) for value in values]
    return values


def _nested(flat: list[Any], dims: Sequence[int]) -> list[Any]:
    """A row's values as nested lists."""
    for size in reversed(dims[1:]):
        flat = [flat[begin : begin + size] for begin in range(0, len(flat), size)]
    return flat


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if value != value else value


def _texts(texts: pa.Array) -> list[Any]:
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    if pa.types.is_binary(texts.type):
        return [{"b64": base64.b64encode(value).decode()} for value in texts.to_pylist()]
    try:
        values: list[str] = texts.cast(pa.string()).to_pylist()
    except pa.ArrowInvalid as error:
        raise RowsFailed("a text is not UTF-8, which JSON cannot hold") from error
    return values


def plain_bytes(value: Any) -> bytes:
    """The bytes of a JSON string or of an object {"b64": ...}.

    Raises:
        UnicodeEncodeError: the text holds half of a surrogate pair.
        TypeError, ValueError: the value is neither.
    """
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict) or set(value) != {"b64"}:
        raise TypeError("neither text nor bytes")
    return base64.b64decode(value["b64"], validate=True)


def _same_keys(echoed: Sequence[Any], keys: Sequence[Any]) -> bool:
    def plain(key: Any) -> bytes:
        return plain_bytes(key if isinstance(key, str | dict) else str(key))

    try:
        return [plain(key) for key in echoed] == [plain(key) for key in keys]
    except (TypeError, ValueError):
        return False


def _by_output(predictions: Any, takes: ModelBinding, rows: int) -> dict[str, list[Any]]:
    """The values of each output, `rows` of them."""
    names = [given.name for given in takes.outputs]
    if isinstance(predictions, dict):
        for name, values in predictions.items():
            if not isinstance(values, list) or len(values) != rows:
                raise BrokenReply(f"the output {name} does not have {rows} values")
        return predictions
    if len(predictions) != rows:
        raise BrokenReply(f"{len(predictions)} predictions for {rows} rows")
    if len(names) == 1 and not any(isinstance(prediction, dict) for prediction in predictions):
        return {names[0]: predictions}
    if not all(isinstance(prediction, dict) for prediction in predictions):
        raise BrokenReply(f"a prediction is not an object of {', '.join(names)}")
    if takes.key_input is not None and takes.key_input in predictions[0]:
        names.append(takes.key_input)
    try:
        return {name: [prediction[name] for prediction in predictions] for name in names}
    except KeyError as error:
        raise BrokenReply(f"a prediction lacks {error}") from error


def _answer(given: ModelOutput, values: list[Any]) -> Answer:
    """Values in the output's type: numbers [rows] or [rows, n], text flat."""
    flat, width = _flat(given, values)
    kinds = set(map(type, flat))
    if given.dtype == "string":
        if not kinds <= {str, dict}:
            raise BrokenReply(f"the output {given.name} has values that are not text")
        try:
            return pa.array([plain_bytes(text) for text in flat], pa.binary())
        except UnicodeEncodeError as error:
            raise BrokenReply(f"the output {given.name} has text that is not Unicode") from error
        except (TypeError, ValueError) as error:
            raise BrokenReply(f'the output {given.name} has an object that is not {{"b64": "..."}}') from error
    dtype = np.dtype("float32" if given.dtype == "bfloat16" else given.dtype)
    # A number that is not finite is an error of the row, not of the reply, in any notation of the server.
    if not kinds <= _JSON_KINDS.get(dtype.kind, {int}):
        raise BrokenReply(f"the output {given.name} has values that are not {dtype}")
    try:
        with np.errstate(over="ignore"):
            array = np.array(flat, np.float64 if dtype.kind == "f" else dtype).astype(dtype)
    except OverflowError as error:
        raise BrokenReply(f"the output {given.name} is not {dtype}: {error}") from error
    return array if given.width is None else array.reshape(len(values), width)


def _flat(given: ModelOutput, values: list[Any]) -> tuple[list[Any], int]:
    """The concatenated values of all rows, and the number of values per row."""
    for size in given.dims[:-1]:
        if any(not isinstance(value, list) or len(value) != size for value in values):
            raise BrokenReply(f"the output {given.name} is not of shape {list(given.dims)} in every row")
        values = [inner for value in values for inner in value]
    if given.dims:
        if any(not isinstance(value, list) or len(value) != given.dims[-1] for value in values):
            raise BrokenReply(f"the output {given.name} is not of shape {list(given.dims)} in every row")
        return [inner for value in values for inner in value], given.width or 0
    if given.width is None and not any(isinstance(value, list) for value in values):
        return values, 1
    if not all(isinstance(value, list) for value in values):
        raise BrokenReply(f"the output {given.name} is not an array in every row")
    # One value per row may be an array of one element: the model's output is [rows, 1].
    width = 1 if given.width is None else given.width or (len(values[0]) if values else 0)
    if any(len(value) != width for value in values):
        raise BrokenReply(f"the output {given.name} is not {width} values wide in every row")
    return [inner for value in values for inner in value], width
