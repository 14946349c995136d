"""Schedules on Vertex AI: made, changed, paused and deleted; each run takes the data that is there then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import component_calls
from peers.pipeline_engine import Call, TaskFailed
from peers.pipeline_platforms import NATALITY, Platform, headrace

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.sources.open import data_version

CRON = ["--cron", "0 3 * * *", "--timezone", "Europe/Berlin"]


def scheduled(platform: Platform, *more: str) -> str:
    """Makes a schedule; its resource's name."""
    done = headrace("schedule", "set", platform.spec, *platform.options, *platform.inputs, *CRON, *more)
    assert (done.status, done.error) == (0, "")
    (name,) = [name for name in platform.server.vertex.resources if "/schedules/" in name]
    return str(name)


def fired(platform: Platform, schedule: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lets a schedule's time come, and its run end: the run's parameters, and the tasks that it has."""
    service = platform.server.vertex
    run = service.finish(service.fire(schedule))
    told = json.loads(type(run).to_json(run))
    dags = [component["dag"] for component in told["pipelineSpec"]["components"].values() if "dag" in component]
    tasks = {name: task for dag in dags for name, task in dag["tasks"].items()}
    return told["runtimeConfig"]["parameterValues"], tasks


def test_a_schedule_is_made_changed_paused_and_deleted(vertex: Platform) -> None:
    spec, options = vertex.spec, vertex.options
    made = headrace("schedule", "set", spec, *options, *vertex.inputs, *CRON)
    assert made.output == 'created: natality: active, "0 3 * * *" Europe/Berlin\n'
    (name,) = [name for name in vertex.server.vertex.resources if "/schedules/" in name]
    held = vertex.server.vertex.resources[name]
    assert (held.cron, held.max_concurrent_run_count) == ("TZ=Europe/Berlin 0 3 * * *", 1)
    changed = headrace("schedule", "set", spec, *options, *vertex.inputs, "--cron", "30 4 * * 1")
    assert changed.output == 'updated: natality: active, "30 4 * * 1" UTC\n'
    same = json.loads(
        headrace("schedule", "set", spec, *options, *vertex.inputs, "--cron", "30 4 * * 1", "--json").output
    )
    assert (same["name"], same["cron"], same["new"]) == ("natality", "30 4 * * 1", False)
    assert headrace("schedule", "pause", "natality", *options).output == "paused: natality\n"
    assert headrace("schedule", "list", *options).output == 'natality: paused, "30 4 * * 1" UTC\n'
    (told,) = json.loads(headrace("schedule", "list", *options, "--json").output)
    assert (told["name"], told["cron"]) == ("natality", "30 4 * * 1")
    assert headrace("schedule", "resume", "natality", *options).status == 0
    run = vertex.server.vertex.finish(vertex.server.vertex.fire(name))
    assert run.state.name == "PIPELINE_STATE_SUCCEEDED"
    assert dict(run.runtime_config.parameter_values)["run_id"] == "natality"
    assert headrace("schedule", "delete", "natality", *options).status == 0
    assert headrace("schedule", "list", *options).output == ""
    missing = headrace("schedule", "pause", "natality", *options)
    assert (missing.status, "the schedule does not exist" in missing.error) == (2, True)


def test_each_run_of_a_schedule_takes_the_data_that_is_there_then(
    vertex: Platform, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    from headrace.components.preprocess.component import preprocess
    from headrace.components.registry.vertex.component import resolve
    from headrace.components.summarize.component import summarize

    components = {"resolve": resolve, "preprocess": preprocess, "summarize": summarize}

    def runs(call: Call) -> dict[str, Any]:
        # Beam works in this process, not on the Dataflow that the spec names.
        call.parameters |= {"runner": ""} if call.task == "preprocess" else {}
        return component_calls.run(components[call.task], call, tmp_path)

    vertex.do.by_task = dict.fromkeys(components, runs)
    name = scheduled(vertex)
    lines = (NATALITY / "births.csv").read_bytes().splitlines(keepends=True)
    seen = []
    for rows in (90, 120):
        data = put("births.csv", b"".join(lines[: rows + 1]))
        parameters, tasks = fired(vertex, name)
        assert parameters["data_version"] == ""
        # What measures the data is never cached; by what it finds, the cache knows what follows from the data. The
        # options of this spec keep preprocessing from the cache.
        named = ("resolve", "preprocess", "train", "evaluate")
        assert [tasks[task]["cachingOptions"] for task in named] == [{}, {}, *[{"enableCache": True}] * 2]
        version = data_version([data])
        given = {one.task: one.parameters for one in vertex.do.calls}
        assert [given[task]["attempt"] for task in named[1:]] == [version] * 3
        assert given["preprocess"]["data_version"] == version
        call = [call for call in vertex.do.calls if call.task == "preprocess"][-1]
        manifest = storage.read_json(f"{call.outputs['examples']['uri']}/manifest.json")
        summary = storage.read_json(f"{parameters['root']}/runs/natality/summary.json")
        step = summary["steps"][1]
        assert (step["status"], step["result"]["rows_in"], manifest["rows_in"]) == ("succeeded", rows, rows)
        assert summary["data_version"] == manifest["data_version"] == version
        assert manifest["identity"] == step["identity"]
        seen.append(manifest["identity"])
    assert seen[0] != seen[1]
    # What is killed leaves no record: the summary does not take the one of the run before.
    vertex.do.by_task["resolve"] = TaskFailed("The replica workerpool0-0 was lost")
    fired(vertex, name)
    summary = storage.read_json(f"{parameters['root']}/runs/natality/summary.json")
    assert (summary["status"], summary["data_version"]) == ("failed", "")
    assert {step["status"] for step in summary["steps"]} == {"skipped"}


def test_a_run_that_left_no_summary_is_not_told_by_that_of_the_run_before(
    vertex: Platform, write_summary: Callable[..., Any]
) -> None:
    name, service = scheduled(vertex), vertex.server.vertex
    vertex.on_end(write_summary("failed", error=DataError("no rows").to_json()))
    first = service.fire(name).rpartition("/")[2]
    assert headrace("status", first, *vertex.options, "--wait", "--poll-seconds", "0.01").status == 2
    vertex.on_end(lambda *_: None)
    vertex.do.by_task["preprocess"] = TaskFailed("The replica workerpool0-0 was lost")
    second = service.fire(name).rpartition("/")[2]
    done = headrace("status", second, *vertex.options, "--wait", "--poll-seconds", "0.01")
    assert (done.status, "preprocess failed" in done.error) == (75, True)


def test_without_the_cache_each_run_of_a_schedule_is_another_attempt(vertex: Platform, tmp_path: Path) -> None:
    from headrace.components.registry.vertex.component import resolve

    vertex.do.by_task["resolve"] = lambda call: component_calls.run(resolve, call, tmp_path)
    name = scheduled(vertex, "--no-cache")
    for _ in range(2):
        given, _ = fired(vertex, name)
        assert given["cache"] is False
    attempts = {task: [] for task in ("preprocess", "train", "evaluate")}
    for call in vertex.do.calls:
        attempts.get(call.task, []).append(call.parameters.get("attempt"))
    assert attempts["preprocess"] == attempts["train"] == attempts["evaluate"]
    assert len(set(attempts["preprocess"])) == 2


def test_a_schedule_of_batch_scoring_is_cached_by_the_data_that_is_there_then(
    vertex: Platform, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    from headrace.components.registry.vertex.component import champion
    from headrace.pipelines.compiler import compile_to

    vertex.server.be_asked_from_here()
    place = put("model/saved_model.pb", b"").rpartition("/")[0]
    vertex.server.upload(place, model_id="natality", versionAliases=["champion"])
    vertex.spec = str(tmp_path / "batch.yaml")
    options = Path(__file__).parents[2] / "platforms" / "vertex.toml"
    compile_to("batch-scoring", "vertex", vertex.spec, options_file=str(options))
    vertex.do.by_task["champion"] = lambda call: component_calls.run(champion, call, tmp_path)
    name = scheduled(vertex)
    for rows in (b"a\n1\n", b"a\n1\n2\n"):
        data = put("births.csv", rows)
        given, tasks = fired(vertex, name)
        assert given["data_version"] == ""
        assert [tasks[task]["cachingOptions"] for task in ("champion", "score")] == [{}, {"enableCache": True}]
        call = [call for call in vertex.do.calls if call.task == "score"][-1]
        assert call.parameters["data_version"] == data_version([data])


def test_a_schedule_of_one_version_of_the_data_repeats_it(vertex: Platform) -> None:
    given, tasks = fired(vertex, scheduled(vertex, "--data-version", "2026-11-21"))
    assert given["data_version"] == "2026-11-21"
    assert tasks["train"]["cachingOptions"] == {"enableCache": True}


def test_a_lost_answer_makes_no_second_schedule(vertex: Platform) -> None:
    vertex.server.fail(r"POST .*/schedules$", 0, after=True)
    done = headrace("schedule", "set", vertex.spec, *vertex.options, *vertex.inputs, *CRON)
    assert (done.status, len([n for n in vertex.server.vertex.resources if "/schedules/" in n])) == (0, 1)


def test_an_operation_that_fails_late_is_the_platforms_fault(vertex: Platform) -> None:
    scheduled(vertex)
    vertex.server.vertex.failing_operations += ["the schedule is busy"] * 100
    done = headrace("schedule", "delete", "natality", *vertex.options)
    assert (done.status, "the schedule is busy" in done.error) == (75, True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--cron", "0 3 * *"], "five fields"),
        (["--cron", "0 3 * * *", "--timezone", "Mars/Olympus"], "the time zone does not exist"),
    ],
)
def test_wrong_times_are_refused(vertex: Platform, more: list[str], said: str) -> None:
    done = headrace("schedule", "set", vertex.spec, *vertex.options, *vertex.inputs, *more)
    assert (done.status, said in done.error, vertex.server.requests) == (2, True, [])
