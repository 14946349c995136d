"""The exit task tells a run's steps apart: done now, taken from the cache, failed, or never reached."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.components.summarize import step as summarize
from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.sources.csv_dialect import options_of
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import ENGINE_RUN, ENGINE_SOURCE, record_uri, running
from headrace.core.steps.workspace import summary_uri

PROBLEM = str(Path(__file__).parents[3] / "examples" / "natality" / "natality.py")
NOW = 1_000.0


@pytest.fixture
def facts(tmp_path: Path) -> summarize.RunFacts:
    return summarize.RunFacts(
        pipeline="static-training",
        run_id="natality-1",
        job="pipelineJobs/1",
        started=NOW,
        problem=PROBLEM,
        problem_digest=load_problem(PROBLEM).digest,
        data="births.csv",
        data_version="v1",
        champion="",
        root=str(tmp_path),
        registry=str(tmp_path / "registry"),
        endpoint=str(tmp_path / "endpoint"),
    )


def identities(facts: summarize.RunFacts) -> dict[str, str]:
    """The identity of each step of a run."""
    file = load_problem(PROBLEM)
    examples = lineage.preprocess_identity(file, facts.data_version)
    model = lineage.train_identity(file, examples)
    return {
        "preprocess": examples,
        "train": model,
        "evaluate": lineage.evaluate_identity(file, examples, model, ""),
        "register": lineage.publish_identity("register", model, facts.registry),
        "deploy": lineage.publish_identity("deploy", model, facts.endpoint),
    }


def keep(
    facts: summarize.RunFacts, name: str, *, started: float, error: DataError | None = None, **result: Any
) -> None:
    identity = identities(facts)[name]
    storage.write_json(
        record_uri(facts.root, name, identity),
        {
            "step": name,
            "identity": identity,
            "status": "failed" if error else "succeeded",
            "started": started,
            "outputs": {},
            "result": result,
            "error": error.to_json() if error else None,
        },
    )


def summary(facts: summarize.RunFacts, *, engine_succeeded: bool = True) -> dict[str, Any]:
    summarize.run(facts, engine_succeeded=engine_succeeded)
    written: dict[str, Any] = storage.read_json(summary_uri(facts.root, facts.run_id))
    return written


def statuses(written: dict[str, Any]) -> list[str]:
    return [step["status"] for step in written["steps"]]


def test_a_run_that_succeeded(facts: summarize.RunFacts) -> None:
    for name in ("preprocess", "train"):
        keep(facts, name, started=NOW - 500)
    keep(facts, "evaluate", started=NOW + 1, blessed=True)
    for name in ("register", "deploy"):
        keep(facts, name, started=NOW + 2)
    written = summary(facts)
    assert written["status"] == "succeeded"
    assert statuses(written) == ["cached", "cached", "succeeded", "succeeded", "succeeded"]


def test_the_summary_names_its_run(facts: summarize.RunFacts) -> None:
    written = summary(dataclasses.replace(facts, job="natality-x7k2p", execution="0b1c"))
    assert (written["job"], written["execution"]) == ("natality-x7k2p", "0b1c")


def test_a_model_that_was_refused_is_not_said_to_be_deployed(facts: summarize.RunFacts) -> None:
    for name in ("preprocess", "train", "register", "deploy"):
        keep(facts, name, started=NOW - 500)
    keep(facts, "evaluate", started=NOW + 1, blessed=False)
    written = summary(facts)
    assert written["status"] == "refused"
    assert statuses(written) == ["cached", "cached", "succeeded", "skipped", "skipped"]


def test_a_step_that_failed(facts: summarize.RunFacts) -> None:
    keep(facts, "preprocess", started=NOW + 1, error=DataError("no rows"))
    keep(facts, "train", started=NOW - 500)
    written = summary(facts, engine_succeeded=False)
    assert written["status"] == "failed"
    assert written["error"]["kind"] == "DataError"
    assert statuses(written) == ["failed", "skipped", "skipped", "skipped", "skipped"]


def test_an_old_failure_is_not_this_runs(facts: summarize.RunFacts) -> None:
    keep(facts, "preprocess", started=NOW - 500, error=DataError("no rows"))
    written = summary(facts, engine_succeeded=False)
    assert statuses(written) == ["skipped"] * 5
    assert written["error"]["kind"] == "PlatformError"


def test_a_step_that_was_killed_is_named(facts: summarize.RunFacts) -> None:
    keep(facts, "preprocess", started=NOW + 1)
    written = summary(facts, engine_succeeded=False)
    assert written["status"] == "failed"
    assert written["error"]["what"].startswith("train exited without an error message")
    assert written["error"]["exit_status"] == 75


def test_a_change_of_the_code_during_the_run_is_named(
    facts: summarize.RunFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("preprocess", "train", "evaluate", "register", "deploy"):
        keep(facts, name, started=NOW + 1, blessed=True)
    monkeypatch.setenv(ENGINE_SOURCE, lineage.code_digest())
    assert summary(facts)["status"] == "succeeded"
    monkeypatch.setenv(ENGINE_SOURCE, "0123abcd")
    written = summary(facts)
    assert written["status"] == "failed"
    assert written["error"]["what"] == "the code of headrace changed while the run was under way"
    assert written["error"]["exit_status"] == 75


def test_an_old_deployment_is_not_this_runs(facts: summarize.RunFacts) -> None:
    for name in ("preprocess", "train", "register", "deploy"):
        keep(facts, name, started=NOW - 500)
    keep(facts, "evaluate", started=NOW - 500, blessed=True)
    assert statuses(summary(facts, engine_succeeded=False)) == ["cached", "cached", "cached", "skipped", "skipped"]


def done_at(facts: summarize.RunFacts, moment: float, *names: str) -> None:
    """Steps of a run of a schedule, which has measured the data."""
    measured = dataclasses.replace(facts, data_version="v1")
    for name in names:
        if name == "preprocess":
            keep(facts, name, started=moment, data_version="v1")
        else:
            keep(measured, name, started=moment, blessed=True)


def test_the_run_before_of_a_schedule_is_not_this_one(
    facts: summarize.RunFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All runs of a schedule have its `started` and its name, and know the record of preprocessing by no version."""
    facts = dataclasses.replace(facts, data_version="")
    clock = {"now": NOW + 100}
    monkeypatch.setattr(summarize.time, "time", lambda: clock["now"])
    names = ("preprocess", "train", "evaluate", "register", "deploy")
    done_at(facts, NOW + 50, *names)
    assert (statuses(summary(facts)), summary(facts)["data_version"]) == (["succeeded"] * 5, "v1")
    # The next one's preprocessing is killed; the one after that finds the same data, and its training is killed.
    clock["now"] = NOW + 200
    killed = summary(dataclasses.replace(facts, job="pipelineJobs/2"), engine_succeeded=False)
    assert (statuses(killed), killed["data_version"]) == (["skipped"] * 5, "")
    assert killed["error"]["what"].startswith("preprocess exited without an error message")
    clock["now"] = NOW + 300
    done_at(facts, NOW + 250, "preprocess")
    third = dataclasses.replace(facts, job="pipelineJobs/3")
    assert statuses(summary(third, engine_succeeded=False)) == ["succeeded", *["skipped"] * 4]
    # The exit task is tried again, after it has written a summary.
    done_at(facts, NOW + 310, "train", "evaluate", "register", "deploy")
    clock["now"] = NOW + 320
    assert [summary(third)["status"], summary(third)["started"]] == ["succeeded", NOW]


