"""Row and column bodies: Vertex AI's custom containers, TensorFlow Serving's REST API and KServe's V1 protocol."""

from __future__ import annotations

import difflib
from typing import Any

from headrace.components.serve.modes.answerer import Answer, Description, RowsRequest
from headrace.components.serve.protocols.call import CallResponse, PredictCall, check_rows
from headrace.core.errors import DataError
from headrace.core.json_body import encode, parse
from headrace.core.saved_model.interface import KEY, KEY_INPUT, RULES
from headrace.core.saved_model.json.rows import columns_from_outputs, rows_from_outputs

_FIELDS = ("instances", "inputs", "parameters", "signature_name")
ROWS: tuple[str, ...] = ("instances",)
ROWS_OR_COLUMNS: tuple[str, ...] = ("instances", "inputs")
_SHAPES = {forms: " or ".join(f'{{"{form}": ...}}' for form in forms) for forms in (ROWS, ROWS_OR_COLUMNS)}


def decode(body: bytes, description: Description, *, forms: tuple[str, ...], max_instances: int) -> PredictCall:
    """A predict request.

    Args:
        body: `{"instances": [...]}`, answered by `{"predictions": [...]}`; or, for TensorFlow Serving, `{"inputs":
            {...}}`, answered by `{"outputs": ...}`. Rows and columns of a model with one input may be its bare values.
        description: of the model.
        forms: ROWS for Vertex AI, or ROWS_OR_COLUMNS.
        max_instances: maximum rows per request.

    Raises:
        DataError: the request is not valid.
    """
    content = _checked(body, forms, description.signature)
    if "instances" in content:
        instances = content["instances"]
        if not isinstance(instances, list):
            raise DataError("the value is not an array", where="instances", expected="one object per row")
        check_rows(len(instances), "instances", max_instances)
        return PredictCall(
            RowsRequest(len(instances), instances=description.interface.named_rows(instances)), _predictions
        )
    inputs = description.interface.named_columns(content["inputs"])
    if not isinstance(inputs, dict):
        raise DataError("it is not an object", where="inputs", expected='{"FEATURE": [values], ...}')
    columns = {name: values for name, values in inputs.items() if isinstance(values, list)}
    # Columns that the model does not read may be of another length.
    known = [len(values) for name, values in columns.items() if name in description.interface.names]
    rows = max(known or map(len, columns.values()), default=0)
    check_rows(rows, "inputs", max_instances)
    return PredictCall(RowsRequest(rows, columns=inputs), _outputs)


def _predictions(answer: Answer) -> CallResponse:
    rows = rows_from_outputs(answer.outputs, bare=answer.bare, binary=answer.binary)
    return _response({"predictions": rows}, answer)


def _outputs(answer: Answer) -> CallResponse:
    columns = columns_from_outputs(answer.outputs, bare=answer.bare, binary=answer.binary)
    return _response({"outputs": columns}, answer)


def _response(content: dict[str, Any], answer: Answer) -> CallResponse:
    if answer.source:
        content["source"] = list(answer.source)
    return CallResponse(encode(content), headers=answer.headers)


def status(name: str, version: str, *, available: bool) -> bytes:
    """The response to `GET /v1/models/NAME`, with the members of TensorFlow Serving and of KServe's V1 protocol."""
    state = {"state": "AVAILABLE" if available else "LOADING", "status": {"error_code": "OK", "error_message": ""}}
    return encode({"name": name, "ready": available, "model_version_status": [{"version": version, **state}]})


def metadata(description: Description) -> bytes:
    """TensorFlow Serving's response to `GET /v1/models/NAME/metadata`."""
    definition = {"signature_def": {description.signature: description.signature_def}}
    # What a signature does not say, batch scoring by requests needs to know.
    more = {KEY_INPUT: KEY} if description.interface.takes_key else {}
    if description.interface.rules is not None:
        more[RULES] = description.interface.rules.mode
    return encode(
        {
            "model_spec": {"name": description.name, "signature_name": "", "version": description.version},
            "metadata": {"signature_def": definition, **more},
            **description.facts(),
        }
    )


def _checked(body: bytes, forms: tuple[str, ...], signature: str) -> dict[str, Any]:
    shape = _SHAPES[forms]
    request = parse(body, shape)
    for field in request:
        if field not in _FIELDS:
            close = difflib.get_close_matches(field[:80], forms, n=1)
            raise DataError(
                "the body has an unknown field",
                expected=shape,
                received=f'"{field[:80]}"',
                fix=f'Did you mean "{close[0]}"?' if close else None,
            )
    present = [form for form in ROWS_OR_COLUMNS if form in request]
    if len(present) != 1 or present[0] not in forms:
        raise DataError(
            "the body does not hold rows", expected=shape, received=" and ".join(present) or "none of these"
        )
    if request.get("parameters"):
        raise DataError("the model accepts no parameters", where="parameters", expected="none, or {}")
    if request.get("signature_name", signature) not in (signature, ""):
        raise DataError("the signature is not served", where="signature_name", expected=signature)
    return request
