"""The local platform runs a compiled spec, sorts what it prints, and resumes from the cache."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kfp import compiler, dsl

from headrace.components.deploy.canary.settings import CanarySettings, settings_of
from headrace.core.steps.step import ENGINE_PID, read_record
from headrace.pipelines.compiler import compile_to
from headrace.pipelines.lint.spec import read_spec
from headrace.pipelines.local_run import with_signal
from headrace.pipelines.platforms import local


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def first(root: str, out: dsl.Output[dsl.Artifact]) -> None:
    import sys
    from pathlib import Path

    from headrace.core.steps.step import running

    with running("first", root=root) as step:
        step.identity = "1"
        print("chatter on stdout")
        print("chatter on stderr", end="", file=sys.stderr)
        step.progress("working")
        Path(out.path).write_text("x")


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def second(root: str, fail: bool, before: dsl.Input[dsl.Artifact]) -> None:
    from headrace.core.errors import DataError
    from headrace.core.steps.step import running

    with running("second", root=root) as step:
        step.identity = "2"
        if fail:
            raise DataError("it was told to fail")


@dsl.pipeline(name="two")
def two(root: str, fail: bool) -> None:
    platform = local.LocalPlatform()
    made = platform.configure_task(first(root=root))
    platform.configure_task(second(root=root, fail=fail, before=made.outputs["out"])).set_caching_options(False)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def preempted(root: str) -> None:
    import os
    import signal
    import threading

    from headrace.core.steps.step import ENGINE_PID, running

    with running("preempted", root=root) as step:
        step.identity = "3"
        os.kill(int(os.environ[ENGINE_PID]), signal.SIGTERM)
        threading.Event().wait()


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def at_exit(root: str) -> None:
    from pathlib import Path

    Path(root, "exit").touch()


@dsl.pipeline(name="killed")
def killed(root: str) -> None:
    platform = local.LocalPlatform()
    with dsl.ExitHandler(platform.configure_task(at_exit(root=root))):
        platform.configure_task(preempted(root=root))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("spec") / "two.yaml"
    compiler.Compiler().compile(two, str(path))
    return str(path)


def run(spec: str, root: Path, *, fail: bool, hidden: Sequence[str] = ()) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []
    logs, arguments = str(root / "logs"), {"root": str(root), "fail": fail}
    local.run(spec, arguments, root=str(root), logs=logs, listener=heard.append, hidden=hidden)
    return heard


def names(heard: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["step"], event["event"]) for event in heard]


def test_the_endpoint_warns_where_the_run_asks_for_it(tmp_path: Path) -> None:
    specs = {}
    for rules in ("enforce", "warn"):
        compile_to("static", "local", str(tmp_path / f"{rules}.yaml"), rules=rules)  # type: ignore[arg-type]
        specs[rules] = (tmp_path / f"{rules}.yaml").read_text()
    (deploy,) = [task for task in read_spec(str(tmp_path / "warn.yaml")).tasks() if task.where.endswith(".deploy")]
    assert deploy.inputs()["rules"] == "warn"
    compile_to("static", "local", str(tmp_path / "plain.yaml"))
    assert (tmp_path / "plain.yaml").read_text() == specs["enforce"] != specs["warn"]


def test_a_canary_is_deployed_where_the_run_asks_for_it(tmp_path: Path) -> None:
    settings = CanarySettings(steps=(5, 25), minimum_requests=10)
    compile_to("static", "local", str(tmp_path / "canary.yaml"), canary=settings, rules="warn")
    (deploy,) = [task for task in read_spec(str(tmp_path / "canary.yaml")).tasks() if task.where.endswith(".deploy")]
    assert deploy.inputs()["rules"] == "warn"
    assert settings_of(deploy.inputs()["canary"]) == settings
    tasks = read_spec(str(tmp_path / "canary.yaml")).tasks()
    assert [task.inputs()["promote"] for task in tasks if task.where.endswith(".register")] == [False]
    compile_to("static", "local", str(tmp_path / "plain.yaml"))
    assert "rollout" not in (tmp_path / "plain.yaml").read_text()


def test_events_are_heard_and_chatter_is_kept(spec: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    killed_runs = [
        tmp_path / "pipeline" / "two-2026-01-01" / "first" / ".out.0123456789abcdef",
        tmp_path / "checkpoints" / "train" / "run" / ".step-7.0123456789abcdef",
    ]
    for left in killed_runs:
        left.mkdir(parents=True)
    heard = run(spec, tmp_path, fail=False)
    assert names(heard) == [
        ("first", "started"),
        ("first", "progress"),
        ("first", "finished"),
        ("second", "started"),
        ("second", "finished"),
    ]
    assert not any(left.exists() for left in killed_runs)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    log = (tmp_path / "logs" / "first.log").read_text()
    assert "chatter on stdout" in log
    assert "chatter on stderr" in log
    assert ENGINE_PID not in os.environ


def test_what_was_done_is_not_done_again(spec: str, tmp_path: Path) -> None:
    assert names(run(spec, tmp_path, fail=True, hidden=[str(tmp_path)]))[-1] == ("second", "failed")
    record = read_record(str(tmp_path), "second", "2")
    assert record is not None
    assert record["error"]["what"] == "it was told to fail"
    logged = "".join(log.read_text() for log in (tmp_path / "logs").iterdir())
    assert str(tmp_path) not in logged
    assert "***" in logged
    assert names(run(spec, tmp_path, fail=False)) == [
        ("first", "cached"),
        ("second", "started"),
        ("second", "finished"),
    ]


def test_the_running_step_receives_the_runs_sigterm_and_the_exit_task_still_runs(tmp_path: Path) -> None:
    path, heard = str(tmp_path / "killed.yaml"), list[dict[str, Any]]()
    compiler.Compiler().compile(killed, path)
    before = signal.getsignal(signal.SIGTERM)
    logs = str(tmp_path / "logs")
    assert local.run(path, {"root": str(tmp_path)}, root=str(tmp_path), logs=logs, listener=heard.append)
    assert names(heard) == [("preempted", "started"), ("preempted", "failed")]
    record = read_record(str(tmp_path), "preempted", "3")
    assert record is not None
    assert (record["error"]["kind"], record["error"]["exit_status"]) == ("Terminated", 75)
    assert (tmp_path / "exit").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_explains_a_run_in_which_no_step_could_write_its_record() -> None:
    killed_early = {"status": "failed", "error": {"what": "train exited"}, "steps": [{"status": "skipped"}]}
    assert with_signal(killed_early)["error"]["received"] == "SIGTERM"
    for other in ({**killed_early, "steps": [{"status": "failed"}]}, {**killed_early, "status": "succeeded"}):
        assert with_signal(other) == other


def test_a_log_on_a_full_disk_ends_no_run(tmp_path: Path) -> None:
    """The steps report the full disk; their events arrive."""
    for name in ("engine.log", "train.log"):
        (tmp_path / name).symlink_to("/dev/full")
    seen: list[str] = []
    forwarding = SimpleNamespace(begin=lambda _: None, end=lambda: None)
    output = local._StepOutput(tmp_path, lambda event: seen.append(event["event"]), (), forwarding)  # type: ignore[arg-type]
    for event in ("started", "progress", "failed"):
        line = {"severity": "INFO", "message": "m", "headrace": {"event": event, "step": "train", "pid": 1}}
        output.write("x" * 100_000 + "\n")
        output.flush()
        output.write(json.dumps(line) + "\n")
    output.close()
    assert seen == ["started", "progress", "failed"]
