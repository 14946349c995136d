"""A broker that is killed and started again, with three members of a group, and model events meanwhile."""

from __future__ import annotations

import json
import time
from typing import Any

from peers.kafka import broker_on_bucket, executable
from support.kafka_stage import Stage, encoded, stage_on
from support.stream_models import StreamModels, rollback
from support.tiny_model import INSTANCES

from headrace.components.stream.models.load import LoadedModel, load_model
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import score_records
from headrace.core.model_events.event import ModelEvent

BATCH, MEMBERS, RESTARTS = 50, 3, 2
EACH = 150


def refusals(stage: Stage) -> list[dict[str, Any]]:
    """Refusals of models, once each member has sent one."""
    found: list[dict[str, Any]] = []
    end = time.monotonic() + 600
    with stage.broker.reading(stage.topics["alarms"]) as read:
        while len({alarm["member"] for alarm in found}) < MEMBERS:
            assert time.monotonic() < end, found
            alarms = [json.loads(message.value()) for message in read(0.2)]
            found += [alarm for alarm in alarms if alarm["alarm"] == "model_refused"]
    return found


def test_nothing_is_lost_and_models_that_are_announced_meanwhile_are_judged_by_every_member(
    stream_models: StreamModels, first: ModelEvent
) -> None:
    executable()
    second, bad = stream_models.event("v2", 2, bias=5.0), stream_models.wrong("v3", 3)
    back = rollback(first, 4)
    with broker_on_bucket() as broker, stage_on(broker, "restart", MEMBERS) as stage:
        records: list[bytes] = []
        producer = broker.producer()

        def produce(count: int) -> None:
            for number in range(len(records), len(records) + count):
                records.append(encoded({**INSTANCES[number % len(INSTANCES)], "key": str(number)}))
                producer.produce(stage.topics["records"], records[-1], partition=number % MEMBERS)

        def restart_with(*events: ModelEvent) -> None:
            """Kills the broker while records are on their way, and starts it again; events are sent meanwhile."""
            produce(EACH)
            producer.poll(0)
            broker.kill()
            produce(EACH)
            for event in events:
                producer.produce(stage.topics["models"], event.encode())
            broker.start()
            assert producer.flush(300) == 0

        stage.announce(first)
        properties = {**stage.config().properties, "fetch.wait.max.ms": str(broker.fetch_wait_ms)}
        for _ in range(MEMBERS):
            stage.member(batch_records=BATCH, properties=properties)
        produce(EACH)
        assert producer.flush(300) == 0
        stage.keys(EACH)
        restart_with(second, bad)
        refused = refusals(stage)
        for member in stage.members:
            member.uses("v2")
        # Records that the second version scores, however long it took to load.
        produce(EACH)
        assert producer.flush(300) == 0
        stage.keys(4 * EACH)
        restart_with(back)
        for member in stage.members:
            member.uses("v1")
        produce(EACH)
        assert producer.flush(300) == 0
        keys = stage.keys(len(records))
        found = stage.predictions(len(keys))
        # Some of them twice, as the producer did not know that they had arrived.
        with broker.reading(stage.topics["records"]) as read:
            sent = read(300.0)
        assert all(member.error is None for member in stage.members)
    assert {(alarm["epoch"], alarm["version"]) for alarm in refused} == {(3, "v3")}
    assert set(keys) == {str(number) for number in range(len(records))}
    # The batch of each member that was under way when the broker ended, and when it took partitions away.
    batches = sum(RESTARTS + member.reader.revocations for member in stage.members)
    assert len(keys) - len(sent) <= BATCH * batches
    good = {event.epoch: event for event in (first, second, back)}
    expected = {
        epoch: [one.prediction for one in score_records(records, LoadedModel(event, load_model(event)), JsonCodec())]
        for epoch, event in good.items()
    }
    for row in found:
        predicted: dict[str, Any] = json.loads(expected[row["model_epoch"]][int(row["key"])] or b"")
        assert row == predicted
    assert {row["model_epoch"] for row in found} == set(good)
