"""What the first step of a build refuses, before any value reaches a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from peers.cloud_build import ROOT, load, values_of

BUILD = load(ROOT / "cloudbuild.yaml")


def check(tmp_path: Path, **given: str) -> tuple[int, str, str]:
    plan = tmp_path / "build" / "images"
    command = [sys.executable, "cloudbuild/check.py", "--plan", str(plan)]
    environment = {"PATH": os.environ["PATH"], **values_of(BUILD, given)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, plan.read_text() if plan.exists() else ""


def test_the_defaults_are_right_and_make_a_plan(tmp_path: Path) -> None:
    status, said, plan = check(tmp_path)
    assert (status, said) == (0, "")
    assert [line.split()[0] for line in plan.splitlines()] == ["beam", "beam-worker", "trainer", "server"]


def test_other_images(tmp_path: Path) -> None:
    status, _, plan = check(tmp_path, _IMAGES="beam-worker trainer-gpu")
    assert status == 0
    assert [line.split()[0] for line in plan.splitlines()] == ["beam-worker", "trainer-gpu"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_DATA", "gs://bucket/a.csv; rm -rf /"),
        ("_DATA", "gs://bucket/$(id).csv"),
        ("_DATA", "gs://bucket/a.csv\nx"),
        ("_DATA", "--help"),
        ("_DATA", "gs://bucket/incoming/new data.csv"),
        ("_DATA", "gs://bucket/incoming/ü.csv"),
        ("_BUCKET", "bucket/../other"),
        ("_CRON", "0 3 * *"),
        ("_CRON", "0 3 * * 1; id"),
        ("_TIME_ZONE", "Europe/Berlin`id`"),
        ("_OPTIONS", "../secret.toml"),
        ("_OPTIONS", "/etc/passwd.toml"),
        ("_PROBLEM", "-rf.py"),
        ("_PIPELINES", "static $(id)"),
        ("_IMAGES", "beam nothing"),
        ("_ACTION", "deploy"),
        ("_TEST", "YES"),
        ("_RUN_AS", 'x@y.iam.gserviceaccount.com"'),
        ("_PYTHON_IMAGE", "python:3.11 --secret"),
        ("_WORKER_USER", "root"),
        ("_TRAINER_USER", "root"),
        ("_WORKER_USER", "0:0 --secret"),
        ("_API_ENDPOINT", "https://host/path?x"),
        ("_SUBMIT", "batch"),
        ("_ACTIONS", "submit"),
        ("TAG_NAME", "release/1"),
        ("COMMIT_SHA", "HEAD"),
    ],
)
def test_a_value_that_is_wrong(name: str, value: str, tmp_path: Path) -> None:
    status, said, plan = check(tmp_path, **{name: value})
    assert (status, plan) == (2, "")
    assert said.startswith("This build cannot start:\n")
    assert name in said
    assert "Traceback" not in said


def test_a_submission_needs_data(tmp_path: Path) -> None:
    status, said, _ = check(tmp_path, _ACTION="submit")
    assert (status, said.splitlines()[1:]) == (2, ["  _DATA is required to submit a run"])
    assert check(tmp_path, _ACTION="submit", _DATA="gs://bucket/births*.csv")[0] == 0


def test_every_substitution_has_a_rule() -> None:
    source = (ROOT / "cloudbuild" / "check.py").read_text()
    builds = [BUILD, load(ROOT / "cloudbuild" / "submit.yaml")]
    assert [name for build in builds for name in build["substitutions"] if f'"{name}": (' not in source] == []
