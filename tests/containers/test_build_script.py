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
from peers.container_engine import ROOT

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
    beam, worker, server = ended.stdout.splitlines()
    assert beam.endswith("headrace/beam:t  1,235 MB")
    assert "not built: the base image cannot be pulled: Error: lookup registry-1.docker.io" in worker
    assert server.endswith("headrace/server:t  1,235 MB")
    told = (tmp_path / "logs" / "beam.log").read_text()
    assert "--file containers/Dockerfile --target beam --tag headrace/beam:t --build-arg VERSION=" in told
    assert "--build-arg=PYTHON_IMAGE=mirror/python:3.11-slim ." in told
    assert run_build(stub, tmp_path, "server").returncode == 0


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