def test_a_clock_that_is_set_back_an_hour_between_the_steps(
    facts: summarize.RunFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"now": NOW}
    monkeypatch.setattr("headrace.core.steps.step.time.time", lambda: now["now"])
    monkeypatch.setattr(summarize.time, "time", lambda: now["now"])
    wanted = identities(facts)

    def done(mark: str, *names: str) -> dict[str, Any]:
        monkeypatch.setenv(ENGINE_RUN, mark)
        for name in names:
            with running(name, root=facts.root) as step:
                step.identity = identities(facts)[name]
                step.finish(outputs={}, result={"blessed": True})
            now["now"] -= 3600.0
        return summary(facts)

    first = done("a", *wanted)
    assert statuses(first) == ["succeeded"] * 5
    assert {step["step"]: step["identity"] for step in first["steps"]} == wanted
    assert first["finished"] >= first["started"]
    assert all(step["finished"] >= step["started"] and step["seconds"] >= 0 for step in first["steps"])
    # The next run resumes: its clock is hours before the records that the engine reuses.
    again = done("b", "register", "deploy")
    assert statuses(again) == ["cached"] * 3 + ["succeeded"] * 2
    assert statuses(done("c")) == ["cached"] * 3 + ["skipped"] * 2


def in_pod(facts: summarize.RunFacts, name: str, **changes: Any) -> None:
    """Names the pod in the record of a step, as Kubeflow does."""
    (path,) = Path(facts.root, "records").glob(f"{name}-*.json")
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(record))


def test_a_failure_of_this_run_on_a_machine_whose_clock_is_hours_behind(facts: summarize.RunFacts) -> None:
    """The machine that submitted the run is ahead: each step seems to be older than the run."""
    facts = dataclasses.replace(facts, job="natality-x7k2p")
    keep(facts, "preprocess", started=NOW - 7200)
    keep(facts, "train", started=NOW - 10800, error=DataError("a label is missing"))
    in_pod(facts, "preprocess", pod="natality-x7k2p-system-container-impl-1")
    in_pod(facts, "train", pod="natality-x7k2p-system-container-impl-2")
    written = summary(facts, engine_succeeded=False)
    assert statuses(written) == ["succeeded", "failed", "skipped", "skipped", "skipped"]
    assert (written["error"]["exit_status"], written["error"]["what"]) == (2, "a label is missing")


