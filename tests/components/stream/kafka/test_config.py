"""Kafka options: what is refused before anything is connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.components.score.options import EndpointOptions
from headrace.components.stream.kafka.config import KafkaConfig, Route, properties_from, read_properties
from headrace.core.errors import UsageError

ROUTE = Route("taxi", "rides", "fares")
ENDPOINT = EndpointOptions("http://localhost:8080/v1/models/taxi:predict")


def config(**changes: Any) -> KafkaConfig:
    made: dict[str, Any] = {
        "bootstrap": "localhost:9092", "group": "g", "routes": [ROUTE], "model_topic": "models", "dead_letters": "dead",
    }  # fmt: skip
    return KafkaConfig(**{**made, **changes})


def test_topics_of_all_routes() -> None:
    assert config(alarms="alarms").topics == ["alarms", "dead", "fares", "models", "rides"]
    assert config().topics == ["dead", "fares", "models", "rides"]
    assert config(model_topic="", endpoint=ENDPOINT).topics == ["dead", "fares", "rides"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bootstrap": ""}, "bootstrap is empty"),
        ({"group": ""}, "group is empty"),
        ({"routes": []}, "the route is missing"),
        ({"routes": [ROUTE, Route("taxi", "others", "fares")]}, "two routes have one application"),
        ({"routes": [ROUTE, Route("other", "rides", "fares")]}, "two routes have one topic"),
        ({"dead_letters": "not valid"}, "the name of the topic is not valid"),
        ({"dead_letters": "rides"}, "a topic is used twice"),
        ({"alarms": "models"}, "a topic is used twice"),
        ({"dead_letters": "fares"}, "a topic is used twice"),
        ({"alarms": "fares"}, "a topic is used twice"),
        ({"alarms": "dead"}, "a topic is used twice"),
        ({"model_topic": "fares"}, "a topic is used twice"),
        ({"model_topic": "rides"}, "a topic is used twice"),
        ({"format": "avro"}, "format is wrong"),
        ({"rules": "never"}, "the mode of rules is not valid"),
        ({"without_model": "wait"}, "without_model is wrong"),
        ({"batch_records": 0}, "batch_records is wrong"),
        ({"batch_bytes": 10}, "batch_bytes is wrong"),
        ({"drain_s": 0}, "drain_s is wrong"),
        ({"dead_letters": ""}, "dead_letters is empty"),
        ({"model_topic": ""}, "the model is not named"),
        ({"endpoint": ENDPOINT}, "the model is named twice"),
        ({"model_topic": "", "endpoint": ENDPOINT, "format": "arrow"}, "sent to an endpoint as they are"),
        (
            {"model_topic": "", "endpoint": ENDPOINT, "routes": [ROUTE, Route("other", "a", "fares")]},
            "an endpoint has the model of one application",
        ),
        ({"properties": {"enable.auto.commit": "true"}}, "the property cannot be set"),
    ],
)
def test_what_is_not_valid_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(**changes)


@pytest.mark.parametrize("text", ["", "taxi", "taxi=rides", "=rides:fares", "taxi=rides:", "1=a:b", "a=b:c:d"])
def test_a_route_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the route is not valid"):
        Route.parse(text)


def test_routes_and_properties() -> None:
    assert Route.parse("taxi=rides:fares") == ROUTE
    assert properties_from(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    for texts in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="the option is not valid"):
            properties_from(texts)


def test_a_file_of_properties(tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text("# secret\n\nsasl.username=me\n  sasl.password=p=1\n")
    assert read_properties(str(file)) == {"sasl.username": "me", "sasl.password": "p=1"}
    file.write_text("sasl.password\n")
    with pytest.raises(UsageError) as error:
        read_properties(str(file))
    assert "password" in error.value.paragraph
    with pytest.raises(UsageError, match="cannot be read"):
        read_properties(str(tmp_path / "absent"))


def test_a_wrong_value_of_a_property_is_not_shown() -> None:
    with pytest.raises(UsageError) as error:
        properties_from(["sasl.password=secret", "sasl.password=secret"])
    assert "secret" not in error.value.paragraph
