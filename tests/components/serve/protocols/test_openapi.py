"""The OpenAPI document against the server: schemathesis sends what it allows, and what it does not."""

from __future__ import annotations

import http.client
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.http_server import Served
from support.serving import dynamic, load

from headrace.components.serve.protocols import openapi
from headrace.core.saved_model.json.tensors import TensorInput

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module", params=["artifact", "saved_model"])
def served(
    request: pytest.FixtureRequest, make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server of a Model, whose rows have rules, or of a bare SavedModel."""
    model = make_model(tmp_path_factory.mktemp("openapi") / "model", "v1")
    served = Served(dynamic(load(model if request.param == "artifact" else model / "saved_model")))
    yield served
    served.stop()
    served.join()


def document(served: Served) -> Any:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=600)) as connection:
        connection.request("GET", "/openapi.json")
        return json.loads(connection.getresponse().read())


@pytest.mark.parametrize(
    ("width", "dims", "good", "bad"),
    [
        (6, (2, 3), [[[1, 2, 3], [4, 5, 6]]], [[1, 2, 3, 4, 5, 6], [[1, 2], [3, 4], [5, 6]]]),
        (0, (0, 2), [[], [[1, 2]], [[1, 2]] * 3], [[1, 2], [[1, 2, 3]], 1]),
        (0, (), [[], [1, 2]], [1, [[1]]]),
        (2, (), [[1, 2]], [[1], [[1, 2]]]),
        (None, (), [1], [[1]]),
    ],
)
def test_lists_are_nested_as_the_model_takes_them(
    width: int | None, dims: tuple[int, ...], good: list[Any], bad: list[Any]
) -> None:
    schema = openapi._value(TensorInput("x", "numeric", width=width, dims=dims))
    for value in good:
        jsonschema.validate(value, schema)
    for value in bad:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schema)


def operations(schema: Any) -> list[Any]:
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_breaks_the_server(served: Served, mode: Any, caplog: pytest.LogCaptureFixture) -> None:
    schema = schemathesis.openapi.from_dict(document(served))
    found = operations(schema)
    assert len(found) > 20
    for operation in found:
        if operation.method == "get" and mode is schemathesis.GenerationMode.NEGATIVE:
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=max(5, settings().max_examples // 10))
        def one(case: Any) -> None:
            response = case.call(base_url=f"http://127.0.0.1:{served.port}", timeout=600)
            case.validate_response(response, checks=CHECKS)

        one()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.soak
def test_ten_thousand_requests_break_nothing(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    found = operations(schemathesis.openapi.from_dict(document(served)))
    # Most requests without a body are equal: those with one make up the number.
    posts = [operation for operation in found if operation.method == "post"]
    statuses: Counter[int] = Counter()
    for operation in found:
        for mode in schemathesis.GenerationMode if operation in posts else [schemathesis.GenerationMode.POSITIVE]:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=math.ceil(10_000 / (2 * len(posts))), derandomize=False)
            def one(case: Any) -> None:
                response = case.call(base_url=f"http://127.0.0.1:{served.port}", timeout=600)
                statuses[response.status_code] += 1
                case.validate_response(response, checks=CHECKS)

            one()
    assert sum(statuses.values()) >= 10_000
    assert max(statuses) < 500
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_the_document_allows_what_is_answered(served: Served) -> None:
    schema = document(served)
    assert schema["openapi"] == "3.1.0"
    row = {"mother_age": 30, "gestation_weeks": 40.0, "plurality": "1", "mother_smokes": "true"}
    instances = {**schema["components"]["schemas"]["InstancesRequest"], "components": schema["components"]}
    jsonschema.validate({"instances": [row]}, instances)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"instances": [{**row, "mother_age": "x"}]}, instances)
    assert served.ask(json.dumps({"instances": [row]}).encode()) == 200
