"""The steps' own scripts in the order of the file: what they push, compile, upload and submit, and where they stop.

Each test may run alone and in any order: what the first build printed and called is kept for those that look at it.

At the edge, Cloud Storage, Vertex AI and the registry of specs are servers on this machine; docker and make are
programs that keep what they were asked for.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from peers.cloud_build import COMMIT, ROOT, Workspace
from peers.kfp_registry import KfpRegistry, serving_registry

# A build is some ten processes that import Google Cloud's clients.
pytestmark = pytest.mark.timeout(900)

BUCKET = "demo-project-headrace"
DATA = f"gs://{BUCKET}/samples/births.csv"
RUN = "projects/demo-project/locations/us-central1/pipelineJobs"

# What docker's client is asked: it refuses a Dockerfile or a target that there is not, and gives each image its digest.
_DOCKER = """#!{python}
import hashlib, json, re, sys
from pathlib import Path
words = sys.argv[1:]
with open("{calls}", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
if words[:2] == ["buildx", "build"]:
    value = lambda option: words[words.index(option) + 1]
    text = Path(value("--file")).read_text()
    if "--target" in words and not re.search(rf" AS {{value('--target')}}$", text, re.MULTILINE):
        sys.exit("target stage not found")
    if "--push" not in words or words[-1] != ".":
        sys.exit("nothing is pushed")
    digest = "sha256:" + hashlib.sha256(value("--tag").encode()).hexdigest()
    Path(value("--metadata-file")).write_text(json.dumps({{"containerimage.digest": digest}}))
elif words[:3] == ["buildx", "imagetools", "inspect"]:
    print("sha256:" + "b" * 64)
elif words[:2] != ["buildx", "create"]:
    sys.exit("no such command")
"""
# What gcloud prints of a scan: two vulnerabilities, of which one is of severity HIGH.
_GCLOUD = """#!/bin/sh
case "$*" in
  "artifacts docker images scan "*) echo projects/demo-project/locations/us/scans/1 ;;
  "artifacts docker images list-vulnerabilities projects/demo-project/locations/us/scans/1 "*)
    printf 'HIGH\\tprojects/goog-vulnz/notes/CVE-2026-1\\nLOW\\tprojects/goog-vulnz/notes/CVE-2026-2\\n' ;;
  *) exit 2 ;;
