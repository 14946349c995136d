"""OpenAPI document of the server: paths, bodies and responses, with the inputs and outputs of the model in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.components.serve.limits import Limits
from headrace.components.serve.modes.answerer import Description
from headrace.components.serve.protocols.v2 import DATATYPES
from headrace.core.saved_model.json.inputs import InputFeature
from headrace.core.saved_model.json.tensors import TensorInput

_ERRORS = {
    400: "The request is not valid; the error names the row and the field.",
    413: "The body is larger than allowed.",
    415: "The body's encoding is not supported.",
    422: "Rows break rules of the model, or have no finite prediction.",
    500: "The model failed.",
    503: "The model is being loaded, or too many requests wait; retry later.",
    504: "The prediction took too long.",
}
_NUMBER = {"type": "number"}
_B64 = {"type": "object", "properties": {"b64": {"type": "string"}}, "required": ["b64"], "additionalProperties": False}


def document(description: Description, limits: Limits, health: str, predict: str) -> dict[str, Any]:
    """The document.

    Args:
        description: of the answerer in use.
        limits: of the server.
        health: route of Vertex AI's contract.
        predict: route of Vertex AI's contract.
    """
    model_v1, model_v2 = f"/v1/models/{description.name}", f"/v2/models/{description.name}"
    version = f"/versions/{description.version}"
    by_row_or_column = _post("Predict", "PredictRequest", "PredictResponse")
    infer = _post("Infer", "InferRequest", "InferResponse")
    status, tensors = _get("Model status"), _get("Model metadata")
    return {
        "openapi": "3.1.0",
        "info": {"title": f"headrace: {description.name}", "version": description.version},
        "paths": {
            predict: _post("Predict (Vertex AI)", "InstancesRequest", "PredictionsResponse"),
            health: _get("Health"),
            "/": _get("Liveness"),
            "/metrics": _get("Metrics", media="text/plain; version=0.0.4; charset=utf-8"),
            "/openapi.json": _get("This document"),
            "/v1/models": _get("Models"),
            **dict.fromkeys((model_v1, model_v1 + version), status),
            **{f"{path}/metadata": tensors for path in (model_v1, model_v1 + version)},
            **{f"{path}:predict": by_row_or_column for path in (model_v1, model_v1 + version)},
            "/v2": _get("Server metadata"),
            "/v2/health/live": _get("Liveness"),
            "/v2/health/ready": _get("Readiness"),
            **dict.fromkeys((model_v2, model_v2 + version), tensors),
            **{f"{path}/ready": _get("Readiness") for path in (model_v2, model_v2 + version)},
            **{f"{path}/infer": infer for path in (model_v2, model_v2 + version)},
        },
        "components": {"schemas": _schemas(description, limits)},
    }


def _schemas(description: Description, limits: Limits) -> dict[str, Any]:
    inputs = {given.name: _value(given) for given in description.interface.inputs}
    required = [i.name for i in description.interface.inputs if not i.optional]
    if description.interface.takes_key:
        inputs["key"] = {"type": ["string", "integer", "null"]}
    columns = {name: {"type": "array", "items": schema} for name, schema in inputs.items()}
    instance = {"type": "object", "properties": inputs, "required": required}
    rows = {"type": "array", "minItems": 1, "maxItems": limits.max_instances, "items": _ref("Instance")}
    names = sorted({*inputs, *(("key",) if description.interface.takes_key else ())})
    outputs = sorted(description.signature_def["outputs"])
    free: dict[str, Any] = {}
    source = {"type": "array", "items": {"enum": ["table", "cache", "model"]}}
    predictions = _object({"predictions": {"type": "array", "items": free}, "source": source}, ["predictions"])
    by_row = {"instances": rows, "parameters": {"type": "object", "maxProperties": 0}}
    by_row["signature_name"] = {"enum": ["", description.signature]}
    by_column = {**by_row, "inputs": {"type": "object", "properties": columns, "required": required}}
    del by_column["instances"]
    return {
        "Instance": instance,
        "InstancesRequest": _object(by_row, ["instances"]),
        "PredictRequest": {"oneOf": [_object(by_row, ["instances"]), _object(by_column, ["inputs"])]},
        "PredictionsResponse": predictions,
        "PredictResponse": {"oneOf": [predictions, _object({"outputs": free, "source": source}, ["outputs"])]},
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "parameters": {"type": "object"},
                "inputs": {"type": "array", "minItems": 1, "items": _tensor(names)},
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"enum": outputs},
                            "parameters": {"type": "object"},
                        },
                    },
                },
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "model_version", "outputs"],
            "properties": {"outputs": {"type": "array", "items": _tensor(outputs)}},
        },
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    }


def _value(given: InputFeature) -> dict[str, Any]:
    """The schema of an input's value in a row."""
    if given.kind == "categorical":
        schema: dict[str, Any] = {"type": ["string", "number", "boolean"]}
        if isinstance(given, TensorInput):
            schema = {"oneOf": [schema, _B64]}
    elif isinstance(given, TensorInput) and given.dtype == "bool":
        schema = {"type": "boolean"}
    else:
        schema = {"type": "integer"} if "int" in given.dtype else dict(_NUMBER)
    if given.optional:
        return {"anyOf": [schema, {"type": "null"}]}
    if isinstance(given, TensorInput) and given.width is not None:
        for size in reversed(given.dims or (given.width,)):
            schema = {"type": "array", "items": schema, **({"minItems": size, "maxItems": size} if size else {})}
    return schema


def _tensor(names: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"enum": names},
            "shape": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
            "datatype": {"enum": sorted(DATATYPES.values())},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
    }


def _object(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def _post(summary: str, request: str, response: str) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(request)}}},
            "responses": {"200": _content("The predictions.", _ref(response)), **_errors(404, *_ERRORS)},
        }
    }


def _get(summary: str, media: str = "application/json") -> dict[str, Any]:
    schema = {"type": "object"} if media == "application/json" else {"type": "string"}
    answer = {"description": summary, "content": {media: {"schema": schema}}}
    return {"get": {"summary": summary, "responses": {"200": answer, **_errors(503)}}}


def _errors(*statuses: int) -> dict[str, Any]:
    about = {404: "The model, its version, or a key of the table does not exist.", **_ERRORS}
    return {str(status): _content(about[status], _ref("Error")) for status in statuses}


def _content(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
