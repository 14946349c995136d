"""The script that sets a project up: what it prints, that it may run twice, and that gcloud has its commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from peers.cloud_build import ROOT

SETUP = [sys.executable, str(ROOT / "cloudbuild" / "setup_project.py")]
WHOLE = [
    *("--project", "blue-project-1", "--region", "europe-west4", "--bucket", "blue-bucket"),
    *("--with", "dataflow", "--with", "bigquery", "--repository", "github/headrace"),
]


def printed(*arguments: str) -> str:
    return subprocess.run([*SETUP, *arguments, "--print"], capture_output=True, text=True, check=True).stdout


def gcloud_commands(script: str) -> list[str]:
    lines = [line for line in script.splitlines() if not line.startswith("#")]
    found = [part for line in lines for part in re.findall(r"gcloud [^|)]+", line)]
    return [one.replace('"serviceAccount:$agent"', "serviceAccount:agent").split(" >")[0].strip() for one in found]


def test_it_prints_a_script_and_runs_nothing(tmp_path: Path) -> None:
    script = printed(*WHOLE)
    (tmp_path / "script").write_text(script)
    subprocess.run(["bash", "-n", str(tmp_path / "script")], check=True)
    assert "gcloud services enable aiplatform.googleapis.com" in script
    assert "dataflow.googleapis.com bigquery.googleapis.com" in script
    assert re.search(r"repositories create headrace-specs --repository-format=kfp --location=europe-west4", script)


def test_the_roles_are_the_least() -> None:
    commands = gcloud_commands(printed("--project", "blue-project-1", "--region", "europe-west4"))
    bindings = [
        (
            re.findall(r"headrace-(build|run)@", one.partition("--member")[2])[0],
            one.split()[1:3],
            one.rpartition("--role=")[2].split()[0],
        )
        for one in commands
        if "add-iam-policy-binding" in one
    ]
    assert sorted((who, kind[0], role) for who, kind, role in bindings) == [
        ("build", "artifacts", "roles/artifactregistry.writer"),
        ("build", "artifacts", "roles/artifactregistry.writer"),
        ("build", "iam", "roles/iam.serviceAccountUser"),
        ("build", "projects", "roles/aiplatform.user"),
        ("build", "projects", "roles/logging.logWriter"),
        ("build", "storage", "roles/storage.legacyBucketReader"),
        ("build", "storage", "roles/storage.objectUser"),
        ("run", "artifacts", "roles/artifactregistry.reader"),
        ("run", "iam", "roles/iam.serviceAccountUser"),
        ("run", "projects", "roles/aiplatform.user"),
        ("run", "projects", "roles/logging.logWriter"),
        ("run", "storage", "roles/storage.legacyBucketReader"),
        ("run", "storage", "roles/storage.objectUser"),
    ]


def test_runs_write_to_one_dataset_of_bigquery() -> None:
    place = ["--project", "blue-project-1", "--region", "europe-west4"]
    script = printed(*place, "--with", "bigquery", "--dataset", "scores")
    assert [line for line in script.splitlines() if re.match(r"(again )?bq ", line)] == [
        "bq --project_id=blue-project-1 --location=europe-west4 mk --force --dataset blue-project-1:scores",
        (
            "again bq --project_id=blue-project-1 --location=europe-west4 query --use_legacy_sql=false "
            "'GRANT `roles/bigquery.dataEditor` ON SCHEMA `blue-project-1`.scores "
            'TO "serviceAccount:headrace-run@blue-project-1.iam.gserviceaccount.com"\''
        ),
    ]
    roles = {found[0] for one in gcloud_commands(script) if (found := re.findall(r"roles/bigquery\.\w+", one))}
    assert roles == {"roles/bigquery.jobUser", "roles/bigquery.readSessionUser", "roles/bigquery.dataViewer"}
    assert "bq " not in printed(*place)


def stand_in(folder: Path) -> dict[str, str]:
    """A gcloud that keeps what was made: describing what was not made fails, and so does making it a second time.

    Its bq keeps its arguments.
    """
    (folder / "bin").mkdir()
    for name, text in (("gcloud", f"#!{sys.executable}\n{_STAND_IN}"), ("bq", _BQ)):
        program = folder / "bin" / name
        program.write_text(text)
        program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "STATE": str(folder / "state.json")}


_BQ = """#!/bin/sh
printf '%s\\n' "$*" >>"$STATE.bq"
"""
_STAND_IN = """
import json, os, re, sys
from pathlib import Path
path = Path(os.environ["STATE"])
state = json.loads(path.read_text()) if path.exists() else {"made": [], "calls": [], "imported": []}
words = [word for word in sys.argv[1:] if not word.startswith("--")]
state["calls"].append(" ".join(sys.argv[1:]))
status = 0
if "service-agent" in words:
    print("service-1@gs-project-accounts.iam.gserviceaccount.com")
