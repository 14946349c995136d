"""What is Vertex AI's own: its refusals with the commands that mend them, its requests, schedules and conflicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.pipeline_platforms import GOLDEN, Platform, headrace

PARENT = "projects/demo-project/locations/us-central1"
CRON = ["--cron", "0 3 * * *", "--timezone", "Europe/Berlin"]


def job(platform: Platform) -> Any:
    (name,) = [name for name in platform.server.vertex.resources if "/pipelineJobs/" in name]
    return platform.server.vertex.resources[name]


@pytest.mark.parametrize(
    ("code", "message", "status", "said"),
    [
        (
            403,
            "Permission 'aiplatform.pipelineJobs.create' denied on resource '//aiplatform.googleapis.com/projects/x'",
            2,
            (
                'gcloud projects add-iam-policy-binding demo-project --member=user:"$(gcloud config get-value account)"'
                " --role=roles/aiplatform.user"
            ),
        ),
        (
            403,
            "You do not have permission to act as service account: runner@demo-project.iam.gserviceaccount.com.",
            2,
            (
                "gcloud iam service-accounts add-iam-policy-binding runner@demo-project.iam.gserviceaccount.com"
                " --project=demo-project"
            ),
        ),
        (
            403,
            (
                "Vertex AI API has not been used in project 12 before or it is disabled. Enable it by visiting"
                " https://console.developers.google.com/apis/api/aiplatform.googleapis.com/overview?project=12"
            ),
            2,
            "gcloud services enable aiplatform.googleapis.com --project=demo-project",
        ),
        (
            403,
            "This API method requires billing to be enabled. Please check the billing account of the project",
            2,
            "gcloud billing projects link demo-project --billing-account=ACCOUNT_ID",
        ),
        (
            429,
            "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus",
            75,
            "gcloud beta quotas info list --service=aiplatform.googleapis.com --project=demo-project",
        ),
        (400, "Unsupported region for Vertex AI, 'mars-central1'.", 2, "Give another --location"),
        (400, "Invalid value for runtime_config", 2, "Vertex AI refused the request"),
    ],
)
def test_a_refusal_says_what_mends_it(
    vertex: Platform, code: int, message: str, status: int, said: str, clock: list[float]
) -> None:
    vertex.server.fail(vertex.create, code, times=100, message=message)
    done = vertex.submit()
    assert (done.status, clock) == (status, [])
    assert said in done.error
    assert message.rstrip(".")[:200] in done.error
    assert "\n" not in done.error


def test_the_request_is_what_the_options_file_says(vertex: Platform, tmp_path: Path, bucket: str) -> None:
    key = "projects/demo-project/locations/us-central1/keyRings/ring/cryptoKeys/key"
    (tmp_path / "vertex.toml").write_text(
        '[vertex]\nproject = "demo-project"\nlocation = "us-central1"\n'
        'service_account = "runner@demo-project.iam.gserviceaccount.com"\n'
        f'network = "projects/123/global/networks/pods"\nencryption_key = "{key}"\nlabels = {{ team = "growth" }}\n'
    )
    vertex.options = ["--to", "vertex", "--options", str(tmp_path / "vertex.toml"), "--api-endpoint", vertex.server.url]
    assert vertex.submit("--no-cache").status == 0
    made = job(vertex)
    assert dict(made.labels) == {"team": "growth", "headrace-pipeline": "static-training"}
    assert made.service_account == "runner@demo-project.iam.gserviceaccount.com"
    assert made.network == "projects/123/global/networks/pods"
    assert made.encryption_spec.kms_key_name == key
    assert made.runtime_config.gcs_output_directory == f"gs://{bucket}/headrace/pipeline"
    spec = json.loads(type(made).to_json(made))["pipelineSpec"]
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert {name: task.get("cachingOptions") for name, task in tasks.items() if name != "condition-2"} == {
        "models": {},
        "preprocess": {},
        "train": {},
        "evaluate": {},
    }


def test_what_the_platform_cannot_reach_is_refused_before_it_is_asked(vertex: Platform) -> None:
    for option, value in (("--data", "births.csv"), ("--root", "out")):
        given = list(vertex.inputs)
        given[given.index(option) + 1] = value
        vertex.inputs, kept = given, vertex.inputs
        done = vertex.submit()
        vertex.inputs = kept
        assert (done.status, f"{option}: Vertex AI does not reach it" in done.error) == (2, True)
    assert vertex.server.requests == []


def test_a_search_is_looked_at_before_the_platform_is_asked(vertex: Platform) -> None:
    vertex.spec = str(GOLDEN / "tuned_training_vertex.yaml")
    done = vertex.submit()
    assert (done.status, "there is nothing to tune" in done.error) == (2, True)
    assert vertex.server.requests == []


def test_two_who_submit_at_once_have_one_run(vertex: Platform) -> None:
    # The other's request arrives between our look and our own request.
    vertex.server.fail(vertex.get, 404)
    first = vertex.submit()
    vertex.server.fail(vertex.get, 404)
    second = vertex.submit()
    assert (first.status, second.status) == (0, 0)
    assert first.output.split(":")[0] == second.output.split(":")[0]
    assert job(vertex).display_name == first.output.split(":")[0]
    assert len(vertex.made) == 2


def test_an_unknown_host_is_a_region_that_there_is_not() -> None:
    import requests

    from headrace.components.errors import UsageError
    from headrace.pipelines.submission.vertex_errors import Account, explained

    account = Account("demo-project", "mars-central1", "user:a@b.c")
    with pytest.raises(UsageError, match=r"not to be had in 'mars-central1'"), explained(account, "a run"):
        raise requests.ConnectionError("Failed to resolve: [Errno -2] Name or service not known")


def test_a_schedule_is_made_changed_paused_and_deleted(vertex: Platform) -> None:
    spec, options = vertex.spec, vertex.options
    made = headrace("schedule", "set", spec, *options, *vertex.inputs, *CRON)
    assert made.output == 'made: natality: active, "0 3 * * *" Europe/Berlin\n'
    (name,) = [name for name in vertex.server.vertex.resources if "/schedules/" in name]
    held = vertex.server.vertex.resources[name]
    assert (held.cron, held.max_concurrent_run_count) == ("TZ=Europe/Berlin 0 3 * * *", 1)
    changed = headrace("schedule", "set", spec, *options, *vertex.inputs, "--cron", "30 4 * * 1")
    assert changed.output == 'changed: natality: active, "30 4 * * 1" UTC\n'
    assert headrace("schedule", "pause", "natality", *options).output == "paused: natality\n"
    assert headrace("schedule", "list", *options).output == 'natality: paused, "30 4 * * 1" UTC\n'
    assert headrace("schedule", "resume", "natality", *options).status == 0
    run = vertex.server.vertex.finish(vertex.server.vertex.fire(name))
    assert run.state.name == "PIPELINE_STATE_SUCCEEDED"
    assert dict(run.runtime_config.parameter_values)["run_id"] == "natality"
    assert headrace("schedule", "delete", "natality", *options).status == 0
    assert headrace("schedule", "list", *options).output == ""
    missing = headrace("schedule", "pause", "natality", *options)
    assert (missing.status, "there is no such schedule" in missing.error) == (2, True)


def test_a_lost_answer_makes_no_second_schedule(vertex: Platform) -> None:
    vertex.server.fail(r"POST .*/schedules$", 0, after=True)
    done = headrace("schedule", "set", vertex.spec, *vertex.options, *vertex.inputs, *CRON)
    assert (done.status, len([n for n in vertex.server.vertex.resources if "/schedules/" in n])) == (0, 1)


def test_an_operation_that_fails_late_is_the_platforms_fault(vertex: Platform) -> None:
    headrace("schedule", "set", vertex.spec, *vertex.options, *vertex.inputs, *CRON)
    vertex.server.vertex.failing_operations += ["the schedule is busy"] * 100
    done = headrace("schedule", "delete", "natality", *vertex.options)
    assert (done.status, "the schedule is busy" in done.error) == (75, True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--cron", "0 3 * *"], "five fields"),
        (["--cron", "0 3 * * *", "--timezone", "Mars/Olympus"], "no such time zone"),
    ],
)
def test_wrong_times_are_refused(vertex: Platform, more: list[str], said: str) -> None:
    done = headrace("schedule", "set", vertex.spec, *vertex.options, *vertex.inputs, *more)
    assert (done.status, said in done.error, vertex.server.requests) == (2, True, [])


def test_options_of_the_other_platform_are_refused(vertex: Platform) -> None:
    done = headrace("status", *vertex.options, "--host", "http://127.0.0.1:1")
    assert (done.status, "vertex takes no --host" in done.error) == (2, True)
    missing = headrace("status", "--to", "vertex", "--project", "demo-project")
    assert (missing.status, "--location is missing" in missing.error) == (2, True)


def test_models_are_given_by_their_names_in_the_registry(
    vertex: Platform, bucket: str, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from peers import component_calls

    from headrace.components.registry.vertex_component import models

    aiplatform.init(
        project="demo-project", location="us-central1", api_endpoint=vertex.server.url, api_transport="rest",
        credentials=AnonymousCredentials(),
    )  # fmt: skip
    place = put("model/training.json", b'{"model_version": "0123456789abcdef"}').rpartition("/")[0]
    vertex.server.upload(place, model_id="natality", versionAliases=["champion"])
    vertex.do.by_task["models"] = lambda call: component_calls.run(models, call, tmp_path)
    done = vertex.submit("--champion", "champion", "--parameter", f"warm_start={PARENT}/models/natality@1", "--wait")
    assert (done.status, done.error) == (0, "")
    given = {call.task: call.parameters for call in vertex.do.calls}
    assert given["evaluate"]["champion"] == given["train"]["warm_start"] == f"/gcs/{bucket}/model"
    # By it the cache sees that the alias means another model.
    assert given["train"]["warm_start_version"] == "0123456789abcdef"
