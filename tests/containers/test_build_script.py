"""What the script behind `make images` says; no engine is needed for it."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from peers.container_engine import ROOT, load_build

BUILD = [sys.executable, str(ROOT / "containers" / "build.py")]
LOCK = [sys.executable, str(ROOT / "containers" / "lock.py")]

# An engine that builds all but the worker, and shows what docker shows when it cannot pull.
_ENGINE = """#!/bin/sh
case "$*" in
  info*) echo fine ;;
  "image inspect"*) echo 1234567890 ;;
  *"--target beam-worker"*) echo "Error: lookup registry-1.docker.io: no such host"; exit 1 ;;
  build*) echo "$@" ;;
esac
"""


def run_build(engine: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HEADRACE_CONTAINER_ENGINE": str(engine), "PYTHON_IMAGE": "mirror/python:3.11-slim"}
    return subprocess.run(
        [*BUILD, "--logs", str(folder / "logs"), "--tag", "t", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A command that stands for an engine."""
    script = tmp_path / "engine"
    script.write_text(_ENGINE)
    script.chmod(0o755)
    return script


def test_it_goes_on_where_one_image_cannot_be_built_and_says_why(stub: Path, tmp_path: Path) -> None:
    ended = run_build(stub, tmp_path, "beam", "beam-worker", "server")
    assert ended.returncode == 1
    base, sdk, beam_starts, beam, _, worker, _, server = ended.stdout.splitlines()
    assert base == "from mirror/python:3.11-slim, whose digest is not known: a tag may move"
    assert sdk.startswith("from apache/beam_python3.11_sdk:2.77.0, whose digest is not known")
    assert beam_starts == f"beam              0 s  starts; its log is {tmp_path / 'logs' / 'beam.log'}"
    assert beam.endswith("headrace/beam:t  1,235 MB")
    assert "not built: the base image cannot be pulled: Error: lookup registry-1.docker.io" in worker
    assert server.endswith("headrace/server:t  1,235 MB")
    told = (tmp_path / "logs" / "beam.log").read_text()
    assert "--file containers/Dockerfile --target beam --tag headrace/beam:t --build-arg VERSION=" in told
    assert "--build-arg=PYTHON_IMAGE=mirror/python:3.11-slim " in told
    assert run_build(stub, tmp_path, "server").returncode == 0


def test_all_images_have_the_base_that_its_tag_names_at_the_start(stub: Path, tmp_path: Path) -> None:
    digest = f"sha256:{'d' * 64}"
    stub.write_text(_ENGINE.replace("  info*", f'  "buildx imagetools inspect "*) echo {digest} ;;\n  info*'))
    ended = run_build(stub, tmp_path, "trainer", "server")
    assert ended.stdout.splitlines()[0] == f"from mirror/python:3.11-slim@{digest}"
    for name in ("trainer", "server"):
        told = (tmp_path / "logs" / f"{name}.log").read_text()
        assert f"--build-arg=PYTHON_IMAGE=mirror/python:3.11-slim@{digest} ." in told
        assert "BEAM_SDK_IMAGE" not in told


def test_a_build_reports_its_last_line_while_it_runs(tmp_path: Path) -> None:
    engine, ready, log = tmp_path / "engine", tmp_path / "ready", tmp_path / "log"
    wait = f"while [ ! -e {ready} ]; do sleep 0.01; done"
    engine.write_text(f"#!/bin/sh\necho step 1 of 2\n{wait}\necho step 2 of 2\n")
    engine.chmod(0o755)
    said: list[str] = []

    def report(seconds: float, last: str) -> None:
        assert seconds > 0
        said.append(last)
        if last != "no output yet":
            ready.touch()

    build = load_build()
    assert build.build([str(engine)], "beam", "t", [], log, report=report, every_s=0.01) == ""
    assert "step 1 of 2" in said
    assert log.read_text() == "step 1 of 2\nstep 2 of 2\n"
    # A line a minute at least.
    assert build._REPORT_S <= 60


def test_the_users_of_workers_and_trainers_are_build_arguments(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_USER", "0:0")
    run_build(stub, tmp_path, "trainer")
    assert "--build-arg=TRAINER_USER=0:0 " in (tmp_path / "logs" / "trainer.log").read_text()
    stages = (ROOT / "containers" / "Dockerfile").read_text().split("\nFROM ")
    for name, argument in (
        ("beam-worker", "WORKER_USER"),
        ("trainer", "TRAINER_USER"),
        ("trainer-gpu", "TRAINER_USER"),
        ("trainer-tpu", "TRAINER_USER"),
    ):
        (stage,) = [one for one in stages if one.partition("\n")[0].endswith(f" AS {name}")]
        assert f"\nARG {argument}=65532:65532\nUSER ${{{argument}}}\n" in stage


def test_without_an_engine_it_says_how_to_get_one(tmp_path: Path) -> None:
    ended = run_build(tmp_path / "nowhere", tmp_path)
    assert ended.returncode == 2
    assert "no container engine responds" in ended.stderr
    assert "Install Docker, or set HEADRACE_CONTAINER_ENGINE to the command of another engine" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_image_that_there_is_not(stub: Path, tmp_path: Path) -> None:
    ended = run_build(stub, tmp_path, "bean")
    assert ended.returncode == 2
    assert "the image bean does not exist; valid ones are beam, beam-worker, trainer" in ended.stderr


def test_requirements_are_those_of_the_extras_with_another_tensorflow() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = runpy.run_path(LOCK[1])

    def of(*extras: str, tensorflow: str | None = None) -> list[str]:
        found: list[str] = lock["requirements"](project, extras, tensorflow)
        return found

    assert {"kfp>=2.17.0,<3", "numpy>=2", "tensorflow>=2.21,<2.22", "uvicorn>=0.54"} <= set(of("serve"))
    # An extra that names others stands for them.
    assert set(of("tune")) == {*of("train"), "optuna>=5,<6"}
    assert "tensorflow-cpu>=2.21,<2.22" in of("serve", tensorflow="tensorflow-cpu")
    assert "tensorflow[and-cuda]>=2.21,<2.22" in of("train", tensorflow="tensorflow[and-cuda]")
    assert "tensorflow-tpu>=2.20" in of("train", tensorflow="tensorflow-tpu>=2.20")


def test_the_locks_are_of_these_requirements_and_pins() -> None:
    ended = subprocess.run([*LOCK, "--check"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("image", ["beam", "trainer", "trainer-gpu", "trainer-tpu", "server", "stream"])
def test_every_package_of_a_lock_has_hashes(image: str) -> None:
    lines = (ROOT / "containers" / "locks" / f"{image}.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith(("#", " "))]
    assert len(packages) > 50
    for package in packages:
        assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z-]+\])?==\S+( ; .+)? \\", package), package
    wanted = {line.split("==")[0] for line in packages}
    assert ("pyarrow" in wanted) == (image == "beam"), "the images of training and serving hold no pyarrow"
