"""`headrace submit`, `status` and `cancel`, the same on both platforms: one run, its progress, its end, its faults."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from peers.pipeline_engine import TaskFailed
from peers.pipeline_platforms import NATALITY, Platform, headrace

from headrace.core.errors import UsageError

SUCCEEDS = {"evaluate": {"Output": True}}
REFUSED = {"evaluate": {"Output": False}}


def run_id(output: str) -> str:
    found = re.match(r"(natality-[0-9a-f]{12}(-\d+)?): ", output)
    assert found is not None
    return found[1]


def test_a_run_is_submitted_followed_and_done(platform: Platform) -> None:
    done = platform.submit("--wait")
    assert (done.status, done.error) == (0, "")
    name = run_id(done.output)
    assert done.output.splitlines()[0] == f"{name}: submitted to {platform.name}"
    shown = [line for line in done.output.splitlines() if re.match(r"[a-z]+ +(\.\.\.|[0-9.]+ s)", line)]
    tasks = ["resolve", "preprocess", "train", "evaluate", "register", "deploy", "summarize"]
    assert [line.split()[0] for line in shown] == [name for task in tasks for name in (task, task)]
    call = next(call for call in platform.do.calls if call.task == "preprocess")
    problem = call.parameters["problem"]
    # The same for each task, whatever is edited: by its own digest it finds its file.
    assert re.fullmatch(r"gs://headrace-\d+/headrace/problems/\{digest\}\.json", problem)
    assert len(call.parameters["data_version"]) == 64
    last = platform.do.calls[-1].parameters
    assert (last["run_id"], last["pipeline"]) == (name, "static-training")
    if platform.name == "vertex":
        assert last["registry"] == "projects/demo-project/locations/us-central1/models/natality"
        assert last["endpoint"] == "projects/demo-project/locations/us-central1/endpoints/natality"
    else:
        assert last["endpoint"] == "kserve://kubeflow/natality"


def test_json_has_the_run_and_its_summary(platform: Platform, write_summary: Callable[..., Any]) -> None:
    first, again = (json.loads(platform.submit("--json").stdout) for _ in range(2))
    assert (first["new"], again["new"], again["run_id"]) == (True, False, first["run_id"])
    platform.on_end(write_summary("succeeded", []))
    done = platform.submit("--wait", "--json")
    ended = json.loads(done.stdout)
    assert (done.status, ended["run_id"], ended["state"]) == (0, first["run_id"], "succeeded")
    assert {task["name"]: task["state"] for task in ended["tasks"]}["train"] == "succeeded"
    assert ended["summary"]["status"] == "succeeded"
    waited = headrace("status", first["run_id"], *platform.options, "--wait", "--json")
    assert json.loads(waited.stdout) == ended
    cancelled = json.loads(headrace("cancel", first["run_id"], *platform.options, "--json").stdout)
    assert (cancelled["state"], cancelled["record"]) == ("succeeded", None)


def test_batch_scoring_is_told_where_all_is(platform: Platform, tmp_path: Path) -> None:
    from headrace.pipelines.compiler import compile_to

    platform.spec = str(tmp_path / "batch.yaml")
    options = Path(__file__).parents[1] / "platforms" / f"{platform.name}.toml"
    compile_to("batch-scoring", platform.name, platform.spec, options_file=str(options))
    told = json.loads(platform.submit("--dry-run").output)["parameters"]
    root = told["root"]
    registry = "projects/demo-project/locations/us-central1/models/natality"
    assert (told["problem"], told["destination"]) == ("natality", f"{root}/predictions/natality")
    assert told["registry"] == (registry if platform.name == "vertex" else f"{root}/registry/natality")
    # The place that training deploys to is none that rows are scored by.
    assert "endpoint" not in told


def test_what_was_submitted_is_a_problem_file_that_loads(platform: Platform) -> None:
    from headrace.core.problem.file import ProblemPart, load_problem

    assert platform.submit("--wait").status == 0
    parts: dict[str, ProblemPart] = {"preprocess": "schema", "train": "training", "evaluate": "evaluation"}
    given = {call.task: call.parameters for call in platform.do.calls}
    for task, part in parts.items():
        file = load_problem(given[task]["problem"], digest=given[task][f"{part}_digest"], part=part)
        assert re.fullmatch(r"gs://headrace-\d+/headrace/problems/[0-9a-f]{16}/natality\.py", file.path)
        assert file.problem.name == "natality"


def test_the_same_submission_is_the_same_run(platform: Platform) -> None:
    first, second = platform.submit(), platform.submit()
    assert run_id(first.output) == run_id(second.output)
    assert re.search(rf": already on {platform.name}, (waiting|running)\n", second.output)
    other = platform.submit("--parameter", 'training={"max_hours": 1}')
    assert run_id(other.output) != run_id(first.output)
    assert len(platform.made) == 2
    ended = platform.submit("--wait")
    assert (ended.status, run_id(ended.output)) == (0, run_id(first.output))
    assert platform.submit("--wait").output.splitlines()[0].endswith(f"already on {platform.name}, succeeded")
    assert len(platform.made) == 2


def test_other_data_is_another_run(platform: Platform, put: Callable[[str, bytes], str]) -> None:
    first = run_id(platform.submit().output)
    lines = (NATALITY / "births.csv").read_bytes().splitlines(keepends=True)
    put("births.csv", b"".join(lines[:-1]))
    assert run_id(platform.submit().output) != first


def test_the_gate_refuses(platform: Platform) -> None:
    platform.do.by_task = dict(REFUSED)
    done = platform.submit("--wait")
    assert (done.status, "the gate refused the model, and nothing was deployed" in done.error) == (3, True)
    assert "register" not in [call.task for call in platform.do.calls]
    # It would end the same: it is not a second run.
    again = platform.submit("--wait")
    assert (again.status, len(platform.made)) == (3, 1)


def test_the_summary_says_why_the_gate_refused(platform: Platform, write_summary: Callable[..., Any]) -> None:
    platform.do.by_task = dict(REFUSED)
    evaluated = {
        "blessed": False,
        "rows": 150,
        "gate": {"metric": "root_mean_squared_error", "at_most": 1.2},
        "metrics": {"root_mean_squared_error": {"value": 1.5, "low": 1.4, "high": 1.6}},
        "baseline": {},
        "checks": [{"where": "all rows", "passed": False}, {"where": "plurality=1", "passed": True}],
        "reasons": ["root_mean_squared_error is 1.5, and may be 1.2 at most", "fine"],
    }
    steps = [{"step": "evaluate", "status": "succeeded", "result": evaluated, "error": None}]
    platform.on_end(write_summary("refused", steps))
    done = platform.submit("--wait")
    assert done.status == 3
    assert "(1 of 2 checks failed)" in done.error
    assert "root_mean_squared_error is 1.5, and may be 1.2 at most" in done.output


@pytest.mark.parametrize(
    ("of_service", "printed", "exited", "status"),
    [
        ("exited with a non-zero status of 2.", "no such column", 2, 2),
        ("exited with a non-zero status of 75.", "preempted", 75, 75),
        ("The replica ran out of memory", "exit status 137", 137, 75),
        # What the process printed about another one is no status of its own.
        ("The replica was lost; exit code 2", "bq: Error (exit code 2)", None, 75),
        ("exited with a non-zero status of 1. exit status 2", "child: exit status 2", 1, 75),
        ("exited with a non-zero status of 2. exit code 75", "retry after exit code 75", 2, 2),
    ],
)
def test_a_task_that_fails_says_which_and_exits_as_it_did(
    platform: Platform, of_service: str, printed: str, exited: int | None, status: int
) -> None:
    message = {"vertex": of_service, "kubeflow": printed}[platform.name]
    platform.do.by_task = {"preprocess": TaskFailed(message, status=exited)}
    done = platform.submit("--wait")
    assert done.status == status
    assert "preprocess failed" in done.error
    assert f"Received: {message.rstrip('.')}." in done.error
    assert re.search(r"headrace logs natality-[0-9a-f]{12} --platform \w+ .* --task preprocess", done.error)
    assert "preprocess  failed after" in done.output
    # The exit task ran, whatever happened.
    assert [call.task for call in platform.do.calls] == ["resolve", "preprocess", "summarize"]


def test_the_summary_tells_the_user_of_the_mistake(platform: Platform, write_summary: Callable[..., Any]) -> None:
    from headrace.core.errors import DataError

    error = DataError("a row has too few fields", where="births.csv, row 7", fix="Mend the row")
    platform.do.by_task = {"preprocess": TaskFailed("failed")}
    platform.on_end(write_summary("failed", error=error.to_json()))
    done = platform.submit("--wait")
    assert (done.status, done.error) == (2, error.text)


def test_a_run_that_failed_is_tried_again_and_takes_what_had_finished_from_the_cache(platform: Platform) -> None:
    platform.do.by_task = {"train": TaskFailed("preempted")}
    first = platform.submit("--wait")
    assert first.status == 75
    platform.do.by_task = {"preprocess": {"cached": True}}
    again = platform.submit("--wait")
    assert (again.status, run_id(again.output)) == (0, f"{run_id(first.output)}-2")
    # It is the same run to all that its tasks write.
    assert platform.do.calls[-1].parameters["run_id"] == run_id(first.output)
    if platform.name == "vertex":
        assert "preprocess  already done, cached" in again.output
    assert run_id(platform.submit().output) == f"{run_id(first.output)}-2"


@pytest.mark.parametrize("code", [429, 500, 503, 0])
def test_a_request_that_fails_is_asked_again(platform: Platform, code: int, clock: list[float]) -> None:
    platform.server.fail(platform.create, code, times=2)
    platform.server.fail(platform.get, code, times=2)
    done = platform.submit("--wait")
    assert (done.status, len(clock) >= 2) == (0, True)
    assert len(runs(platform)) == 1


@pytest.mark.parametrize("code", [500, 0])
def test_an_answer_that_is_lost_makes_no_second_run(platform: Platform, code: int) -> None:
    platform.server.fail(platform.create, code, after=True)
    done = platform.submit("--wait")
    assert done.status == 0
    assert len(runs(platform)) == 1
    assert [call.task for call in platform.do.calls].count("preprocess") == 1


def test_a_platform_that_stays_down_ends_with_75(platform: Platform, clock: list[float]) -> None:
    platform.server.fail(platform.create, 503, times=1000)
    done = platform.submit()
    assert (done.status, runs(platform)) == (75, [])
    assert "failed or did not respond" in done.error
    assert 100 < sum(clock) <= 180


def test_a_run_that_is_cancelled_half_way_leaves_a_record(platform: Platform, bucket: str) -> None:
    from headrace.core import storage

    name = run_id(platform.submit().output)

    # Each look takes the run on by a step: the next one, by the command itself, starts the training.
    while state_of(platform, name, "condition-2") != "running":
        pass
    told = headrace("cancel", name, *platform.options, "--poll-seconds", "0.01")
    assert told.status == 0
    assert told.output.splitlines()[0] == f"{name}: cancelling"
    assert f"{name}: cancelled, recorded in gs://{bucket}/headrace/runs/{name}/{name}.cancelled.json" in told.output
    kept = storage.read_json(f"gs://{bucket}/headrace/runs/{name}/{name}.cancelled.json")
    states = {task["name"]: task["state"] for task in kept["tasks"]}
    assert states["preprocess"] == "succeeded"
    assert states["train"] == "cancelled"
    assert "deploy" not in [call.task for call in platform.do.calls]
    waiting = headrace("status", name, *platform.options, "--wait")
    assert (waiting.status, "the run was cancelled" in waiting.error) == (75, True)
    again = headrace("cancel", name, *platform.options)
    assert again.output == f"{name}: has already ended, cancelled\n"
    assert run_id(platform.submit().output) == f"{name}-2"


@pytest.mark.parametrize(("code", "after"), [(503, False), (0, True)])
def test_a_cancellation_whose_answer_fails_is_asked_for_again(platform: Platform, code: int, after: bool) -> None:
    name = run_id(platform.submit().output)
    platform.server.fail(r"POST .*:(cancel|terminate)$", code, after=after)
    told = headrace("cancel", name, *platform.options, "--poll-seconds", "0.01", "--json")
    assert (told.status, told.output.splitlines()[0]) == (0, f"{name}: cancelling")
    ended = json.loads(told.stdout)
    assert (ended["state"], ended["record"].endswith(f"/{name}.cancelled.json")) == ("cancelled", True)


def test_status_shows_runs_and_tasks(platform: Platform) -> None:
    assert headrace("status", *platform.options).output == f"no runs on {platform.name}\n"
    platform.do.by_task = {"train": TaskFailed("out of memory")}
    name = run_id(platform.submit("--wait").output)
    line, *_ = headrace("status", *platform.options).output.splitlines()
    assert re.match(rf"{name} +failed +20\d\d-", line)
    told = headrace("status", name, *platform.options).output
    assert re.search(r"\n  preprocess +succeeded", told)
    assert re.search(r"\n  train +failed +\d+ s  out of memory", told)
    assert re.search(r"\n  evaluate +not run", told)
    as_json = json.loads(headrace("status", name, *platform.options, "--json").output)
    assert (as_json["run_id"], as_json["state"], as_json["parameters"]["run_id"]) == (name, "failed", name)
    missing = headrace("status", "natality-none", *platform.options)
    assert (missing.status, "the run does not exist" in missing.error) == (2, True)


def test_logs_of_a_run_and_of_a_task(platform: Platform) -> None:
    name = run_id(platform.submit("--wait").output)
    _write_logs(platform, name)
    everything = headrace("logs", name, *platform.options)
    # Kubeflow's API server has the logs of pods one by one, and what it does not have is said.
    missing = "WARNING the API server has no log of this task"
    assert [line for line in everything.output.splitlines() if missing not in line] == [
        "2026-01-01T00:00:01Z preprocess: preprocess started",
        "2026-01-01T00:00:02Z preprocess: WARNING one row is odd",
        "2026-01-01T00:00:03Z train: epoch 1",
    ]
    one = headrace("logs", name, *platform.options, "--task", "train")
    assert one.output.splitlines() == ["2026-01-01T00:00:03Z train: epoch 1"]
    wrong = headrace("logs", name, *platform.options, "--task", "trian")
    assert (wrong.status, "train" in wrong.error) == (2, True)


def _write_logs(platform: Platform, name: str) -> None:
    lines = {
        "preprocess": [("INFO", "01", "preprocess started"), ("WARNING", "02", "one row is odd")],
        "train": [("INFO", "03", "epoch 1")],
    }
    for task, said in lines.items():
        if platform.name == "vertex":
            from peers.vertex.pipeline_jobs import job_id

            platform.server.vertex.log += [
                {
                    "timestamp": f"2026-01-01T00:00:{second}Z",
                    "severity": severity,
                    "jsonPayload": {"message": text},
                    "resource": {"type": "ml_job", "labels": {"job_id": job_id(task)}},
                }
                for severity, second, text in said
            ]
        else:
            reference = next(iter(platform.server.runs))
            platform.server.pod_logs[platform.server.pod_name(reference, task)] = "\n".join(
                f"2026-01-01T00:00:{second}Z " + json.dumps({"severity": severity, "message": text, "headrace": {}})
                for severity, second, text in said
            )


def state_of(platform: Platform, name: str, task: str) -> str | None:
    told = json.loads(headrace("status", name, *platform.options, "--json").output)
    return next((one["state"] for one in told["tasks"] if one["name"] == task), None)


def runs(platform: Platform) -> list[str]:
    """The runs that are on the platform, and were not put away."""
    if platform.name == "vertex":
        return [name for name in platform.server.vertex.resources if "/pipelineJobs/" in name]
    return [name for name, run in platform.server.runs.items() if run.storage_state != "ARCHIVED"]


def test_a_notebook_submits_the_same_run(platform: Platform) -> None:
    """The function and the command make one run: each finds what the other has made."""
    from headrace import pipelines

    given = dict(zip(*[iter(platform.options)] * 2, strict=True))
    where = {
        name.lstrip("-").replace("-", "_"): value for name, value in given.items() if name not in ("--to", "--platform")
    }
    inputs = {name.lstrip("-"): value for name, value in zip(*[iter(platform.inputs)] * 2, strict=True)}
    run = pipelines.submit(platform.spec, platform.name, **inputs, **where)
    assert len(platform.made) == 1
    assert f"{run.run_id}: already on {platform.name}" in platform.submit().output
    assert len(platform.made) == 1


def test_a_notebook_is_told_what_is_wrong() -> None:
    from headrace import pipelines

    with pytest.raises(UsageError, match="vertex, kubeflow"):
        pipelines.submit("static.yaml", "airflow")
    with pytest.raises(UsageError, match="options_file, project, region"):
        pipelines.submit("static.yaml", "vertex", location="us-central1")


@pytest.mark.parametrize("more", [[], ["--no-cache"], ["--parameter", "data_version="], ["--cron", "0 3 * * *"]])
def test_what_was_compiled_is_what_is_sent(platform: Platform, more: list[str]) -> None:
    """Not a field is edited on the way, whatever the run is given."""
    if "--cron" in more:
        spec = [platform.spec, *platform.options, *platform.inputs, *more, "--no-cache"]
        assert headrace("schedule", "set", *spec).status == 0
    else:
        assert platform.submit(*more).status == 0
    pipeline, *platforms = yaml.safe_load_all(Path(platform.spec).read_text())
    assert platform.sent == {"pipeline_spec": pipeline, **({"platform_spec": platforms[0]} if platforms else {})}


def test_a_pipeline_of_the_users_own_is_not_edited_either(platform: Platform, tmp_path: Path) -> None:
    spec = yaml.safe_load(Path(platform.spec).read_text().split("\n---\n")[0])
    spec["root"]["inputDefinitions"]["parameters"].pop("cache")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(spec))
    platform.spec = str(tmp_path / "own.yaml")
    done = platform.submit("--no-cache")
    assert (done.status, "cannot be run without the cache" in done.error, platform.server.requests) == (2, True, [])
