"""That the test server of Vertex AI is one: the service's own clients upload, deploy, run, list, cancel and fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from peers.vertex.server import VertexServer

PARENT = "projects/demo-project/locations/us-central1"
IMAGE = "us-docker.pkg.dev/demo-project/images/serving:1"


@pytest.fixture
def client(vertex_server: VertexServer) -> Iterator[Callable[[str], Any]]:
    """`client("Job")`: the client of a service, by REST."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1

    made: list[Any] = []

    def make(service: str) -> Any:
        made.append(
            getattr(aiplatform_v1, f"{service}ServiceClient")(
                transport="rest",
                credentials=AnonymousCredentials(),
                client_options={"api_endpoint": vertex_server.url},
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.transport.close()


@pytest.fixture
def upload(client: Callable[[str], Any]) -> Callable[..., Any]:
    """`upload(artifact)`: the answer to the upload of a model."""
    models = client("Model")

    def made(artifact: str = "gs://models/natality", parent_model: str = "", **more: Any) -> Any:
        model = {
            "display_name": "natality",
            "artifact_uri": artifact,
            "container_spec": {"image_uri": IMAGE},
            **more,
        }
        request = {"parent": PARENT, "model": model, "parent_model": parent_model}
        return models.upload_model(request=request).result(timeout=600)

    return made


def job(model: str, bucket: str, **more: Any) -> dict[str, Any]:
    return {
        "display_name": "a job",
        "model": model,
        "input_config": {"instances_format": "jsonl", "gcs_source": {"uris": [f"gs://{bucket}/in/part-*.jsonl"]}},
        "instance_config": {"instance_type": "object", "key_field": "row"},
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": f"gs://{bucket}/out"},
        },
        "manual_batch_tuning_parameters": {"batch_size": 2},
        "labels": {"team": "water"},
        **more,
    }


def doubled(body: bytes) -> bytes:
    """A container that doubles numbers, and refuses a batch that holds a text."""
    values = [instance["x"] for instance in json.loads(body)["instances"]]
    return json.dumps({"predictions": [2 * (value + 0) for value in values]}).encode()


def test_models_have_versions_and_aliases(client: Callable[[str], Any], upload: Callable[..., Any]) -> None:
    first = upload(version_aliases=["champion"])
    second = upload(parent_model=first.model, version_aliases=["champion"])
    assert (first.model_version_id, second.model_version_id) == ("1", "2")
    models = client("Model")
    assert models.get_model(name=f"{first.model}@champion").version_id == "2"
    assert models.get_model(name=first.model).version_id == "1"
    models.merge_version_aliases(name=f"{first.model}@1", version_aliases=["champion"])
    assert models.get_model(name=f"{first.model}@champion").version_id == "1"


def test_an_endpoint_shifts_its_traffic(client: Callable[[str], Any], upload: Callable[..., Any]) -> None:
    endpoints = client("Endpoint")
    endpoint = endpoints.create_endpoint(parent=PARENT, endpoint={"display_name": "natality"}).result(timeout=600)
    for _ in range(2):
        deployed = {
            "model": upload().model,
            "dedicated_resources": {"machine_spec": {"machine_type": "n2-standard-2"}, "min_replica_count": 1},
        }
        held = endpoints.get_endpoint(name=endpoint.name).traffic_split
        split = {"0": 100 if not held else 10, **dict.fromkeys(held, 90)}
        endpoints.deploy_model(endpoint=endpoint.name, deployed_model=deployed, traffic_split=split).result(timeout=600)
    shares = sorted(endpoints.get_endpoint(name=endpoint.name).traffic_split.values())
    assert shares == [10, 90]


def test_an_operation_fails_late(vertex_server: VertexServer, upload: Callable[..., Any]) -> None:
    from google.api_core.exceptions import GoogleAPICallError

    vertex_server.vertex.failing_operations.append("the image cannot be pulled")
    with pytest.raises(GoogleAPICallError, match="the image cannot be pulled"):
        upload()
    assert upload().model_version_id == "1"


def test_a_batch_prediction_job_predicts(
    vertex_server: VertexServer,
    client: Callable[[str], Any],
    upload: Callable[..., Any],
    bucket: str,
    put: Callable[[str, bytes], str],
) -> None:
    from google.cloud import storage
    from peers.vertex import batch

    artifact = put("model/saved_model.pb", b"").rpartition("/")[0]
    vertex_server.vertex.work["batchPredictionJobs"] = lambda job: batch.run(
        vertex_server.vertex, job, lambda _: doubled
    )
    put("in/part-0.jsonl", b'{"row": "a", "x": 1}\n{"row": "b", "x": 2}\n{"row": "c", "x": "no"}\n')
    put("in/part-1.jsonl", b'{"row": "d", "x": 4}\n{"row": "e", "x": 5}\n')
    put("in/notes.txt", b"not an instance")
    jobs = client("Job")
    made = jobs.create_batch_prediction_job(parent=PARENT, batch_prediction_job=job(upload(artifact).model, bucket))
    seen = [jobs.get_batch_prediction_job(name=made.name) for _ in range(4)]
    assert [now.state.name.removeprefix("JOB_STATE_") for now in seen] == [
        "PENDING", "RUNNING", "SUCCEEDED", "SUCCEEDED",
    ]  # fmt: skip
    stats = seen[-1].completion_stats
    assert (stats.successful_count, stats.failed_count, seen[-1].model_version_id) == (3, 2, "1")
    folder = seen[-1].output_info.gcs_output_directory
    assert folder.startswith(f"gs://{bucket}/out/prediction-natality-")
    gcs = storage.Client(project="demo-project")
    blobs = list(gcs.list_blobs(bucket, prefix="out/"))
    files = {blob.name.rpartition("/")[2]: blob.download_as_bytes().decode() for blob in blobs}
    gcs.close()
    answers = [json.loads(line) for name, text in files.items() if "results" in name for line in text.splitlines()]
    assert {row["key"]: row["prediction"] for row in answers} == {"a": 2, "b": 4, "e": 10}
    assert len([name for name in files if "results" in name]) == 3
    (error,) = files["prediction.errors_stats-00000-of-00001"].splitlines()
    assert error.startswith("('Post request fails. Cannot get predictions.")
    assert error.endswith(", 2)")


def test_jobs_are_listed_cancelled_and_refused(
    vertex_server: VertexServer, client: Callable[[str], Any], upload: Callable[..., Any], bucket: str
) -> None:
    from google.api_core import exceptions as api

    jobs, model = client("Job"), upload().model
    made = jobs.create_batch_prediction_job(parent=PARENT, batch_prediction_job=job(model, bucket))

    def found(text: str) -> list[str]:
        return [one.name for one in jobs.list_batch_prediction_jobs(request={"parent": PARENT, "filter": text})]

    assert found('labels.team="water"') == found("labels.team=water") == found("labels.team:*") == [made.name]
    assert found('labels.team="fire"') == found('state="JOB_STATE_SUCCEEDED"') == []
    jobs.cancel_batch_prediction_job(name=made.name)
    assert jobs.get_batch_prediction_job(name=made.name).state.name == "JOB_STATE_CANCELLED"
    for wrong in (
        {"labels": {"Team": "water"}},
        {"input_config": {"instances_format": "parquet"}},
        {"output_config": {"predictions_format": "jsonl"}},
    ):
        with pytest.raises(api.BadRequest):
            jobs.create_batch_prediction_job(parent=PARENT, batch_prediction_job=job(model, bucket, **wrong))
    with pytest.raises(api.NotFound):
        jobs.create_batch_prediction_job(parent=PARENT, batch_prediction_job=job(f"{PARENT}/models/1", bucket))
    with pytest.raises(api.Forbidden):
        jobs.get_batch_prediction_job(name=made.name.replace("demo-project", "another"))


def test_faults_come_as_often_as_they_are_asked_for(
    vertex_server: VertexServer, client: Callable[[str], Any], upload: Callable[..., Any], bucket: str
) -> None:
    import requests
    from google.api_core import exceptions as api

    jobs, wanted = client("Job"), job(upload().model, bucket)
    create = "POST .*/batchPredictionJobs$"
    vertex_server.fail(create, 429)
    vertex_server.fail(create, 503)
    vertex_server.fail(create, 0, after=True)
    for error in (api.TooManyRequests, api.ServiceUnavailable, requests.ConnectionError):
        with pytest.raises(error):
            jobs.create_batch_prediction_job(parent=PARENT, batch_prediction_job=wanted)
    # The request whose answer was lost took effect.
    assert len(list(jobs.list_batch_prediction_jobs(parent=PARENT))) == 1


def test_a_server_that_is_started_again_goes_on_where_it_stopped(tmp_path: Path, bucket: str) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1
    from peers.vertex.server import serving

    def client(service: str, url: str) -> Any:
        made = getattr(aiplatform_v1, f"{service}ServiceClient")
        return made(transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})

    saved = tmp_path / "vertex.json"
    with serving(saved) as first:
        model = first.upload("gs://models/natality", versionAliases=["champion"])
        made = client("Job", first.url).create_batch_prediction_job(
            parent=PARENT, batch_prediction_job=job(model, bucket)
        )
        client("Job", first.url).get_batch_prediction_job(name=made.name)
        begun = first.vertex.handle("POST", f"{PARENT}/endpoints", {}, b'{"displayName": "natality"}')
        # What came by another way than a request is kept with the next one.
        client("Model", first.url).get_model(name=model)
        number = first.vertex.last_number
    with serving(saved) as second:
        assert client("Model", second.url).get_model(name=f"{model}@champion").version_id == "1"
        jobs = client("Job", second.url)
        (listed,) = jobs.list_batch_prediction_jobs(request={"parent": PARENT, "filter": "labels.team=water"})
        assert (listed.name, listed.create_time) == (made.name, made.create_time)
        second.vertex.work["batchPredictionJobs"] = lambda _: None
        assert [jobs.get_batch_prediction_job(name=made.name).state.name for _ in range(2)] == [
            "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED",
        ]  # fmt: skip
        # An operation that was under way ends, and has its effect.
        polled = [second.vertex.handle("GET", begun["name"], {}, b"")["done"] for _ in range(2)]
        assert polled == [False, True]
        (endpoint,) = client("Endpoint", second.url).list_endpoints(parent=PARENT)
        assert endpoint.display_name == "natality"
        # The endpoint's own host has the next number.
        assert second.vertex.number() == number + 2


def test_a_deployed_model_is_taken_away(client: Callable[[str], Any], upload: Callable[..., Any]) -> None:
    endpoints = client("Endpoint")
    endpoint = endpoints.create_endpoint(parent=PARENT, endpoint={"display_name": "natality"}).result(timeout=600)
    machine = {"machine_spec": {"machine_type": "n2-standard-2"}, "min_replica_count": 1}
    deployed = {"model": upload().model, "dedicated_resources": machine}
    made = endpoints.deploy_model(endpoint=endpoint.name, deployed_model=deployed, traffic_split={"0": 100})
    held = made.result(timeout=600).deployed_model.id
    endpoints.undeploy_model(endpoint=endpoint.name, deployed_model_id=held).result(timeout=600)
    assert not endpoints.get_endpoint(name=endpoint.name).deployed_models
    endpoints.delete_endpoint(name=endpoint.name).result(timeout=600)
    assert not list(endpoints.list_endpoints(parent=PARENT))
