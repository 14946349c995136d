"""`headrace stream`: options are checked before anything is connected, and topics before records are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from peers.kafka import Broker

from headrace.components.score.options import EndpointOptions
from headrace.components.stream.kafka.config import KafkaConfig
from headrace.core.errors import HeadraceError
from headrace.pipelines.cli import cli
from headrace.pipelines.commands.stream import kafka as kafka_command

KAFKA = ("stream", "kafka", "--group", "g", "--model-topic", "models", "--dead-letter-topic", "dead", "--port", "0")
LABELS = ("stream", "labels", "--app", "taxi", "--prediction-topic", "fares", "--label-topic", "paid")
ROOT = Path(__file__).resolve().parents[3]
PROBLEM = ROOT / "examples" / "stream" / "flights.py"


def refused(*arguments: str) -> HeadraceError:
    error = CliRunner().invoke(cli, arguments).exception
    assert isinstance(error, HeadraceError), error
    return error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--route", "taxi"), "the route is not valid"),
        (("--route", "taxi=rides:fares", "--property", "x"), "the option is not valid"),
        (("--route", "taxi=rides:fares", "--property", "group.id=x"), "the property cannot be set"),
        (("--route", "taxi=rides:fares", "--property-file", "/absent"), "the file cannot be read"),
        (("--route", "taxi=rides:rides"), "a topic is used twice"),
    ],
)
def test_options_that_are_not_valid(options: tuple[str, ...], message: str) -> None:
    error = refused(*KAFKA, "--bootstrap", "127.0.0.1:1", *options)
    assert error.exit_status == 2
    assert message in error.what


def test_topics_that_do_not_exist(kafka: Broker) -> None:
    kafka.topics(rides=1, models=1)
    error = refused(*KAFKA, "--bootstrap", kafka.bootstrap, "--route", "taxi=rides:fares")
    assert error.exit_status == 2
    assert error.received == "no dead, no fares"


def test_an_endpoint_is_in_the_place_of_a_model_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration, and what is refused."""
    made: list[KafkaConfig] = []
    monkeypatch.setattr("headrace.components.stream.kafka.run.score_stream", lambda config, **_: made.append(config))
    plain = [text for text in KAFKA if text not in ("--model-topic", "models")]
    options = ("--bootstrap", "b:1", "--route", "taxi=rides:fares")
    url = ("--endpoint-url", "http://127.0.0.1:8080/v1/models/taxi:predict")
    done = CliRunner().invoke(cli, [*plain, *options, *url, "--endpoint-rows", "1", "--endpoint-concurrency", "2"])
    assert done.exit_code == 0, done.exception
    assert made[0].endpoint == EndpointOptions(url[1], rows_per_request=1, concurrency=2)
    assert refused(*plain, *options).what == "the model is not named"
    assert refused(*KAFKA, *options, *url).what == "the model is named twice"
    assert refused(*plain, *options, *url, "--format", "arrow").where == "--format"
    assert refused(*plain, *options, "--endpoint-url", "ftp://host/x").where == "--endpoint-url"
    twice = (*plain, *options, *url, "--route", "births=a:fares")
    assert refused(*twice).what == "an endpoint has the model of one application"


def test_a_property_that_the_client_does_not_know(kafka: Broker) -> None:
    options = ("--bootstrap", kafka.bootstrap, "--route", "taxi=rides:fares", "--property", "no.such=1")
    error = refused(*KAFKA, *options)
    assert error.exit_status == 2
    assert "no.such" in str(error.received)


def test_labels_check_their_options(kafka: Broker) -> None:
    options = (
        *LABELS,
        "--problem",
        str(PROBLEM),
        "--bootstrap",
        kafka.bootstrap,
        "--metric-topic",
        "m",
        "--alarm-topic",
        "a",
    )
    assert refused(*options, "--window", "5").what == "the period is not valid"
    assert refused(*options).what == "topics do not exist"


def test_the_benchmarks_use_options_that_exist() -> None:
    scorers = (ROOT / "benchmarks" / "kafka_scorers.py").read_text()
    parts = [
        scorers.partition("\ndef ours(")[2].partition("\ndef ")[0],
        (ROOT / "benchmarks" / "stream_kafka.py")
        .read_text()
        .partition("\ndef scorers_here(")[2]
        .partition("\ndef ")[0],
        (ROOT / "benchmarks" / "stream.py").read_text().partition("\nMODELS =")[2].partition("\ndef ")[0],
    ]
    found = [set(re.findall(r'"(--[a-z-]+)"', part)) for part in parts]
    assert all(found)
    used = set().union(*found)
    assert {"--route", "--model-topic", "--endpoint-url"} <= used
    assert used <= {name for parameter in kafka_command.params for name in parameter.opts}
