"""What the script behind `make images` says; no engine is needed for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from peers.container_engine import ROOT

BUILD = [sys.executable, str(ROOT / "containers" / "build.py")]
REQUIREMENTS = [sys.executable, str(ROOT / "containers" / "requirements.py")]

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
    def printed(*arguments: str) -> list[str]:
        command = [*REQUIREMENTS, "--project", str(ROOT / "pyproject.toml"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    plain = printed("serve")
    assert {"kfp>=2.17.0,<3", "numpy>=2", "tensorflow>=2.21,<2.22", "uvicorn>=0.54"} <= set(plain)
    # An extra that names others stands for them.
    assert set(printed("tune")) == {*printed("train"), "optuna>=5,<6"}
    assert "tensorflow-cpu>=2.21,<2.22" in printed("serve", "--tensorflow", "tensorflow-cpu")
    assert "tensorflow[and-cuda]>=2.21,<2.22" in printed("train", "--tensorflow", "tensorflow[and-cuda]")
    assert "tensorflow-tpu>=2.20" in printed("train", "--tensorflow", "tensorflow-tpu>=2.20")
