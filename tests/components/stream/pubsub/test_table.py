"""The table of predictions on the emulator of BigQuery."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.utils.timestamp import Timestamp
from peers.bigquery import PROJECT, Server, _client

from headrace.components.stream.pubsub import table
from headrace.core.beam.windows import Windows
from headrace.core.errors import DataError

NOON = datetime(2026, 11, 29, 12, 0, 30, tzinfo=UTC)


def test_predictions_are_rows_of_the_table(bigquery: Server) -> None:
    client = _client(bigquery)
    dataset = f"stream_{time.time_ns()}"
    client.create_dataset(f"{PROJECT}.{dataset}")
    uri = f"bigquery://{PROJECT}.{dataset}.weights"
    table.create(uri)
    table.create(uri)
    value = {"key": "k", "prediction": 7.5, "model_version": "one", "model_epoch": 3}
    attributes = {"station": "north", "headrace-message-id": "m1"}
    message = PubsubMessage(json.dumps(value).encode(), attributes)
    ((window, row),) = table.ByWindow(Windows(60, 10)).process(message, Timestamp(NOON.timestamp()))
    assert window == "2026-11-29T120000Z-60s"
    table.LoadPredictions(uri, "births").process((window, [row]))
    (found,) = [dict(each.items()) for each in client.query_and_wait(f"SELECT * FROM `{PROJECT}.{dataset}.weights`")]
    client.close()
    assert (found["message_id"], found["published"]) == ("m1", NOON)
    assert (found["model_version"], found["model_epoch"]) == ("one", 3)
    assert json.loads(found["prediction"]) == {"key": "k", "prediction": 7.5}
    assert json.loads(found["attributes"]) == {"station": "north"}


def test_a_dataset_that_does_not_exist_is_named(bigquery: Server) -> None:
    with pytest.raises(DataError, match="the dataset does not exist"):
        table.create(f"bigquery://{PROJECT}.nowhere.weights")
