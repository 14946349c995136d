"""The Kafka scorer on a real broker: records in, predictions and dead letters out, models that arrive as events."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest
from peers.kafka import Broker, broker_in_memory, executable
from support.kafka_stage import SESSION_MS, Stage, encoded, stage_on
from support.stream_models import APP, StreamModels, rollback
from support.tiny_model import INSTANCES, expected_weight

from headrace.components.stream.kafka import clients
from headrace.components.stream.kafka.config import Route
from headrace.components.stream.models.load import load_model
from headrace.core.errors import HeadraceError, UsageError
from headrace.core.model_events.event import ModelEvent
from headrace.core.scoring.online.model import OnlineModel

ROW = INSTANCES[0]


@pytest.fixture(scope="module")
def second(stream_models: StreamModels) -> ModelEvent:
    return stream_models.event("v2", 2, bias=5.0)


def test_records_become_predictions_with_their_keys_and_headers(stage: Stage, first: ModelEvent) -> None:
    stage.announce(first)
    producer = stage.broker.producer()
    for row in INSTANCES:
        producer.produce(stage.topics["records"], encoded(row), key=str(row["key"]).encode(), headers={"trace": b"t1"})
    assert producer.flush(300) == 0
    member = stage.member()
    messages = stage.read("predictions", 3)
    found = {message.key(): json.loads(message.value()) for message in messages}
    for row in INSTANCES:
        prediction = found[str(row["key"]).encode()]
        assert prediction["prediction"] == pytest.approx(expected_weight(row))
        assert (prediction["key"], prediction["model_version"], prediction["model_epoch"]) == (row["key"], "v1", 1)
    assert [message.headers() for message in messages] == [[("trace", b"t1")]] * 3
    member.end()
    text = member.metrics.text()
    assert f'headrace_stream_records_total{{app="{APP}",result="predicted"}} 3\n' in text
    assert f'headrace_stream_model_info{{app="{APP}",version="v1",epoch="1"}} 1\n' in text
    assert "headrace_stream_latency_seconds_count 3\n" in text


def test_a_member_resumes_where_the_last_one_committed(stage: Stage, first: ModelEvent) -> None:
    stage.announce(first)
    stage.send(encoded(ROW), encoded(ROW))
    before = stage.member()
    stage.predictions(2)
    before.end()
    stage.send(encoded({**ROW, "key": "later"}))
    stage.member()
    assert [row["key"] for row in stage.predictions(3)] == ["a", "a", "later"]


def test_dead_letters_hold_the_record_and_say_why(stage: Stage, first: ModelEvent) -> None:
    stage.announce(first)
    stage.member()
    bad = [b"{", None, encoded({**ROW, "mother_age": "old"}), encoded({**ROW, "mother_age": 99})]
    stage.send(*bad, encoded(ROW))
    messages = stage.read("dead", 4)
    assert [message.value() for message in messages] == bad
    assert {message.key() for message in messages} == {b"k"}
    letters = [{n.removeprefix("headrace-"): v.decode() for n, v in message.headers()} for message in messages]
    assert [letter["reason"] for letter in letters] == ["malformed_row", "malformed_row", "not_a_number", "not_finite"]
    assert letters[2]["message"] == 'mother_age is "old", which is not a finite number'
    partition = letters[0]["partition"]
    assert [(letter["topic"], letter["partition"], letter["offset"]) for letter in letters] == [
        (stage.topics["records"], partition, str(offset)) for offset in range(4)
    ]
    assert {(letter["app"], letter["model-version"], letter["model-epoch"]) for letter in letters} == {(APP, "v1", "1")}
    assert len(stage.predictions(1)) == 1


def test_models_are_switched_by_epoch_and_rolled_back(stage: Stage, first: ModelEvent, second: ModelEvent) -> None:
    # The older event comes last, and the newer one twice.
    stage.announce(second, second, first)
    member = stage.member()
    member.uses("v2")
    stage.send(encoded(ROW))
    stage.predictions(1)
    stage.announce(rollback(first, 3))
    member.uses("v1")
    stage.send(encoded(ROW))
    found = [(row["model_version"], row["model_epoch"], row["prediction"]) for row in stage.predictions(2)]
    assert found == [
        ("v2", 2, pytest.approx(expected_weight(ROW, 5.0))),
        ("v1", 3, pytest.approx(expected_weight(ROW))),
    ]
    # The older event was never used, and the repeated one once.
    switched = f'headrace_stream_model_events_total{{app="{APP}",result="switched"}} 2\n'
    member.until(lambda: switched in member.metrics.text(), "switches are not counted")
    assert member.metrics.text().count("headrace_stream_model_events_total{") == 1


def test_bad_models_are_refused_with_an_alarm_and_the_old_one_stays(
    stage: Stage, stream_models: StreamModels, first: ModelEvent, second: ModelEvent
) -> None:
    stage.announce(first)
    member = stage.member()
    stage.announce(stream_models.wrong("e-wrong", 2), replace(second, epoch=3, digest="0" * 64))
    stage.announce(stream_models.half_copied(second, "e-half", 4), stream_models.nan("e-nan", 5))
    stage.broker.send(stage.topics["models"], b"not an event")
    alarms = stage.alarms(5)
    # A model that is overtaken by a newer event while it loads is never judged, unless that one is bad.
    by_epoch = {alarm["epoch"]: alarm for alarm in alarms}
    assert sorted(by_epoch) == [0, 2, 3, 4, 5]
    assert by_epoch[0]["alarm"] == "model_invalid"
    refused = [by_epoch[epoch] for epoch in (2, 3, 4, 5)]
    assert {(alarm["alarm"], alarm["member"]) for alarm in refused} == {("model_refused", f"{stage.name}-0")}
    assert "differs from its golden row" in by_epoch[2]["reason"]
    assert "the record of the registered Model is damaged" in by_epoch[3]["reason"]
    assert "a file of the registered Model is damaged" in by_epoch[4]["reason"]
    assert "no prediction for a golden row" in by_epoch[5]["reason"]
    stage.send(encoded(ROW))
    assert stage.predictions(1)[0]["model_version"] == "v1"
    # A fresh member folds the same events to the same model.
    other = stage.member()
    other.uses("v1")
    assert member.folded.in_use[APP] is not None


def test_events_of_every_wrong_kind_change_nothing(
    stage: Stage, stream_models: StreamModels, first: ModelEvent
) -> None:
    stage.announce(first)
    member = stage.member()
    other = replace(first, app="other", epoch=90, model="/nowhere")
    jump = stream_models.event("jump", 1000, bias=3.0)
    stage.broker.send(
        stage.topics["models"],
        None,
        b"",
        b"{",
        b"[" * 10_000,
        b'{"kind": "ModelEvent", "format": 1}',
        first.encode() + b" " * 20_000,
        json.dumps({**json.loads(first.encode()), "epoch": -1}).encode(),
        json.dumps({**json.loads(first.encode()), "epoch": 10**30, "digest": "0" * 64}).encode(),
        json.dumps({**json.loads(first.encode()), "epoch": "2"}).encode(),
        other.encode(),
        replace(first, epoch=2, model="http://127.0.0.1:9/model").encode(),
        replace(first, epoch=3, model="/nowhere/at/all").encode(),
        replace(first, epoch=4, digest="0" * 64).encode(),
        replace(first, version="another").encode(),
        jump.encode(),
        replace(first, epoch=5).encode(),
    )
    member.uses("jump")
    alarms = stage.alarms(9, "model_invalid", "model_conflicting")
    assert [alarm["alarm"] for alarm in alarms].count("model_invalid") == 8
    conflicting = next(alarm for alarm in alarms if alarm["alarm"] == "model_conflicting")
    assert (conflicting["epoch"], conflicting["version"]) == (1, "another")
    stage.send(encoded(ROW))
    (prediction,) = stage.predictions(1)
    assert (prediction["model_version"], prediction["model_epoch"]) == ("jump", 1000)
    assert member.error is None


def test_a_model_that_is_not_there_yet_is_tried_again(
    stage: Stage, stream_models: StreamModels, first: ModelEvent
) -> None:
    event = stream_models.event("late", 2, bias=2.0)
    there = threading.Event()

    def load(event: ModelEvent, present: OnlineModel | None) -> OnlineModel:
        late = event.version == "late" and not there.is_set()
        return load_model(replace(event, model=f"{event.model}-absent") if late else event, present)

    stage.announce(first, event)
    member = stage.member(load)
    # The older one is used meanwhile.
    member.uses("v1")
    alarm = stage.alarms(1)[0]
    assert (alarm["alarm"], alarm["version"], alarm["attempts"]) == ("model_unreachable", "late", 1)
    there.set()
    member.uses("late")


def test_without_a_model_records_are_skipped(stage: Stage, first: ModelEvent) -> None:
    member = stage.member(without_model="skip")
    stage.send(encoded(ROW), encoded(ROW))
    letters = stage.letters(2)
    assert {letter["headrace-reason"] for letter in letters} == {"no_model"}
    assert f'headrace_stream_records_total{{app="{APP}",result="no_model"}} 2\n' in member.metrics.text()
    assert not member.metrics.ready
    stage.announce(first)
    member.uses("v1")
    stage.send(encoded({**ROW, "key": "after"}))
    assert [row["key"] for row in stage.predictions(1)] == ["after"]
    assert member.metrics.ready


def test_without_a_model_records_are_held(stage: Stage, first: ModelEvent) -> None:
    member = stage.member(without_model="hold", batch_records=10)
    for key in (b"a", b"b", b"c"):
        stage.send(*(encoded({**ROW, "key": f"{key.decode()}{at}"}) for at in range(100)), key=key)
    member.until(lambda: sum(member.reader.buffered.values()) > 0, "nothing is held")
    turns = member.reader.turns
    member.until(lambda: member.reader.turns > turns + 50, "the member does not go on")
    # Bounded, while the member stays in the group.
    assert 0 < sum(member.reader.buffered.values()) <= 20
    stage.announce(first)
    member.uses("v1")
    keys = [row["key"] for row in stage.predictions(300)]
    assert sorted(keys) == sorted(f"{key}{at}" for key in "abc" for at in range(100))
    assert f'headrace_stream_held_records{{app="{APP}"}} 0\n' in member.metrics.text()


def test_several_applications_share_a_process(kafka: Broker, stream_models: StreamModels, first: ModelEvent) -> None:
    with stage_on(kafka, "several") as stage:
        other = {"records": "other-records", "predictions": "other-predictions"}
        kafka.topics(**dict.fromkeys(other.values(), 1))
        routes = [
            Route(APP, stage.topics["records"], stage.topics["predictions"]),
            Route("other", other["records"], other["predictions"]),
        ]
        stage.announce(first, replace(stream_models.event("o1", 7, bias=2.0), app="other"))
        stage.member(routes=routes)
        stage.send(encoded(ROW))
        kafka.send(other["records"], encoded(ROW), b"{")
        assert stage.predictions(1)[0]["model_version"] == "v1"
        found = json.loads(kafka.read(other["predictions"], 1)[0].value())
        assert (found["model_version"], found["model_epoch"]) == ("o1", 7)
        assert stage.letters(1)[0]["headrace-app"] == "other"


def test_members_of_one_group_with_different_routes_share_the_topics_that_each_has(
    kafka: Broker, stream_models: StreamModels, first: ModelEvent
) -> None:
    with stage_on(kafka, "routes") as stage:
        kafka.topics(routes_others=2, routes_scores=1)
        mine = Route(APP, stage.topics["records"], stage.topics["predictions"])
        other = Route("other", "routes-others", "routes-scores")
        stage.announce(first, replace(stream_models.event("r1", 4, bias=2.0), app="other"))
        both = stage.member(routes=[mine, other])
        alone = stage.member(routes=[mine])
        keys = [f"{at}" for at in range(300)]
        producer = kafka.producer()
        for topic, some in ((mine.records, keys), (other.records, keys[:20])):
            for key in some:
                producer.produce(topic, encoded({**ROW, "key": key}), key=key.encode())
        assert producer.flush(300) == 0
        assert sorted(set(stage.keys(300)), key=int) == keys
        assert sorted(set(stage.keys(20, "routes-scores")), key=int) == keys[:20]
        assert json.loads(kafka.read("routes-scores", 1)[0].value())["model_version"] == "r1"
        # This broker forgets a rebalance that a member leaves in the middle.
        alone.until(lambda: bool(alone.reader._assigned()), "it has no partition")
        both.end()
        # Nobody has the other topic now: its records wait.
        kafka.send("routes-others", encoded({**ROW, "key": "later"}))
        stage.send(encoded({**ROW, "key": "300"}))
        assert "300" in stage.keys(301)
        assert alone.error is None


def test_arrow_records(stage: Stage, first: ModelEvent) -> None:
    import pyarrow as pa

    stage.announce(first)
    stage.member(format="arrow")
    table = pa.table({"mother_age": [30.0, None], "gestation_weeks": [40.0, 40.0], "plurality": ["1", "1"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stage.send(sink.getvalue().to_pybytes())
    (message,) = stage.read("predictions", 1)
    rows = pa.ipc.open_stream(message.value()).read_all().to_pylist()
    assert [row["prediction"] for row in rows] == pytest.approx([1.0 + 1.5 + 4.0])
    assert stage.letters(1)[0]["headrace-rows"] == "1"


def test_a_prediction_that_is_too_large_is_a_dead_letter_without_its_value(stage: Stage, first: ModelEvent) -> None:
    stage.announce(first)
    properties = {"message.max.bytes": "2000", "session.timeout.ms": str(SESSION_MS)}
    member = stage.member(properties=properties)
    key = "x" * 3000
    stage.send(encoded({**ROW, "key": key}), encoded(ROW))
    (message,) = stage.read("dead", 1)
    letter = {n: v.decode() for n, v in message.headers()}
    assert message.value() is None
    assert (letter["headrace-reason"], int(letter["headrace-value-bytes"])) == (
        "too_large", len(encoded({**ROW, "key": key})),
    )  # fmt: skip
    assert [row["key"] for row in stage.predictions(1)] == ["a"]
    assert 'result="too_large"} 1\n' in member.metrics.text()


def test_a_record_whose_key_alone_is_too_large_is_a_dead_letter_without_its_key(
    stage: Stage, first: ModelEvent
) -> None:
    stage.announce(first)
    stage.member(properties={"message.max.bytes": "2000", "session.timeout.ms": str(SESSION_MS)})
    stage.broker.send(stage.topics["records"], encoded(ROW), key=b"x" * 3000)
    stage.send(encoded(ROW))
    (message,) = stage.read("dead", 1)
    letter = {n: v.decode() for n, v in message.headers()}
    assert (message.key(), message.value(), letter["headrace-reason"]) == (None, None, "too_large")
    assert letter["headrace-topic"] == stage.topics["records"]
    assert len(stage.predictions(1)) == 1


def test_a_partition_that_is_taken_away_is_committed_first(stage: Stage, first: ModelEvent) -> None:
    stage.announce(first)
    sent = 0

    def send(count: int) -> None:
        nonlocal sent
        producer = stage.broker.producer()
        for at in range(sent, sent + count):
            producer.produce(stage.topics["records"], encoded({**ROW, "key": f"{at}"}), partition=at % 2)
        assert producer.flush(300) == 0
        sent += count

    stage.member()
    send(500)
    stage.predictions(500)
    second = stage.member()
    end = time.monotonic() + 600
    while second.metrics.text().count('result="predicted"') == 0:
        assert time.monotonic() < end
        send(20)
        time.sleep(0.1)
    stage.members[0].end()
    send(500)
    stage.predictions(sent)
    second.end()
    keys = [json.loads(message.value())["key"] for message in stage.everything("predictions")]
    assert sorted(keys, key=int) == [str(at) for at in range(sent)]


def test_a_topic_that_does_not_exist_is_refused(stage: Stage) -> None:
    config = replace(stage.config(), alarms="nowhere")
    consumer = clients.record_consumer(config)
    with pytest.raises(UsageError, match="topics do not exist") as error:
        clients.check_topics(consumer, config)
    assert error.value.received == "no nowhere"
    consumer.close()


def test_a_broker_that_does_not_answer_is_an_error_of_the_platform(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_CONNECT_S", 0.5)
    config = replace(stage.config(), bootstrap="127.0.0.1:1")
    consumer = clients.record_consumer(config)
    with pytest.raises(HeadraceError, match="no broker answers") as error:
        clients.check_topics(consumer, config)
    assert error.value.exit_status == 75
    consumer.close()


def test_while_the_broker_cannot_be_reached_the_loop_waits_and_stays_alive(first: ModelEvent) -> None:
    executable()
    with broker_in_memory(proxy=True) as broker, stage_on(broker, "outage") as stage:
        stage.announce(first)
        member = stage.member(batch_records=100)
        stage.send(*(encoded({**ROW, "key": f"{at}"}) for at in range(1000)))
        stage.predictions(100)
        broker.cut()
        idle = member.longest_idle(8.0)
        broker.restore()
        assert idle < 7.0
        stage.send(*(encoded({**ROW, "key": f"{at}"}) for at in range(1000, 1200)))
        keys = stage.keys(1200)
        assert set(keys) == {f"{at}" for at in range(1200)}
        # The batch that was under way when the broker was gone, and when it took the partitions away.
        assert len(keys) <= 1200 + 100 * max(1, member.reader.revocations)


def test_a_batch_that_cannot_be_delivered_in_time_is_not_committed(first: ModelEvent) -> None:
    executable()
    with broker_in_memory(proxy=True) as broker, stage_on(broker, "drain") as stage:
        stage.announce(first)
        member = stage.member(batch_records=10, drain_s=1.0)
        stage.send(*(encoded({**ROW, "key": f"{at}"}) for at in range(20_000)))
        stage.predictions(10)
        broker.cut()
        # A batch is under way, which cannot arrive any more.
        member.until(lambda: len(member.outbox._producer) > 0, "nothing is being sent")
        member.stop.set()
        member.thread.join(120)
        assert not member.thread.is_alive(), "the member hangs while the broker is unreachable"
        assert member.error is not None
        assert member.error.exit_status == 75
        assert "Nothing is lost" in member.error.paragraph
        broker.restore()
        other = stage.member()
        assert len(stage.keys(20_000)) <= 20_010
        assert other.error is None
