"""Chaos for a group of stream scorers: processes that are killed, a broker that is cut off, all kinds of events."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.kafka import Broker

BATCH = 200
TOPICS = {"records": 6, "predictions": 3, "models": 1, "dead": 1, "alarms": 1}
Row = dict[str, Any]


@dataclass
class Member:
    """A scorer as a process.

    Attributes:
        process: of the command.
        ready_at: when it began to read records; None before.
        killed: whether it was killed.
    """

    process: subprocess.Popen[bytes]
    log: Path
    ready_at: float | None = None
    killed: bool = False

    @property
    def name(self) -> str:
        return f"-{self.process.pid}"

    def look(self) -> bool:
        """Whether it reads records."""
        if self.ready_at is None and "reading records" in self.log.read_text(errors="replace"):
            self.ready_at = time.monotonic()
        return self.ready_at is not None


class Group:
    """Members of a group, started, killed and ended.

    Args:
        broker: their broker.
        folder: of their logs.
        app: the application.
    """

    def __init__(self, broker: Broker, folder: Path, app: str) -> None:
        self.broker, self.folder, self.app = broker, folder, app
        self.members: list[Member] = []
        self.kills = 0

    @property
    def alive(self) -> list[Member]:
        return [member for member in self.members if not member.killed]

    def start(self) -> Member:
        log = self.folder / f"member-{len(self.members)}.log"
        options = {
            "--bootstrap": self.broker.bootstrap,
            "--group": "chaos",
            "--route": f"{self.app}=records:predictions",
            "--model-topic": "models",
            "--dead-letter-topic": "dead",
            "--alarm-topic": "alarms",
            "--without-model": "hold",
            "--port": "0",
            "--batch-records": str(BATCH),
        }
        properties = ("session.timeout.ms=10000", "heartbeat.interval.ms=1000", "socket.timeout.ms=10000")
        # A fetch has what the broker found within this time: on a busy machine, nothing, again and again.
        properties += ("fetch.wait.max.ms=1000",)
        command = [sys.executable, "-W", "ignore", "-m", "headrace.pipelines.cli", "stream", "kafka"]
        command += [text for option in options.items() for text in option]
        command += [text for one in properties for text in ("--property", one)]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        self.members.append(Member(process, log))
        return self.members[-1]

    def wait_ready(self, count: int, seconds: float = 600.0) -> None:
        """Waits until so many living members read records."""
        end = time.monotonic() + seconds
        while sum(member.look() for member in self.alive) < count:
            for member in self.alive:
                assert member.process.poll() is None, member.log.read_text()[-2000:]
            assert time.monotonic() < end, "members are not ready"
            time.sleep(0.1)

    def kill(self) -> None:
        """Kills the oldest member that reads records, if there are two, and starts another one."""
        reading = [member for member in self.alive if member.look()]
        if len(reading) < 2:
            return
        victim = reading[0]
        victim.process.kill()
        victim.process.wait()
        victim.killed = True
        self.kills += 1
        self.start()

    def end(self) -> list[int]:
        """Ends all members by SIGTERM, and returns their exit statuses."""
        for member in self.alive:
            member.process.terminate()
        return [member.process.wait(600) for member in self.alive]

    def destroy(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.process.kill()
                member.process.wait()


class Records(threading.Thread):
    """Sends records at a rate, each with an id of its own as its key, until it is stopped.

    Args:
        broker: it sends to.
        rows: sent in turn; the id says which row it was.
        rate: records per second.
    """

    def __init__(self, broker: Broker, rows: Sequence[Row], rate: float) -> None:
        super().__init__(daemon=True)
        self._broker, self._rows, self._rate = broker, rows, rate
        self._ended = threading.Event()
        self.sent = 0

    def run(self) -> None:
        producer = self._broker.producer(**{"enable.idempotence": True, "message.timeout.ms": 300_000})
        begin, numbers = time.monotonic(), itertools.count()
        while not self._ended.wait(0.05):
            for number in itertools.islice(numbers, max(0, int((time.monotonic() - begin) * self._rate) - self.sent)):
                row = self._rows[number % len(self._rows)]
                value = json.dumps({**row, "key": str(number)}).encode()
                producer.produce("records", value=value, key=str(number).encode())
                self.sent += 1
            producer.poll(0)
        assert producer.flush(600) == 0

    def stop(self) -> int:
        """Stops, and returns the number of records that the broker has."""
        self._ended.set()
        self.join()
        return self.sent


@dataclass
class Results:
    """What came out, by record.

    Attributes:
        predictions: version, epoch and prediction of each result of a record.
        letters: reasons of a record's dead letters.
        alarms: alarm events.
    """

    predictions: dict[int, list[tuple[str, int, float]]] = field(default_factory=dict)
    letters: dict[int, list[str]] = field(default_factory=dict)
    alarms: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> set[int]:
        return set(self.predictions) | set(self.letters)

    @property
    def duplicates(self) -> int:
        """Results beyond the first one of each record."""
        counts = Counter({key: len(found) for key, found in self.predictions.items()})
        counts.update({key: len(found) for key, found in self.letters.items()})
        return sum(counts.values()) - len(counts)

    def add(self, messages: Sequence[Any]) -> None:
        for message in messages:
            if message.topic() == "alarms":
                self.alarms.append(json.loads(message.value()))
            elif message.topic() == "dead":
                reason = next(value.decode() for name, value in message.headers() if name == "headrace-reason")
                self.letters.setdefault(int(message.key()), []).append(reason)
            else:
                row = json.loads(message.value())
                assert row["key"].encode() == message.key()
                found = (row["model_version"], row["model_epoch"], row["prediction"])
                self.predictions.setdefault(int(row["key"]), []).append(found)


def read_results(broker: Broker, wanted: int, seconds: float, stop: Callable[[], object]) -> Results:
    """Waits until every record has a result, or none has come for so many seconds, ends what makes them by `stop`, and
    reads all results."""
    results, end, done = Results(), time.monotonic() + seconds, 0
    topics = ("predictions", "dead", "alarms")
    with broker.reading(*topics) as read:
        while done < wanted and time.monotonic() < end:
            results.add(read(60.0))
            if len(results.done) > done:
                done, end = len(results.done), time.monotonic() + seconds
    # What the members had yet to deliver is a duplicate.
    stop()
    results = Results()
    with broker.reading(*topics) as read:
        results.add(read(seconds))
    return results


class Judgement:
    """Waits until a group has judged the event that was announced last, whatever time it needs for that.

    Args:
        group: of members.
        read: reads predictions and alarms, as of `Broker.reading`.

    Attributes:
        refusals: the epochs that members have refused, with the names of these members.
    """

    def __init__(self, group: Group, read: Callable[[float], list[Any]]) -> None:
        self._group, self._read = group, read
        self._results = Results()
        # The good epoch that is to be used, or the bad one with the members that are to refuse it.
        self._good = self._bad = 0
        self._judges: list[Member] = []
        self.refusals: list[tuple[int, str]] = []

    def used(self, epoch: int) -> None:
        """A good model is used: a slow member would skip it for one that came next."""
        self._good = epoch

    def refused(self, epoch: int) -> None:
        """A bad model is refused by each member that reads records now: a slow one would skip it, too."""
        self._bad, self._judges = epoch, [member for member in self._group.alive if member.look()]

    @property
    def alone(self) -> bool:
        """Whether the only member that is to refuse a model may still have to do so."""
        return sum(not member.killed for member in self._judges) == 1

    def wait(self, seconds: float = 600.0) -> None:
        """Waits for both."""
        end = time.monotonic() + seconds
        while not self._settled():
            for member in self._group.alive:
                assert member.process.poll() is None, member.log.read_text()[-2000:]
            assert time.monotonic() < end, [member.log.read_text()[-2000:] for member in self._group.alive]
            self._results.add(self._read(0.5))
        self.refusals += [(self._bad, member.name) for member in self._judges if not member.killed]
        self._good, self._judges = 0, []

    def _settled(self) -> bool:
        predicted = {epoch for found in self._results.predictions.values() for _, epoch, _ in found}
        refused = refusals(self._results.alarms).get(self._bad, set())
        judged = all(member.killed or member.name in refused for member in self._judges)
        return judged and (not self._good or self._good in predicted)


class Timeline:
    """Actions at their times, in seconds from the start.

    Args:
        actions: by time; several may have one time.
    """

    def __init__(self, actions: Sequence[tuple[float, Callable[[], object]]]) -> None:
        self._actions = sorted(actions, key=lambda each: each[0])

    def run(self) -> None:
        begin = time.monotonic()
        for at, action in self._actions:
            time.sleep(max(0.0, begin + at - time.monotonic()))
            action()


def refusals(alarms: Sequence[Mapping[str, Any]]) -> dict[int, set[str]]:
    """The process ids of the members that refused the model of an epoch, by epoch."""
    found: dict[int, set[str]] = {}
    for alarm in alarms:
        if alarm["alarm"] == "model_refused":
            found.setdefault(alarm["epoch"], set()).add("-" + alarm["member"].rpartition("-")[2])
    return found