esac
"""
_MAKE = """#!/bin/sh
echo "$*" >>{calls}
ln -sfn {prefix} .venv
"""


@dataclass
class Cloud:
    """All that a build reaches; and what the first one printed, by step, called, by program, and released."""

    workspace: Workspace
    registry: KfpRegistry
    vertex: Any
    bucket: Any
    given: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)
    made: dict[str, list[str]] = field(default_factory=dict)
    release: dict[str, bytes] = field(default_factory=dict)

    def run(self, **given: str) -> int:
        return self.workspace.run("cloudbuild.yaml", {**self.given, **given})

    def calls(self, program: str) -> list[str]:
        path = self.workspace.folder.parent / f"{program}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def objects(self, prefix: str) -> dict[str, bytes]:
        found = self.bucket.client.list_blobs(self.bucket, prefix=prefix)
        return {blob.name.removeprefix(prefix): blob.download_as_bytes() for blob in found}

    def resources(self, collection: str) -> list[Any]:
        return [held for name, held in self.vertex.vertex.resources.items() if f"/{collection}/" in name]


@pytest.fixture(scope="module")
def cloud(cloud_storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    from google.cloud import storage
    from peers.vertex.pipeline_jobs import Pipelines
    from peers.vertex.server import serving

    folder = tmp_path_factory.mktemp("build")
    workspace = Workspace(
        folder / "workspace",
        folder / "bin",
        {"STORAGE_EMULATOR_HOST": cloud_storage, "HOME": str(folder), "NO_GCE_CHECK": "true"},
    )
    workspace.bin.mkdir()
    for name in ("cloudbuild", "containers", "examples/natality"):
        shutil.copytree(ROOT / name, workspace.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("cloudbuild.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, workspace.folder / name)
    workspace.program("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    workspace.program("headrace", f'#!/bin/sh\nexec {sys.prefix}/bin/headrace "$@"\n')
    workspace.program("docker", _DOCKER.format(python=sys.executable, calls=folder / "docker.calls"))
    workspace.program("make", _MAKE.format(calls=folder / "make.calls", prefix=sys.prefix))
    client = storage.Client(
        project="demo-project", credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud_storage}
    )
    bucket = client.create_bucket(BUCKET)
    bucket.blob("samples/births.csv").upload_from_filename(ROOT / "examples" / "natality" / "births.csv")
    with serving_registry() as registry, serving() as vertex:
        vertex.vertex = Pipelines(work=vertex.vertex.work)
        given = {"_SPECS": registry.url, "_API_ENDPOINT": vertex.url, "_DATA": DATA}
        yield Cloud(workspace, registry, vertex, bucket, given)
    client.close()


@pytest.fixture(scope="module")
def built(cloud: Cloud) -> Cloud:
    """After a build of a push."""
    status = cloud.run(_ACTION="submit")
    assert status == 0, cloud.workspace.outputs
    cloud.outputs = dict(cloud.workspace.outputs)
    cloud.made = {program: cloud.calls(program) for program in ("docker", "make")}
    cloud.release = cloud.objects(f"releases/{COMMIT}/")
    return cloud


def digest(name: str) -> str:
    image = f"us-central1-docker.pkg.dev/demo-project/headrace/{name}"
    return f"{image}@sha256:{hashlib.sha256(f'{image}:{COMMIT}'.encode()).hexdigest()}"


def test_every_step_ran(built: Cloud) -> None:
    assert list(built.outputs) == ["check", "test", "images", "scan", "compile", "upload", "submit"]
    assert built.made["make"][0] == "PYTHON=python test"


def test_images_are_built_with_a_cache_and_pushed(built: Cloud) -> None:
    create, base, sdk, *builds = [json.loads(call) for call in built.made["docker"]][:7]
    assert [call[:4] for call in (base, sdk)] == [
        ["buildx", "imagetools", "inspect", "python:3.11-slim"],
        ["buildx", "imagetools", "inspect", "apache/beam_python3.11_sdk:2.77.0"],
    ]
    assert create == ["buildx", "create", "--name", "headrace", "--driver", "docker-container"]
    beam = builds[0]
    image = "us-central1-docker.pkg.dev/demo-project/headrace/beam"
    options = dict(itertools.pairwise(beam))
    assert options["--tag"] == f"{image}:{COMMIT}"
    assert options["--file"] == "containers/Dockerfile"
    assert options["--cache-from"] == f"type=registry,ref={image}:cache"
    assert options["--cache-to"].startswith(f"type=registry,ref={image}:cache,mode=max")
    assert f"REVISION={COMMIT}" in beam
    assert f"PYTHON_IMAGE=python:3.11-slim@sha256:{'b' * 64}" in beam, "the base that the tag names at the start"
    assert f"org.opencontainers.image.base.digest=sha256:{'b' * 64}" in beam
    assert f"BEAM_SDK_IMAGE=apache/beam_python3.11_sdk:2.77.0@sha256:{'b' * 64}" in builds[1]
    assert "WORKER_USER=0:0" in builds[1], "Dataflow mounts folders that only root can write"
    assert "TRAINER_USER=65532:65532" in builds[2]
    assert [dict(itertools.pairwise(one))["--target"] for one in builds] == [
        "beam", "beam-worker", "trainer", "server",
    ]  # fmt: skip


def test_an_image_with_a_known_vulnerability_ends_the_build(built: Cloud) -> None:
    built.workspace.program("gcloud", _GCLOUD)
    try:
        for severity, status in (("CRITICAL", 0), ("HIGH", 1)):
            assert built.workspace.run("cloudbuild.yaml", {**built.given, "_SCAN": severity}, only="scan") == status
        told = built.workspace.outputs["scan"]
        assert "headrace/beam:" in told
        assert "has a vulnerability of severity HIGH" in told
    finally:
        (built.workspace.bin / "gcloud").unlink()


def test_the_spec_names_the_digests_that_were_pushed(built: Cloud) -> None:
    spec = (built.workspace.folder / ".out" / "build" / "static.yaml").read_text()
    assert set(re.findall(r"[a-z0-9./-]+@sha256:[0-9a-f]{64}", spec)) == {
        digest(n) for n in ("beam", "trainer", "server")
    }
    assert "OK for Vertex AI" in built.outputs["compile"]


def test_the_spec_is_in_the_registry_and_in_the_bucket(built: Cloud) -> None:
    spec = (built.workspace.folder / ".out" / "build" / "static.yaml").read_bytes()
    version = f"static-training/sha256:{hashlib.sha256(spec).hexdigest()}"
    assert built.registry.versions[version] == spec
    assert built.registry.tags[f"static-training/{COMMIT}"] == version
    release = built.release
    bills = [f"{image}.cdx.json" for image in ("beam", "beam-worker", "server", "trainer")]
    assert sorted(release) == sorted(["options.toml", "problem.py", "release.json", "static.yaml", *bills])
    server = json.loads(release["server.cdx.json"])
    assert server["bomFormat"] == "CycloneDX"
    assert "orjson" in {component["name"] for component in server["components"]}
    assert release["static.yaml"] == spec
    assert release["problem.py"] == (ROOT / "examples" / "natality" / "natality.py").read_bytes()
    assert json.loads(release["release.json"]) == {
        "revision": COMMIT,
        "tag": "",
        "images": sorted(digest(name) for name in ("beam", "beam-worker", "trainer", "server")),
        "specs": {"static": f"{built.registry.url}/{version}"},
    }


def test_a_run_was_submitted_as_the_runs_account(built: Cloud) -> None:
    job = built.resources("pipelineJobs")[0]
    assert job.service_account == "headrace-run@demo-project.iam.gserviceaccount.com"
    assert job.labels["app"] == "headrace"
    parameters = dict(job.runtime_config.parameter_values)
    assert (parameters["data"], parameters["root"]) == (DATA, f"gs://{BUCKET}/headrace")
    assert job.runtime_config.gcs_output_directory == f"gs://{BUCKET}/headrace/pipeline"
    assert "submitted to vertex" in built.outputs["submit"]
    # What was compiled and linted is what runs.
    spec = yaml.safe_load((built.workspace.folder / ".out" / "build" / "static.yaml").read_text())
    assert json.loads(type(job).to_json(job))["pipelineSpec"] == spec


def test_the_same_build_again_is_the_same_run(built: Cloud) -> None:
    before = len(built.resources("pipelineJobs"))
    given = {**built.given, "_ACTION": "submit"}
    assert built.workspace.run("cloudbuild.yaml", given, only="submit") == 0
    assert ": already on vertex" in built.workspace.outputs["submit"]
    assert len(built.resources("pipelineJobs")) == before


def test_a_tag_names_the_release_and_takes_over_the_schedule(built: Cloud) -> None:
    given = {"_ACTION": "schedule", "TAG_NAME": "v1.2.3", "_TEST": "no", "_CRON": "0 3 * * 1"}
    assert built.run(**given) == 0, built.workspace.outputs
    assert built.calls("make")[-1] == "PYTHON=python setup"
    tagged = json.loads(built.calls("docker")[-1])
    assert "us-central1-docker.pkg.dev/demo-project/headrace/server:v1.2.3" in tagged
    assert json.loads(built.objects("releases/v1.2.3/")["release.json"])["tag"] == "v1.2.3"
    assert "static-training/v1.2.3" in built.registry.tags
    assert built.workspace.outputs["submit"].startswith("created: ")
    (schedule,) = built.resources("schedules")
    assert schedule.cron == "TZ=UTC 0 3 * * 1"
    # The next tag changes the schedule that is there.
    given |= {"_CRON": "30 4 * * *", "_TIME_ZONE": "Europe/Berlin"}
    assert built.workspace.run("cloudbuild.yaml", {**built.given, **given}, only="submit") == 0
    assert built.workspace.outputs["submit"].startswith("updated: ")
    (schedule,) = built.resources("schedules")
    assert schedule.cron == "TZ=Europe/Berlin 30 4 * * *"


def test_new_data_is_a_run_of_the_release(built: Cloud) -> None:
    lines = (ROOT / "examples" / "natality" / "births.csv").read_text().splitlines(keepends=True)
    built.bucket.blob("incoming/births.csv").upload_from_string("".join(lines[:600]))
    data = f"gs://{BUCKET}/incoming/births.csv"
    given = {"_RELEASE": COMMIT, "_DATA": data, "_EVENT": "OBJECT_FINALIZE", "_API_ENDPOINT": built.vertex.url}
    before = len(built.resources("pipelineJobs"))
    assert built.workspace.run("cloudbuild/submit.yaml", given) == 0, built.workspace.outputs["submit"]
    assert len(built.resources("pipelineJobs")) == before + 1
    job = built.resources("pipelineJobs")[-1]
    assert dict(job.runtime_config.parameter_values)["data"] == data
    # What a message says is a value, and no part of a command.
    for name in ("a.csv; touch pwned", "new data.csv", "ü.csv"):
        wrong = given | {"_DATA": f"gs://{BUCKET}/incoming/{name}"}
        assert built.workspace.run("cloudbuild/submit.yaml", wrong) == 2
        assert "_DATA must be gs://" in built.workspace.outputs["submit"]
        assert f"got 'gs://{BUCKET}/incoming/{name}'" in built.workspace.outputs["submit"]
    assert not (built.workspace.folder / "pwned").exists()


def test_a_substitution_that_is_wrong_ends_the_build_at_its_first_step(built: Cloud) -> None:
    built.workspace.outputs.clear()
    pushed = len(built.calls("docker"))
    assert built.run(_ACTION="submit", _BUCKET="x;y") == 2
    assert list(built.workspace.outputs) == ["check"]
    assert len(built.calls("docker")) == pushed


def test_an_image_that_is_not_built_ends_it_before_anything_is_uploaded(built: Cloud) -> None:
    built.workspace.outputs.clear()
    versions = len(built.registry.versions)
    assert built.run(_ACTION="none", _IMAGES="beam server") == 2
    assert list(built.workspace.outputs) == ["check", "test", "images", "scan", "compile"]
    assert "IMAGE_TRAINER" in built.workspace.outputs["compile"]
    assert "An image must be in _IMAGES" in built.workspace.outputs["compile"]
    assert len(built.registry.versions) == versions


@pytest.mark.parametrize(("refusal", "status", "said"), [(403, 2, "artifactregistry.writer"), (503, 75, "503")])
def test_a_registry_that_refuses_ends_it_before_the_run(built: Cloud, refusal: int, status: int, said: str) -> None:
    built.registry.refusals.append(refusal)
    given = {**built.given, "_ACTION": "submit"}
    assert built.workspace.run("cloudbuild.yaml", given, only="upload") == status
    assert said in built.workspace.outputs["upload"]
    assert "Traceback" not in built.workspace.outputs["upload"]