elif "import" in words:
    state["imported"].append(sys.stdin.read())
elif "notifications" in words:
    thing = "notifications " + words[-1]
    if "list" in words:
        print("topic: //pubsub.googleapis.com/projects/p/topics/headrace-data" if thing in state["made"] else "[]")
    else:
        state["made"].append(thing)
elif "describe" in words or "create" in words:
    thing = " ".join(words[:-2] + [re.sub("@.*", "", words[-1])])
    if ("create" in words) == (thing in state["made"]):
        status = 1
    elif "create" in words:
        state["made"].append(thing)
path.write_text(json.dumps(state))
sys.exit(status)
"""


def test_it_may_run_again_and_again(tmp_path: Path) -> None:
    environment = stand_in(tmp_path)
    for _ in range(2):
        done = subprocess.run([*SETUP, *WHOLE], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["made"] == [
        "artifacts repositories headrace",
        "artifacts repositories headrace-specs",
        "storage buckets gs://blue-bucket",
        "iam service-accounts headrace-build",
        "iam service-accounts headrace-run",
        "pubsub topics headrace-data",
        "notifications gs://blue-bucket",
    ]
    made, granted = (tmp_path / "state.json.bq").read_text().splitlines()[:2]
    assert made.endswith("mk --force --dataset blue-project-1:headrace")
    assert "GRANT `roles/bigquery.dataEditor` ON SCHEMA `blue-project-1`.headrace TO" in granted, "as bq receives it"
    assert len(state["imported"]) == 8
    imported = "".join(state["imported"])
    assert "my-" not in imported
    assert "gs://blue-bucket/incoming" in imported
    assert "projects/blue-project-1/locations/europe-west4/connections/github/repositories/headrace" in imported


def test_a_command_that_fails_ends_it(tmp_path: Path) -> None:
    environment = stand_in(tmp_path)
    failing = "#!/bin/sh\necho 'API disabled' >&2\nexit 3\n"
    (tmp_path / "bin" / "gcloud").write_text(failing)
    done = subprocess.run([*SETUP, *WHOLE], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "API disabled\n")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--project", "x; id"),
        ("--region", "europe"),
        ("--bucket", "Bad"),
        ("--dataset", "a-b"),
        ("--repository", "only-one"),
    ],
)
def test_names_that_google_cloud_would_refuse(option: str, value: str) -> None:
    done = subprocess.run([*SETUP, *WHOLE, option, value], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "must" in done.stderr
    assert "Traceback" not in done.stderr


def test_gcloud_has_these_commands(tmp_path: Path) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("the Google Cloud CLI is not installed: cloud.google.com/sdk/docs/install")
    commands = gcloud_commands(printed(*WHOLE))
    documents = [ROOT / "docs" / "vertex.md", ROOT / "cloudbuild" / "README.md"]
    for document in documents:
        blocks = re.findall(r"^```\w*\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
        lines = [line.split("#")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        commands += [line.strip() for line in lines if line.startswith("gcloud ")]
    file = tmp_path / "commands.json"
    distinct = {re.sub(r"\$[A-Z]+", "x-value", one) for one in commands}
    file.write_text(json.dumps([{"command_string": one} for one in sorted(distinct)]))
    lint = ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={file}"]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    checked = json.loads(done.stdout)
    assert len(checked) == len(distinct)
    assert [(one["command_string"], one["error_message"]) for one in checked if not one["success"]] == []
