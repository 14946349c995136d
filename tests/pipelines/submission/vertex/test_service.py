"""What is Vertex AI's own: its refusals with the commands that mend them, its requests, conflicts and names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.pipeline_engine import TaskFailed
from peers.pipeline_platforms import GOLDEN, Platform, headrace

PARENT = "projects/demo-project/locations/us-central1"


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
        (400, "Unsupported region for Vertex AI, 'mars-central1'.", 2, "Choose another --region"),
        (400, "Invalid value for runtime_config", 2, "Vertex AI rejected the request"),
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
    vertex.options = [
        "--platform",
        "vertex",
        "--options",
        str(tmp_path / "vertex.toml"),
        "--api-endpoint",
        vertex.server.url,
    ]
    assert vertex.submit("--no-cache").status == 0
    made = job(vertex)
    assert dict(made.labels) == {"team": "growth", "headrace-pipeline": "static-training"}
    assert made.service_account == "runner@demo-project.iam.gserviceaccount.com"
    assert made.network == "projects/123/global/networks/pods"
    assert made.encryption_spec.kms_key_name == key
    assert made.runtime_config.gcs_output_directory == f"gs://{bucket}/headrace/pipeline"
    assert made.runtime_config.parameter_values["cache"] is False


def test_what_the_platform_cannot_reach_is_refused_before_it_is_asked(vertex: Platform) -> None:
    for option, value in (("--data", "births.csv"), ("--root", "out")):
        given = list(vertex.inputs)
        given[given.index(option) + 1] = value
        vertex.inputs, kept = given, vertex.inputs
        done = vertex.submit()
        vertex.inputs = kept
        assert (done.status, f"{option}: Vertex AI cannot read the path" in done.error) == (2, True)
    assert vertex.server.requests == []


def test_a_search_is_looked_at_before_the_platform_is_asked(vertex: Platform) -> None:
    vertex.spec = str(GOLDEN / "tuned_training_vertex.yaml")
    done = vertex.submit()
    assert (done.status, "the Problem has nothing to tune" in done.error) == (2, True)
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


@pytest.mark.parametrize(("code", "status"), [("INVALID_ARGUMENT", 2), ("RESOURCE_EXHAUSTED", 75)])
def test_the_services_own_word_of_a_task_says_whose_fault_it_is(vertex: Platform, code: str, status: int) -> None:
    said = f"AiPlatformException: code={code}, message=no such machine, cause=null; Failed to create custom job"
    vertex.do.by_task = {"train": TaskFailed(f"com.google.cloud.ai.platform.common.errors.{said}")}
    done = vertex.submit("--wait")
    assert (done.status, "no such machine" in done.error, "--task train" in done.error) == (status, True, True)
    assert ("train: Vertex AI rejected the request. Received: no such machine." in done.error) is (status == 2)


def test_an_unknown_host_is_a_region_that_there_is_not() -> None:
    import requests

    from headrace.core.errors import UsageError
    from headrace.pipelines.submission.vertex.errors import Account, explained

    account = Account("demo-project", "mars-central1", "user:a@b.c")
    with pytest.raises(UsageError, match=r"not available in 'mars-central1'"), explained(account, "a run"):
        raise requests.ConnectionError("Failed to resolve: [Errno -2] Name or service not known")


def test_options_of_the_other_platform_are_refused(vertex: Platform) -> None:
    done = headrace("status", *vertex.options, "--kubeflow-url", "http://127.0.0.1:1")
    assert (done.status, "vertex does not accept --kubeflow-url" in done.error) == (2, True)
    missing = headrace("status", "--platform", "vertex", "--project", "demo-project")
    assert (missing.status, "--region is missing" in missing.error) == (2, True)


def test_models_are_given_by_their_names_in_the_registry(
    vertex: Platform, bucket: str, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    from peers import component_calls

    from headrace.components.registry.vertex.component import resolve

    vertex.server.be_asked_from_here()
    place = put("model/training.json", b'{"model_version": "0123456789abcdef"}').rpartition("/")[0]
    vertex.server.upload(place, model_id="natality", versionAliases=["champion"])
    vertex.do.by_task["resolve"] = lambda call: component_calls.run(resolve, call, tmp_path)
    start = json.dumps({"warm_start": f"{PARENT}/models/natality@1"})
    done = vertex.submit("--champion", "champion", "--parameter", f"training={start}", "--wait")
    assert (done.status, done.error) == (0, "")
    given = {call.task: call.parameters for call in vertex.do.calls}
    assert next(iter(given)) == "resolve"
    assert given["evaluate"]["champion"] == f"/gcs/{bucket}/model"
    # By the version the cache sees that the alias means another model.
    assert given["train"]["training"] == {
        "warm_start": f"/gcs/{bucket}/model",
        "warm_start_version": "0123456789abcdef",
    }


def test_options_of_a_training_are_checked_before_the_platform_is_asked(vertex: Platform) -> None:
    for training, said in (
        ('{"max_hour": 2}', "training has no option 'max_hour'"),
        ('{"target": "auc=0.9"}', "the target is of another task"),
    ):
        done = vertex.submit("--parameter", f"training={training}")
        assert (done.status, said in done.error, vertex.server.requests) == (2, True, [])
