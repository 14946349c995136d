"""50 triggers at once, of four kinds, on Cloud Storage: one data version and one run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.id_tokens import TokenIssuer, key_server
from support.trigger_service import TriggerService
from support.triggered import StoredRuns, settings_below

from headrace.core import storage
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick
from headrace.pipelines.triggers.closing import ClosingRule
from headrace.pipelines.triggers.service.login import Login
from headrace.pipelines.triggers.storage_event import FINALIZED, StorageTrigger, handle
from headrace.pipelines.triggers.watch import WatchConfig, Watcher

TRIGGERS = 50
Put = Callable[[str, bytes], str]


@pytest.fixture
def service(bucket: str) -> Iterator[tuple[TriggerService, dict[str, str]]]:
    issuer = TokenIssuer()
    with key_server(issuer) as issuers:
        login = Login("https://trigger", ["ann@example.com"], issuers=issuers)
        found = TriggerService(settings_below(f"gs://{bucket}/first"), StoredRuns(""), login, [f"gs://{bucket}"])
        yield found, {"authorization": f"Bearer {issuer.token(exp=4_000_000_000)}"}
        found.stop()


def check_trial(
    number: int, bucket: str, put: Put, service: TriggerService, headers: dict[str, str], pool: ThreadPoolExecutor
) -> None:
    """One span, and 50 triggers at once that come to know of it."""
    root, spans = f"gs://{bucket}/root", f"gs://{bucket}/in"
    settings: DynamicSettings = settings_below(root)
    runs = StoredRuns(f"{root}/started")
    service.settings, service.runs = settings, runs
    names = [f"in/2026-11-20/{name}" for name in ("a.csv", "b.csv", "_SUCCESS")]
    for name in names:
        put(name, f"a\n{number}\n".encode())
    rule, said = ClosingRule.parse("marker"), list[str]()
    options = StorageTrigger(settings.uri, spans, rule)
    data = {"data": f"{spans}/2026-11-20", "span": "2026-11-20"}

    def watch(_: int) -> None:
        watcher = Watcher(WatchConfig(spans, rule), lambda: settings, said.append, runs=runs)
        watcher.look()
        assert watcher.exit_status == 0, said

    def event(each: int) -> None:
        content = {"bucket": bucket, "name": names[each % 3]}
        handle(options, settings, FINALIZED, str(each), content, datetime.now(UTC), runs=runs)

    def request(_: int) -> None:
        status, answer = service.post(data, headers)
        assert (status, answer["run"]["epoch"], answer["run"]["attempt"]) == (202, 1, 1), answer

    def schedule(_: int) -> None:
        tick(settings, datetime.now(UTC), runs=runs)

    together = threading.Barrier(TRIGGERS)

    def trigger(each: int, kind: Callable[[int], None]) -> None:
        together.wait(600)
        kind(each)

    kinds = itertools.cycle((watch, event, request, schedule))
    for done in [pool.submit(trigger, each, next(kinds)) for each in range(TRIGGERS)]:
        done.result(800)
    # What was waiting would start now.
    tick(settings, datetime.now(UTC), runs=runs)
    state = settings.ledger.state()
    assert state.run is not None
    assert runs.started == [state.run.id]
    assert settings.ledger.inbox.versions() == list(state.run.versions)
    assert (len(state.run.versions), state.run.fence, state.failure) == (1, (1, 1), None)
    # The next trial begins anew. The emulator walks through all that it has, and had, for each list.
    for uri in (root, spans):
        storage.remove(uri)


@pytest.mark.parametrize("trials", [2, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(14_400)])])
def test_triggers_of_four_kinds_at_once_are_one_run(
    bucket: str, put: Put, service: tuple[TriggerService, dict[str, str]], trials: int, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(TRIGGERS) as pool:
        for number in range(trials):
            check_trial(number, bucket, put, *service, pool)
