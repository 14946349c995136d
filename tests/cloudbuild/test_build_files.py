"""cloudbuild.yaml and the triggers, read by the service's own messages, by gcloud's parser and by the public schema."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from peers.cloud_build import BUILT_IN, ROOT, load, values_of

BUILDS = ("cloudbuild.yaml", "cloudbuild/submit.yaml")
TRIGGERS = sorted(path.name for path in (ROOT / "cloudbuild" / "triggers").glob("*.yaml"))
# Loads files by the module that `gcloud builds submit` and `gcloud builds triggers import` load them by.
_GCLOUD = """
import pathlib, sys
kind, lib, *files = sys.argv[1:]
sys.path[:0] = [lib, lib + "/third_party"]
from googlecloudsdk.api_lib.cloudbuild import cloudbuild_util, config
from googlecloudsdk.core import exceptions
messages = cloudbuild_util.GetMessagesModule()
for file in files:
    try:
        if kind == "build":
            print(len(config.LoadCloudbuildConfigFromPath(file, messages).steps))
        else:
            loaded = cloudbuild_util.LoadMessagesFromPath(
                file, messages.BuildTrigger, "BuildTrigger", skip_camel_case=["substitutions"])
            print(loaded[0].name)
    except exceptions.Error as error:
        sys.exit(str(error))
"""


def message(kind: str, content: dict[str, Any]) -> Any:
    """A file as the service's message; a key that there is not is refused."""
    from google.cloud.devtools import cloudbuild_v1

    return getattr(cloudbuild_v1, kind).from_json(json.dumps(content), ignore_unknown_fields=False)


def with_gcloud(kind: str, *files: Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which("gcloud")
    lib = Path(found).resolve().parent.parent / "lib" if found else Path("nowhere")
    if not (lib / "googlecloudsdk").is_dir():
        pytest.skip("the Google Cloud CLI is not installed: cloud.google.com/sdk/docs/install")
    command = [sys.executable, "-W", "ignore", "-c", _GCLOUD, kind, str(lib), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", BUILDS)
def test_builds_are_builds(name: str) -> None:
    build = message("Build", load(ROOT / name))
    assert [step.id for step in build.steps] == (
        ["check", "test", "images", "scan", "compile", "upload", "submit"] if name == "cloudbuild.yaml" else ["submit"]
    )
    assert all(step.timeout.total_seconds() > 0 for step in build.steps)
    assert build.service_account.endswith("headrace-build@${PROJECT_ID}.iam.gserviceaccount.com")
    assert build.options.automap_substitutions
    assert build.options.logging.name == "CLOUD_LOGGING_ONLY"


@pytest.mark.parametrize("name", TRIGGERS)
def test_triggers_are_triggers(name: str) -> None:
    trigger = message("BuildTrigger", load(ROOT / "cloudbuild" / "triggers" / name))
    file = trigger.filename or trigger.git_file_source.path
    declared = load(ROOT / file)["substitutions"]
    # Of those that a build does not declare, only the event's kind is read, by the trigger's own filter.
    assert set(trigger.substitutions) - set(declared) <= {"_EVENT"}
    assert trigger.service_account == (
        "projects/my-project/serviceAccounts/headrace-build@my-project.iam.gserviceaccount.com"
    )
    assert set(re.findall(r"\b_[A-Z]+", trigger.filter)) <= set(trigger.substitutions)


def test_there_is_a_trigger_for_each_way() -> None:
    from google.cloud.devtools import cloudbuild_v1

    found = [message("BuildTrigger", load(ROOT / "cloudbuild" / "triggers" / name)) for name in TRIGGERS]
    assert [trigger.name for trigger in found] == [
        "headrace-manual",
        "headrace-new-data",
        "headrace-push",
        "headrace-tag",
    ]
    manual, data, push, tag = found
    assert not manual.pubsub_config
    assert not manual.repository_event_config
    assert data.pubsub_config.topic == "projects/my-project/topics/headrace-data"
    assert re.match(push.repository_event_config.push.branch, "main")
    assert re.match(tag.repository_event_config.push.tag, "v1.20.3")
    # What goes to production is approved by somebody; what does not, is not scheduled.
    assert (tag.approval_config.approval_required, tag.substitutions["_ACTION"]) == (True, "schedule")
    assert manual.git_file_source.repo_type == cloudbuild_v1.GitFileSource.RepoType.GITHUB


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("incoming/a.csv", True),
        ("incoming/2026/11/a.parquet", True),
        # A build that ends with the reason, where a filter would drop the message without a word.
        ("incoming/new data.csv", True),
        ("incoming/ü.csv.gz", True),
        ("incoming/2026/", False),
        ("incoming/", False),
        ("samples/a.csv", False),
        ("headrace/incoming/a.csv", False),
    ],
)
def test_each_file_that_comes_in_starts_a_build(name: str, starts: bool) -> None:
    condition = load(ROOT / "cloudbuild" / "triggers" / "new_data.yaml")["filter"]
    (pattern,) = re.findall(r'_DATA\.matches\("(.*)"\)\Z', condition)
    # As RE2 and CEL: a part may match, and . is no end of a line.
    assert (re.search(pattern, f"gs://my-project-headrace/{name}") is not None) is starts