def test_a_failure_of_the_run_before_on_a_machine_whose_clock_is_hours_ahead(facts: summarize.RunFacts) -> None:
    facts = dataclasses.replace(facts, job="natality-y8k3q")
    keep(facts, "preprocess", started=NOW + 7200)
    keep(facts, "train", started=NOW + 7200, error=DataError("a label is missing"))
    for name in ("preprocess", "train"):
        in_pod(facts, name, pod=f"natality-x7k2p-system-container-impl-{name}")
    written = summary(facts, engine_succeeded=False)
    assert statuses(written) == ["cached", *["skipped"] * 4]
    assert written["error"]["what"].startswith("train exited without an error message")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_registration_and_a_deployment_of_vertex_on_machines_an_hour_apart(
    facts: summarize.RunFacts, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Two runs of a schedule have equal parameters; the second one's deployment is killed before it writes a record."""
    monkeypatch.delenv(ENGINE_RUN, raising=False)
    clock = {"now": NOW + 100}
    monkeypatch.setattr(summarize.time, "time", lambda: clock["now"])
    monkeypatch.setattr("headrace.core.steps.step.time.time", lambda: clock["now"])

    def done(job: str, *names: str) -> summarize.RunFacts:
        place = f"/gcs/bucket/headrace/123/{job}/task_-1/executor_output.json"
        told = json.dumps({"outputs": {"outputFile": place}})
        monkeypatch.setattr("sys.argv", ["executor_main", "--executor_input", told])
        for name in names:
            with running(name, root=facts.root) as step:
                step.identity = identities(facts)[name]
                step.finish(outputs={}, result={"blessed": True})
        return dataclasses.replace(facts, job=f"projects/1/locations/l/pipelineJobs/{job}")

    first = summary(done("n-1", *identities(facts)))
    assert (first["status"], statuses(first)) == ("succeeded", ["succeeded"] * 5)
    clock["now"] += 600 + 3600 * hours
    second = done("n-2", "evaluate", "register")
    clock["now"] -= 3600 * hours
    written = summary(second, engine_succeeded=False)
    assert statuses(written) == ["cached", "cached", "succeeded", "succeeded", "skipped"]
    assert written["error"]["what"].startswith("deploy exited without an error message")
    done("n-2", "deploy")
    assert summary(second)["status"] == "succeeded"


def test_a_run_ends_after_its_steps_where_the_clock_was_set_back(
    facts: summarize.RunFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summarize.time, "time", lambda: NOW - 500)
    assert summary(facts, engine_succeeded=False)["finished"] == NOW
    steps = [{"status": "succeeded", "finished": NOW + 20}, {"status": "cached", "finished": NOW + 90}]
    assert summarize.ended(NOW, steps) == NOW + 20


def test_a_success_needs_every_step(facts: summarize.RunFacts) -> None:
    for name in ("preprocess", "train"):
        keep(facts, name, started=NOW + 1)
    keep(facts, "evaluate", started=NOW + 1, blessed=True)
    written = summary(facts, engine_succeeded=True)
    assert written["status"] == "failed"
    assert written["error"]["what"].startswith("register exited")


def test_the_baseline_and_the_dialect_are_part_of_what_a_step_depends_on(facts: summarize.RunFacts) -> None:
    file = load_problem(PROBLEM)
    options = ["delimiter=;", "encoding=latin-1"]
    identities = {
        lineage.preprocess_identity(file, "v1"),
        lineage.preprocess_identity(file, "v1", "b1"),
        lineage.preprocess_identity(file, "v1", "b2"),
        lineage.preprocess_identity(file, "v1", "", options),
        lineage.preprocess_identity(file, "v1", "b1", options),
    }
    assert len(identities) == 5
    judged = dataclasses.replace(facts, baseline="before", baseline_version="b1", csv=json.dumps(options))
    written = summary(judged, engine_succeeded=False)
    assert written["steps"][0]["identity"] == lineage.preprocess_identity(file, "v1", "b1", options)
    assert (written["baseline"], written["csv"]) == ("before", options)


@pytest.mark.parametrize("text", ["delimiter=;", "{}", '["a=b", 1]', '"delimiter=;"'])
def test_a_dialect_that_is_no_list_of_options(text: str) -> None:
    with pytest.raises(UsageError, match="the parameter csv is wrong"):
        options_of(text)
    assert options_of("") == []
