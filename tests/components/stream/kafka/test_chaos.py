"""Chaos: members that are killed, a broker that is unreachable, and model events of every kind; nothing is lost.

The short form takes about a minute. The long one is run by `make soak`: ten minutes, with a kill every ten seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from peers.kafka import Broker, broker_in_memory, executable
from support.saved_models import rows_of
from support.stream_chaos import BATCH, TOPICS, Group, Judgement, Records, Timeline, read_results, refusals
from support.stream_models import APP, StreamModels, rollback

from headrace.core.model_events.event import ModelEvent
from headrace.core.scoring.scorer import Scorer

COLUMNS = {
    "mother_age": pa.float64(),
    "gestation_weeks": pa.float64(),
    "plurality": pa.string(),
    "mother_smokes": pa.string(),
}


def rows() -> list[dict[str, Any]]:
    """Rows of which every tenth has no prediction."""
    chance = np.random.default_rng(5)
    made = []
    for at in range(500):
        row = {
            "mother_age": float(np.float32(chance.uniform(14, 48))),
            "gestation_weeks": None if at % 7 == 0 else float(np.float32(chance.uniform(22, 44))),
            "plurality": str(chance.choice(["1", "2", "3"])),
            "mother_smokes": str(chance.choice(["true", "false"])),
        }
        made.append({**row, "mother_age": "old"} if at % 10 == 3 else row)
    return made


def batch_scored(event: ModelEvent, sent: list[dict[str, Any]]) -> dict[int, float]:
    """The predictions of batch scoring, by row."""
    good = [at for at, row in enumerate(sent) if row["mother_age"] != "old"]
    columns = {n: pa.array([sent[at][n] for at in good], kind) for n, kind in COLUMNS.items()}
    keys = pa.array([str(at) for at in good])
    batch = pa.RecordBatch.from_pydict({**columns, "record_id": keys})
    scorer = Scorer(event.model, key="record_id")
    scored = scorer.score(rows_of(batch))
    assert not scored.quarantined
    return dict(zip(good, scored.predictions.column("prediction").to_pylist(), strict=True))


@dataclass
class Play:
    """The events of a play: good ones by epoch, and bad ones."""

    good: dict[int, ModelEvent]
    bad: dict[int, ModelEvent]


def judge(broker: Broker, group: Group, play: Play, judgement: Judgement, sent: int, seconds: float) -> None:
    """Ends the group once every record has a result, and checks what came out of a play."""
    pool = rows()
    statuses: set[int] = set()
    results = read_results(broker, sent, seconds, lambda: statuses.update(group.end()))
    assert statuses == {0}
    assert results.done == set(range(sent)), f"{sent - len(results.done)} of {sent} records are lost"
    # A killed member leaves at most one batch.
    most = BATCH * group.kills
    print(f"{sent} records, {group.kills} kills, {results.duplicates} duplicates, {len(results.alarms)} alarms")
    assert results.duplicates <= most, f"{results.duplicates} duplicates, at most {most}"
    bad_rows = {at for at, row in enumerate(pool) if row["mother_age"] == "old"}
    for key, reasons in results.letters.items():
        assert set(reasons) == {"not_a_number"}
        assert key % len(pool) in bad_rows
    expected = {event.version: batch_scored(event, pool) for event in play.good.values()}
    seen = set()
    for key, found in results.predictions.items():
        for version, epoch, prediction in found:
            assert epoch in play.good, f"a prediction of epoch {epoch}"
            assert version == play.good[epoch].version
            assert prediction == expected[version][key % len(pool)]
            seen.add(epoch)
    assert seen == set(play.good)
    refused = refusals(results.alarms)
    assert set(refused) == set(play.bad)
    for epoch, member in judgement.refusals:
        assert member in refused[epoch]
    assert {epoch for epoch, _ in judgement.refusals} == set(play.bad)


def run(folder: Path, models: StreamModels, *, rate: float, spacing: float, rounds: int, kill_s: float) -> None:
    """Plays rounds of ten events with kills and outages of the broker, and judges the results.

    Args:
        folder: of logs.
        models: makes the Models.
        rate: records per second.
        spacing: seconds between two events.
        rounds: each of ten events: five good ones, of them a rollback, a repeated one, an older one and three bad ones.
        kill_s: seconds between two kills.
    """
    play = Play({}, {})
    first = models.event("c0", 1, bias=1.5)
    play.good[1] = first
    sequence: list[ModelEvent] = []
    epoch, last = 1, first
    for turn in range(rounds):
        good = models.event(f"c{turn + 1}", epoch + 2, bias=2.0 + turn)
        wrong = models.wrong(f"w{turn}", epoch + 3)
        half = models.half_copied(good, f"h{turn}", epoch + 4)
        back = rollback(last, epoch + 5)
        nan = models.nan(f"n{turn}", epoch + 6)
        again = models.event(f"d{turn + 1}", epoch + 7, bias=2.5 + turn)
        older = rollback(last, epoch + 1)
        sequence += [good, older, wrong, good, half, back, nan, again, back]
        play.good |= {each.epoch: each for each in (good, back, again)}
        play.bad |= {each.epoch: each for each in (wrong, half, nan)}
        epoch, last = epoch + 7, again
    with ExitStack() as stack:
        broker = stack.enter_context(broker_in_memory(proxy=True))
        broker.topics(**TOPICS)
        group = Group(broker, folder, APP)
        judgement = Judgement(group, stack.enter_context(broker.reading("predictions", "alarms")))

        def announce(event: ModelEvent) -> None:
            judgement.wait()
            broker.send("models", event.encode())
            if event in play.bad.values():
                judgement.refused(event.epoch)
            elif event in play.good.values():
                judgement.used(event.epoch)

        def kill() -> None:
            if judgement.alone:
                judgement.wait()
            group.kill()

        def outage() -> None:
            broker.cut()
            time.sleep(1.5)
            broker.restore()

        try:
            announce(first)
            for _ in range(3 if rounds > 1 else 2):
                group.start()
            group.wait_ready(len(group.members))
            records = Records(broker, rows(), rate)
            records.start()
            length = spacing * (len(sequence) + 1)
            actions: list[tuple[float, Callable[[], object]]] = [
                (spacing * (at + 1), lambda event=event: announce(event))  # type: ignore[misc]
                for at, event in enumerate(sequence)
            ]
            kills = int(length / kill_s)
            actions += [(kill_s * (at + 0.6), kill) for at in range(kills)]
            # When a good event is repeated: a bad one would be overtaken before it is read.
            actions += [(length * (at + 0.41) / rounds, outage) for at in range(rounds)]
            Timeline(actions).run()
            judgement.wait()
            assert group.kills >= rounds
            group.wait_ready(2)
            sent = records.stop()
            judge(broker, group, play, judgement, sent, 600)
        finally:
            group.destroy()


def test_a_minute_of_chaos(tmp_path: Path, stream_models: StreamModels) -> None:
    executable()
    run(tmp_path, stream_models, rate=150, spacing=3.0, rounds=1, kill_s=14.0)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_minutes_of_chaos(tmp_path: Path, stream_models: StreamModels) -> None:
    executable()
    run(tmp_path, stream_models, rate=2000, spacing=20.0, rounds=3, kill_s=10.0)
