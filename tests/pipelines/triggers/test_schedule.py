"""The schedule of a training on Vertex AI and Kubeflow, whose runs call the tick; and the line for cron."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from peers import component_calls
from peers.kubeflow_pipelines import kubeflow_pipelines
from peers.pipeline_engine import Call
from peers.vertex.pipeline_jobs import Pipelines
from peers.vertex.server import serving
from support.command import headrace
from support.compiled_spec import tasks
from support.triggered import settings_below

from headrace.components.tick import command, step
from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.pipelines.compiler import compile_to
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.submission.place import PlatformLocation
from headrace.pipelines.triggers.schedule import put_schedule

__all__ = ["kubeflow_pipelines"]
PLATFORMS = Path(__file__).parents[1] / "platforms"


def settings_of(bucket: str, place: PlatformLocation) -> DynamicSettings:
    """Settings of a training on a platform, written below a root."""
    platform: Any = place.platform
    found = settings_below(f"gs://{bucket}/root")
    options = f"{found.folder}/options.toml"
    storage.write_bytes(options, (PLATFORMS / f"{platform}.toml").read_bytes())
    found = replace(found, platform=platform, place=replace(place, options_file=options))
    found.write(replace=True)
    return found


@pytest.mark.parametrize("platform", ["local", "vertex", "kubeflow"])
def test_the_pipeline_is_one_task_that_is_never_cached(platform: str, tmp_path: Path) -> None:
    path = tmp_path / "tick.yaml"
    options = "" if platform == "local" else str(PLATFORMS / f"{platform}.toml")
    compile_to("dynamic-tick", platform, str(path), options_file=options)
    spec = next(iter(yaml.safe_load_all(path.read_text())))
    assert list(tasks(spec)) == ["tick"]
    assert not spec["root"]["dag"]["tasks"]["tick"]["cachingOptions"].get("enableCache", False)
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"ledger", "request"}


def test_a_schedule_of_vertex_calls_the_tick(
    bucket: str, put: Callable[[str, bytes], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.components.tick.component import tick

    calls: list[tuple[str, ...]] = []

    def called(*words: str) -> str:
        calls.append(words)
        return ""

    def runs(call: Call) -> dict[str, Any]:
        return component_calls.run(tick, call, tmp_path)

    monkeypatch.setattr(step, "headrace", called)
    with serving() as server:
        server.vertex = Pipelines(work=server.vertex.work)
        server.vertex.do.by_task = {"tick": runs}
        place = PlatformLocation("vertex", project="demo-project", location="us-central1", api_endpoint=server.url)
        settings = settings_of(bucket, place)
        words = ["trigger", "schedule", "--settings", settings.root, "--cron", "*/10 * * * *"]
        done = headrace(*words)
        assert done.stdout == 'created: flights-tick: active, "*/10 * * * *" UTC\n', done.stderr
        done = headrace(*words, "--request", "--timezone", "Europe/Berlin")
        assert done.stdout == 'updated: flights-tick: active, "*/10 * * * *" Europe/Berlin\n', done.stderr
        told = json.loads(headrace(*words, "--request", "--timezone", "Europe/Berlin", "--json").stdout)
        assert (told["name"], told["timezone"], told["new"]) == ("flights-tick", "Europe/Berlin", False)
        (name,) = [name for name in server.vertex.resources if "/schedules/" in name]
        assert server.vertex.resources[name].max_concurrent_run_count == 1
        run = server.vertex.finish(server.vertex.fire(name))
    assert run.state.name == "PIPELINE_STATE_SUCCEEDED"
    assert calls == [("dynamic", "request", settings.folder), ("tick", settings.folder)]


def test_a_recurring_run_of_kubeflow_has_the_tick(
    bucket: str, put: Callable[[str, bytes], str], kubeflow_pipelines: Any
) -> None:
    settings = settings_of(bucket, PlatformLocation("kubeflow", kubeflow_url=kubeflow_pipelines.url))
    made, new = put_schedule(settings, "0 3 * * *", "UTC")
    assert (made.name, made.state, new) == ("flights-tick", "active", True)
    (held,) = kubeflow_pipelines.recurring_runs.values()
    assert dict(held.runtime_config.parameters) == {"ledger": settings.folder, "request": False}
    assert (held.max_concurrency, held.no_catchup) == ("1", True)


def test_a_training_on_this_machine_has_cron(tmp_path: Path) -> None:
    settings = settings_below(tmp_path / "100% here")
    with pytest.raises(UsageError, match="a training on this machine has no schedule of a platform"):
        put_schedule(settings, "0 3 * * *", "UTC")
    done = headrace("trigger", "cron", "--settings", settings.root, "--request")
    (line,) = done.stdout.splitlines()
    times, _, call = line.partition(" (")
    assert times == "*/10 * * * *"
    # As cron hands it to the shell.
    assert "\\%" in call
    shell = "echo() { printf '%s\\n' \"$*\"; }; logger() { cat; }; (" + call.replace("\\%", "%").replace(
        "-m headrace ", "-c 'import sys; print(sys.argv[1:])' "
    )
    printed = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    folder = f"{tmp_path}/100% here/dynamic/flights"
    assert printed.splitlines() == [str(["dynamic", "request", folder]), str(["tick", folder])]
    wrong = headrace("trigger", "cron", "--settings", settings.root, "--cron", "hourly")
    assert (wrong.returncode, "the cron expression is not valid" in wrong.stderr) == (2, True)


def test_a_tick_that_fails_fails_as_the_command_does(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the tick failed") as raised:
        command.headrace("trigger", "cron", "--settings", str(tmp_path))
    assert "the root has no dynamic training" in str(raised.value.received)


@pytest.mark.parametrize("status", [1, 75])
def test_a_tick_that_failed_otherwise_may_succeed_later(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    failed = subprocess.CompletedProcess([], status, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(PlatformError, match=f"the tick failed. Received: exit status {status}"):
        command.headrace("tick", "x")
