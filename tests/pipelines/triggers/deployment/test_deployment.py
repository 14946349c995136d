"""Deployments: the folders that are written, and commands that gcloud itself understands."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from support.triggered import settings_below

from headrace.core.errors import UsageError
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.triggers.closing import ClosingRule
from headrace.pipelines.triggers.deployment import function
from headrace.pipelines.triggers.deployment.common import Deployment, command, variables
from headrace.pipelines.triggers.deployment.service import Host, ServiceDeployment
from headrace.pipelines.triggers.storage_event import StorageTrigger

OPTIONS = """
[vertex]
project = "demo-project"
location = "europe-west1"
service_account = "runs@demo-project.iam.gserviceaccount.com"
"""


@pytest.fixture
def settings(bucket: str, put: object, tmp_path: Path) -> DynamicSettings:
    from dataclasses import replace

    found = settings_below(f"gs://{bucket}/root")
    assert found.place is not None
    options = tmp_path / "options.toml"
    options.write_text(OPTIONS)
    return replace(found, place=replace(found.place, options_file=str(options)))


def deployment(settings: DynamicSettings) -> Deployment:
    return Deployment(settings, "demo-project", "europe-west1", "flights")


def function_lines(settings: DynamicSettings, folder: str) -> list[str]:
    options = StorageTrigger(settings.uri, "gs://data-bucket/flights", ClosingRule.parse("manifest=files.json"))
    return function.commands(folder, deployment(settings), options)


def service(settings: DynamicSettings, host: Host, iap: str = "") -> ServiceDeployment:
    accounts = ["ann@example.com", "caller@demo-project.iam.gserviceaccount.com"]
    places = ["gs://data-bucket/flights"]
    return ServiceDeployment(deployment(settings), host, "https://trigger.example.com", iap, accounts, places)


def test_the_function_is_deployed_with_the_rights_that_it_needs(settings: DynamicSettings, tmp_path: Path) -> None:
    folder = str(tmp_path / "function")
    function.write(folder, deployment(settings))
    main = (tmp_path / "function/main.py").read_text()
    assert "from headrace.pipelines.triggers.function import arrived" in main
    compile(main, "main.py", "exec")
    lines = function_lines(settings, folder)
    member = "--member=serviceAccount:headrace-trigger@demo-project.iam.gserviceaccount.com"
    text = "\n".join(lines)
    root = settings.root.rpartition("/")[0]
    for role, on in (
        ("storage.objectUser", f"storage buckets add-iam-policy-binding {root}"),
        ("storage.objectViewer", "storage buckets add-iam-policy-binding gs://data-bucket"),
        ("aiplatform.user", "projects add-iam-policy-binding demo-project"),
        ("iam.serviceAccountUser", "runs@demo-project.iam.gserviceaccount.com"),
        ("eventarc.eventReceiver", "projects add-iam-policy-binding demo-project"),
    ):
        assert any(f"roles/{role}" in line and on in line and member in line for line in lines), role
    assert "--entry-point=arrived" in text
    assert "--retry" in text
    assert f"HEADRACE_SETTINGS={settings.uri},HEADRACE_SPANS=gs://data-bucket/flights" in text
    assert "HEADRACE_CLOSED_BY=manifest=files.json" in text


def test_the_service_is_deployed_as_a_process_of_the_same_command(settings: DynamicSettings, tmp_path: Path) -> None:
    service(settings, "cloud-run").write(str(tmp_path / "run"))
    start = (
        f"headrace trigger serve --settings {settings.uri} --audience https://trigger.example.com "
        "--allow ann@example.com --allow caller@demo-project.iam.gserviceaccount.com "
        "--data-below gs://data-bucket/flights --host 0.0.0.0 --port $PORT"
    )
    assert (tmp_path / "run/Procfile").read_text().splitlines()[1:] == [f"web: {start}"]
    service(settings, "app-engine").write(str(tmp_path / "engine"))
    app = yaml.safe_load((tmp_path / "engine/app.yaml").read_text())
    assert (app["entrypoint"], app["runtime"]) == (start, "python312")
    assert app["service_account"] == "headrace-trigger@demo-project.iam.gserviceaccount.com"
    lines = service(settings, "cloud-run").commands("run")
    # Where Cloud Run verifies a token, its signature is gone before the service can.
    assert "--allow-unauthenticated" in lines[-1]
    assert "--iap" not in lines[-1].split()
    behind = service(settings, "cloud-run", "/projects/1/apps/x").commands("run")
    assert "--iap" in next(line for line in behind if " run deploy " in line).split()
    assert [line.split("--member=")[1].split()[0] for line in behind if " iap web " in line] == [
        "user:ann@example.com",
        "serviceAccount:caller@demo-project.iam.gserviceaccount.com",
    ]


def test_only_files_of_an_earlier_call_are_replaced(settings: DynamicSettings, tmp_path: Path) -> None:
    for _ in range(2):
        function.write(str(tmp_path), deployment(settings))
    (tmp_path / "requirements.txt").write_text("flask\n")
    with pytest.raises(UsageError, match="the file exists, and was not written by this command"):
        function.write(str(tmp_path), deployment(settings))
    assert (tmp_path / "requirements.txt").read_text() == "flask\n"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project", "Demo"),
        ("project", "demo-project; rm -rf /"),
        ("region", "europe"),
        ("name", "Flights"),
        ("account", "a@b"),
    ],
)
def test_names_that_google_does_not_allow_are_refused(settings: DynamicSettings, field: str, value: str) -> None:
    given = {"project": "demo-project", "region": "europe-west1", "name": "flights", field: value}
    with pytest.raises(UsageError, match=f"--{field}: the option is not valid"):
        Deployment(settings, **given)


def test_a_training_of_this_machine_has_no_trigger_on_google_cloud(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a training whose root is there"):
        Deployment(settings_below(tmp_path), "demo-project", "europe-west1", "flights")


def test_values_with_separators_are_quoted() -> None:
    assert variables({"A": "1", "B": "2"}) == "A=1,B=2"
    assert variables({"A": "1,2", "B": "2"}) == "^@^A=1,2@B=2"
    assert command("a", "b c", some_flag="", name="d e") == "gcloud a 'b c' --some-flag '--name=d e'"


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs the Google Cloud CLI: cloud.google.com/sdk")
def test_gcloud_understands_every_command(settings: DynamicSettings, tmp_path: Path) -> None:
    lines = [
        *function_lines(settings, "function"),
        *service(settings, "cloud-run", "/projects/1/apps/x").commands("run"),
        *service(settings, "app-engine", "/projects/1/apps/x").commands("engine"),
    ]
    calls = []
    for line in lines:
        if line.startswith("#"):
            continue
        call = line.partition("$(")[2].rstrip(")") if line.partition("=")[0] in ("AGENT", "LOCATION") else line
        calls.append(call.replace('"${LOCATION,,}"', "eu").replace('"serviceAccount:$AGENT"', "serviceAccount:a@b.c"))
    file = tmp_path / "commands.json"
    file.write_text(json.dumps([{"command_string": call} for call in dict.fromkeys(calls)]))
    checked = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={file}"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
    )
    found = json.loads(checked.stdout)
    wrong = [(each["command_string"], each["error_message"]) for each in found if not each["success"]]
    assert not wrong
    assert len(found) == len(set(calls)) > 10
