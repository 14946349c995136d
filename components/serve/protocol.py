"""Wire formats of Vertex AI's custom containers and TensorFlow Serving's REST API, from bytes to bytes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from headrace.core.errors import DataError
from headrace.core.rules.counts import RuleCounts
from headrace.core.saved_model.interface import KEY, KEY_INPUT, RULES
from headrace.core.saved_model.json import columns as json_columns
from headrace.core.saved_model.json import rows as json_rows
from headrace.core.saved_model.json.columns import Columns, Interface

_FIELDS = ("instances", "inputs", "parameters", "signature_name")


class Predictor(Protocol):
    """The interface of a model that the formats use; `model.Model` implements it."""

    @property
    def name(self) -> str:
        """Name of the model in URLs."""

    @property
    def version(self) -> str:
        """Version of the model in responses."""

    @property
    def interface(self) -> Interface:
        """Inputs and outputs of the model."""

    @property
    def signature(self) -> str:
        """Name of the signature that it predicts with."""

    @property
    def signature_def(self) -> dict[str, Any]:
        """Inputs and outputs in the form of TensorFlow Serving's metadata."""

    def predict(self, columns: Columns) -> Columns:
        """Predictions for columns of equal length."""


def answer(
    model: Predictor,
    body: bytes,
    *,
    columnar: bool,
    max_instances: int,
    tell: Callable[[RuleCounts], None] | None = None,
) -> bytes:
    """The response to a predict request.

    Args:
        model: that predicts.
        body: of the request.
        columnar: whether `inputs` are allowed besides `instances`, as in TensorFlow Serving, but not in Vertex AI.
        max_instances: maximum rows per request.
        tell: called with the counts of rows that broke a rule of the Model.

    Returns:
        `{"predictions": [...]}`, or `{"outputs": ...}` for `inputs`, as JSON.

    Raises:
        RowsRefused: rows break the rules of the Model.
        DataError: the request is not valid.
        NoPrediction: the model fails on some of the rows, or its prediction for them is not finite.
        PlatformError: the model failed for another reason.
    """
    # The signature decides, not the outputs: a model that accepts keys returns them only where the request has keys.
    bare = len(model.signature_def["outputs"]) == 1
    request = _parse(body, ("instances", "inputs") if columnar else ("instances",), model.signature)
    if "instances" in request:
        instances = request["instances"]
        if not isinstance(instances, list):
            raise DataError("the value is not an array", where="instances", expected="one object per row")
        _check_rows(len(instances), "instances", max_instances)
        outputs = model.predict(json_columns.columns_from_instances(instances, model.interface, tell))
        return encode({"predictions": json_rows.rows_from_outputs(outputs, bare=bare)})
    inputs = request["inputs"]
    if isinstance(inputs, dict):
        longest = max((len(values) for values in inputs.values() if isinstance(values, list)), default=0)
        _check_rows(longest, "inputs", max_instances)
    outputs = model.predict(json_columns.columns_from_inputs(inputs, model.interface, tell))
    return encode({"outputs": json_rows.columns_from_outputs(outputs, bare=bare)})


def refusal(error: json_rows.NoPrediction) -> bytes:
    """The response to a request with rows without a prediction.

    Returns:
        `{"error": "..."}` as JSON, with `not_finite`, the rows' indices by output, if known.
    """
    rows = {"not_finite": error.rows} if isinstance(error, json_rows.NotFinite) else {}
    return encode({"error": error.paragraph, **rows})


def status(version: str, *, available: bool) -> bytes:
    """TensorFlow Serving's response to `GET /v1/models/NAME`."""
    state = {"state": "AVAILABLE" if available else "LOADING", "status": {"error_code": "OK", "error_message": ""}}
    return encode({"model_version_status": [{"version": version, **state}]})


def metadata(model: Predictor) -> bytes:
    """TensorFlow Serving's response to `GET /v1/models/NAME/metadata`."""
    definition = {"signature_def": {model.signature: model.signature_def}}
    # What a signature does not say, batch scoring by requests needs to know.
    more = {KEY_INPUT: KEY} if model.interface.takes_key else {}
    if model.interface.rules is not None:
        more[RULES] = model.interface.rules.mode
    return encode(
        {
            "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
            "metadata": {"signature_def": definition, **more},
        }
    )


def encode(value: Any) -> bytes:
    """`value` as JSON, without spaces; NaN and infinity are refused.

    Half of a surrogate pair, which a name or a value of a request may hold, is escaped: UTF-8 has no form for it.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _parse(body: bytes, forms: tuple[str, ...], signature: str) -> dict[str, Any]:
    shape = " or ".join(f'{{"{form}": ...}}' for form in forms)
    try:
        request = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError("the body is not JSON", expected=shape, received=reason if body else "nothing") from error
    if not isinstance(request, dict):
        raise DataError("the body is not an object", expected=shape)
    for field in request:
        if field not in _FIELDS:
            close = difflib.get_close_matches(field, forms, n=1)
            raise DataError(
                "the body has an unknown field",
                expected=shape,
                received=f'"{field[:80]}"',
                fix=f'Did you mean "{close[0]}"?' if close else None,
            )
    present = [form for form in ("instances", "inputs") if form in request]
    if len(present) != 1 or present[0] not in forms:
        raise DataError(
            "the body does not hold rows", expected=shape, received=" and ".join(present) or "none of these"
        )
    if request.get("parameters"):
        raise DataError("the model accepts no parameters", where="parameters", expected="none, or {}")
    if request.get("signature_name", signature) not in (signature, ""):
        raise DataError("the signature is not served", where="signature_name", expected=signature)
    return request


def _check_rows(rows: int, where: str, most: int) -> None:
    if not 1 <= rows <= most:
        raise DataError("the number of rows is out of range", where=where, expected=f"1 to {most}", received=str(rows))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