@pytest.mark.parametrize(
    ("kind", "file", "path", "key"),
    [
        ("Build", "cloudbuild.yaml", (), "timeOut"),
        ("Build", "cloudbuild.yaml", ("options",), "machine"),
        ("Build", "cloudbuild.yaml", ("steps", 0), "waits"),
        ("BuildTrigger", "cloudbuild/triggers/tag.yaml", ("approvalConfig",), "required"),
    ],
)
def test_a_key_that_there_is_not_is_refused(
    kind: str, file: str, path: tuple[Any, ...], key: str, tmp_path: Path
) -> None:
    from google.protobuf.json_format import ParseError

    content = load(ROOT / file)
    place: Any = content
    for step in path:
        place = place[step]
    place[key] = "x"
    with pytest.raises(ParseError, match=key):
        message(kind, content)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(content))
    refused = with_gcloud("build" if kind == "Build" else "trigger", wrong)
    assert refused.returncode == 1
    assert key in refused.stderr


def test_gclouds_own_parser_takes_them() -> None:
    builds = with_gcloud("build", *(ROOT / name for name in BUILDS))
    assert (builds.returncode, builds.stdout.split()) == (0, ["7", "1"]), builds.stderr
    triggers = with_gcloud("trigger", *(ROOT / "cloudbuild" / "triggers" / name for name in TRIGGERS))
    assert triggers.stdout.split() == ["headrace-manual", "headrace-new-data", "headrace-push", "headrace-tag"]


def test_the_public_schema_takes_them() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "check_jsonschema", "--builtin-schema", "vendor.cloudbuild"]
    done = subprocess.run([*command, *BUILDS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", BUILDS)
def test_scripts_read_what_is_declared_and_nothing_is_pasted_into_them(name: str) -> None:
    build = load(ROOT / name)
    scripts = [step["script"] for step in build["steps"]]
    assert all(script.startswith("#!") and "set -eu" in script for script in scripts)
    assert all(not set(step) & {"args", "entrypoint", "env", "secretEnv"} for step in build["steps"])
    read = set(re.findall(r"\$\{?(_?[A-Z][A-Z0-9_]+)", "".join(scripts)))
    assert read <= set(build["substitutions"]) | set(BUILT_IN)
    # A variable outside quotes would be split and globbed: in [[ ]], case and <<< of bash it is not.
    bare = [
        line.strip()
        for script in scripts
        for line in script.splitlines()
        if re.search(r"\$", re.sub(r'"[^"]*"', "", line)) and not re.search(r"\[\[|case |^\s*\w+=\S+$", line)
    ]
    assert bare == []


@pytest.mark.parametrize("name", BUILDS)
def test_what_fields_name_is_declared(name: str) -> None:
    build = load(ROOT / name)
    values = values_of(build, {})
    fields = [build["serviceAccount"], *(step["name"] for step in build["steps"])]
    named = {found for text in fields for found in re.findall(r"\$\{([A-Z_]+)\}", text)}
    assert named <= set(values)
    assert "$" not in "".join(values.values())
    if name == "cloudbuild.yaml":
        assert values["_REGISTRY"] == "us-central1-docker.pkg.dev/demo-project/headrace"
        assert values["_SPECS"] == "https://us-central1-kfp.pkg.dev/demo-project/headrace-specs"


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_outlives_its_steps(name: str) -> None:
    build = load(ROOT / name)
    seconds = {step["id"]: int(step["timeout"].removesuffix("s")) for step in build["steps"]}
    if name == "cloudbuild.yaml":
        # The tests and the images are made beside each other.
        seconds["test"] = max(seconds["test"], seconds.pop("images"))
    assert int(build["timeout"].removesuffix("s")) >= sum(seconds.values())
