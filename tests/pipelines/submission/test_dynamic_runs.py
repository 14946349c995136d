"""Dynamic training on both platforms: a tick starts the run that is due, once, and finds out what became of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from peers.pipeline_engine import TaskFailed
from peers.pipeline_platforms import NATALITY, Platform, headrace

from headrace.core.ledger.state import LedgerRun
from headrace.pipelines.dynamic.drive import utc_now
from headrace.pipelines.dynamic.settings import DynamicSettings, read
from headrace.pipelines.dynamic.tick import tick as pump

OPTIONS = Path(__file__).parents[1] / "platforms"
CHAIN = ["claim", "ingest", "lineage", "train", "evaluate", "register", "deploy", "announce"]


@pytest.fixture
def settings(platform: Platform, bucket: str, put: Callable[[str, bytes], str]) -> DynamicSettings:
    """A dynamic training on the platform, with a span that arrived."""
    root = f"gs://{bucket}/headrace"
    options = ["--options", str(OPTIONS / f"{platform.name}.toml"), *platform.options]
    made = headrace("dynamic", "init", "--problem", str(NATALITY / "natality.py"), "--root", root, *options)
    assert made.status == 0, made.error
    data = put("births-1.csv", (NATALITY / "births.csv").read_bytes())
    added = headrace("dynamic", "add", root, "--span", "2026-01-01", "--data", data)
    assert added.status == 0, added.error
    return read(root)


def tick(settings: DynamicSettings) -> str:
    """What `headrace tick` did."""
    done = headrace("tick", settings.root)
    assert done.status == 0, done.error
    return done.output.partition(":")[0]


def under_way(settings: DynamicSettings) -> LedgerRun:
    run = settings.ledger.state().run
    assert run is not None
    return run


def play(platform: Platform, settings: DynamicSettings) -> None:
    """Lets the platform work until its run has ended."""
    while tick(settings) == "running":
        pass


def claim(settings: DynamicSettings, call: Any) -> dict[str, Any]:
    """What the task `claim` does: the ledger is real."""
    given = call.parameters
    run = settings.ledger.claim(given["run_id"], given["holder"])
    assert given["ledger"] == settings.folder
    held = {"ledger": given["ledger"], "run_id": run.id, "holder": given["holder"], "epoch": run.epoch}
    base = {"champion": "", "changes": 0, "from_scratch": False}
    return {"Output": True, "claim": held, "arrivals": [], "champion": "", "base": base, "withdrawn": [], "attempt": ""}


def conclude(settings: DynamicSettings, call: Any) -> dict[str, Any]:
    """What the exit task does of a run that ended well."""
    settings.ledger.end(call.parameters["run_id"], 1, "promoted", model="v1")
    return {}


def test_one_run_is_submitted_and_found_ended(platform: Platform, settings: DynamicSettings) -> None:
    answers = platform.do.by_task
    answers["claim"] = lambda call: claim(settings, call)
    answers["conclude"] = lambda call: conclude(settings, call)
    assert tick(settings) == "started"
    run = under_way(settings)
    assert len(platform.made) == 1
    # However often it is called, by however many.
    assert [tick(settings) for _ in range(3)] == ["running"] * 3
    assert len(platform.made) == 1
    play(platform, settings)
    state = settings.ledger.state()
    assert (state.run, state.epoch, [ending.outcome for ending in state.history]) == (None, 1, ["promoted"])
    assert tick(settings) == "idle"
    calls = [call.task for call in platform.do.calls]
    assert calls == [*CHAIN, "conclude"]
    told = {call.task: call.parameters for call in platform.do.calls}
    assert told["claim"]["run_id"] == run.id == told["conclude"]["run_id"]
    # The platform's execution, and no parameter, which a clone has as well.
    assert told["claim"]["holder"] == told["conclude"]["holder"]
    for task in ("register", "deploy", "announce"):
        assert told[task]["claim"]["run_id"] == run.id


def test_a_run_that_failed_is_tried_again_under_another_name(platform: Platform, settings: DynamicSettings) -> None:
    platform.do.by_task["claim"] = TaskFailed("killed")
    assert tick(settings) == "started"
    first = under_way(settings)
    play(platform, settings)
    assert settings.ledger.state().failure is not None
    assert tick(settings) == "waiting"
    assert len(platform.made) == 1
    # The next attempt is due later, and is another run of the platform.
    later = utc_now() + timedelta(hours=1)
    platform.do.by_task.clear()
    pumped = pump(settings, later)
    assert (pumped.did, len(platform.made)) == ("started", 2)
    second = under_way(settings)
    assert (first.fence, second.fence, first.versions == second.versions) == ((1, 1), (1, 2), True)
    assert first.id != second.id


def test_settings_hold_what_a_trigger_needs(platform: Platform, settings: DynamicSettings) -> None:
    assert settings.place is not None
    assert settings.place.options_file.startswith(settings.folder)
    assert read(settings.folder) == settings
    again = headrace(
        "dynamic", "init", "--problem", str(NATALITY / "natality.py"), "--root", settings.root, "--last-spans", "3",
        "--options", str(OPTIONS / f"{platform.name}.toml"), *platform.options,
    )  # fmt: skip
    assert again.status == 2
    assert "--replace changes its settings" in again.error
