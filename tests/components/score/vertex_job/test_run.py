"""Scoring by a batch prediction job, against a Vertex AI and a Cloud Storage on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.batch_jobs import IDENTITY, configured, jobs_of, predictions, quarantined, requests, score
from support.by_hand import VERSION, ByHand, predicted

from headrace.components.score.batch import run as direct
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.vertex_job import retry_refused
from headrace.core import retry, storage
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.errors import DataError, HeadraceError, PlatformError, UsageError
from headrace.core.storage.remote import folders

if TYPE_CHECKING:
    from peers.vertex.server import VertexServer

CREATE = "POST .*/batchPredictionJobs$"
GET = "GET .*/batchPredictionJobs/[0-9]+$"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is tried again without a pause."""
    monkeypatch.setattr(retry, "backoff_seconds", lambda *_, **__: 0.0)


@pytest.fixture
def model(vertex: VertexServer, put: Callable[[str, bytes], str]) -> str:
    """A model in the registry."""
    return vertex.upload(put("model/saved_model.pb", b"").rpartition("/")[0])


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Two files of 300 rows; one row lacks its weight, and one is refused by the container."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number, name in enumerate(("a.parquet", "b.parquet")):
        at = np.arange(300) + 300 * number
        weight = pa.array(at / 4 + 20.5, mask=at == 7).to_pylist()
        if number:
            weight[100] = 13.25
        color = [["red", "green", None][row % 3] for row in at]
        rows = pa.table({"id": [f"id-{row}" for row in at], "weight": weight, "color": color})
        pq.write_table(rows, folder / name, row_group_size=200)
    return str(folder)


@pytest.fixture
def run(vertex: VertexServer, model: str, bucket: str, tmp_path: Path, data: str) -> Callable[..., ScoreResult]:
    """`run(**options)`: scores the data by a job; options are those of the configuration, `job` of the job."""

    def made(source: Any = None, job_options: dict[str, Any] | None = None, **options: Any) -> ScoreResult:
        config = configured(vertex, model, bucket, tmp_path, data, job_options or {}, **options)
        return score(config, source or ByHand())

    return made


def test_every_row_is_predicted_or_quarantined(run: Callable[..., ScoreResult], bucket: str, tmp_path: Path) -> None:
    result = run()
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (600, 598, 2)
    assert result.reasons == {"missing_value": 1, "model_failed": 1}
    manifest = PredictionsManifest.read(str(tmp_path / "out"))
    assert (manifest.approach, manifest.model_version, len(manifest.files)) == ("job", VERSION, 2)
    made = predictions(tmp_path / "out")
    source = pa.concat_tables([pq.read_table(tmp_path / "data" / name) for name in ("a.parquet", "b.parquet")])
    kept = source.filter(pc.is_in(source["id"], made["id"]))
    assert made["id"].to_pylist() == kept["id"].to_pylist()
    assert made["prediction"].to_numpy().tolist() == predicted(kept["weight"].to_numpy()).tolist()
    assert made["probabilities"].to_pylist() == [[w % 1, 1 - w % 1] for w in kept["weight"].to_pylist()]
    lost = quarantined(tmp_path / "out")
    # Vertex AI does not say which row it was of the batch of ten that the container refused; a second job tells.
    assert [(row.file, row.row) for row in lost] == [("a.parquet", 8), ("b.parquet", 101)]
    assert lost[0].fault.message == "weight is missing, and is not optional"
    assert "13.25 is refused" in lost[1].fault.message
    assert manifest.notes == ("10 rows of batches that the container refused are sent again, one by one",)
    # Nothing is left in the bucket but the model.
    assert [found.name for found in folders.below(f"gs://{bucket}")] == ["model/saved_model.pb"]


def test_the_job_is_as_asked_for(run: Callable[..., ScoreResult], vertex: VertexServer, tmp_path: Path) -> None:
    told = tmp_path / "gcp_resources"
    run(
        job_options={
            "machine_type": "n2-highmem-8",
            "replicas": 3,
            "service_account": "me@demo-project.iam.gserviceaccount.com",
        },
        gcp_resources=str(told),
    )
    made, again = jobs_of(vertex)
    assert made.model.endswith("@1")
    assert (again.model, again.dedicated_resources, again.service_account) == (
        made.model,
        made.dedicated_resources,
        made.service_account,
    )
    assert (again.manual_batch_tuning_parameters.batch_size, again.completion_stats.successful_count) == (1, 10)
    assert made.dedicated_resources.machine_spec.machine_type == "n2-highmem-8"
    assert (made.dedicated_resources.max_replica_count, made.service_account) == (
        3,
        "me@demo-project.iam.gserviceaccount.com",
    )
    assert (made.manual_batch_tuning_parameters.batch_size, made.instance_config.key_field) == (10, "headrace_row")
    (resource,) = json.loads(told.read_text())["resources"]
    assert resource == {
        "resourceType": "BatchPredictionJob",
        "resourceUri": f"https://us-central1-aiplatform.googleapis.com/v1/{again.name}",
    }


def test_faults_of_the_service_are_ridden_out(run: Callable[..., ScoreResult], vertex: VertexServer) -> None:
    for code in (429, 500, 503, 0):
        vertex.fail(CREATE, code)
        vertex.fail(GET, code)
    vertex.fail("GET .*/models/", 503)
    result = run()
    assert (result.rows_out, requests(vertex, CREATE)) == (598, 6)


def test_a_lost_answer_starts_no_second_job(run: Callable[..., ScoreResult], vertex: VertexServer) -> None:
    vertex.fail(CREATE, 0, after=True)
    assert run().rows_out == 598
    assert (requests(vertex, CREATE), len(jobs_of(vertex))) == (2, 2)


def test_a_run_that_is_killed_finds_its_job(
    vertex: VertexServer, model: str, bucket: str, tmp_path: Path, data: str, run: Callable[..., ScoreResult]
) -> None:
    process = start(vertex, model, bucket, tmp_path, data)
    wait_for(lambda: requests(vertex, GET) > 0, process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "out").exists()
    assert run(job_options={"poll_seconds": 0.02}).rows_out == 598
    assert requests(vertex, CREATE) == 2


@pytest.mark.parametrize("when", ["before the second", "in the second"])
def test_a_run_that_is_killed_between_its_jobs_finds_them(
    vertex: VertexServer,
    model: str,
    bucket: str,
    tmp_path: Path,
    data: str,
    run: Callable[..., ScoreResult],
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    from peers.vertex.resources import Refusal

    create, advance = vertex.vertex._create, vertex.vertex._advance

    def refuses(collection: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        if re.search(rb'"batchSize":\s*1\b', body):
            raise Refusal(503, "UNAVAILABLE", "not now")
        return create(collection, query, body)

    def stays(collection: str, held: Any) -> None:
        if held.manual_batch_tuning_parameters.batch_size != 1:
            advance(collection, held)

    with monkeypatch.context() as patched:
        if when == "before the second":
            patched.setattr(vertex.vertex, "_create", refuses)
        else:
            patched.setattr(vertex.vertex, "_advance", stays)
        process = start(vertex, model, bucket, tmp_path, data, poll_seconds=0.01)
        wait_for(lambda: requests(vertex, CREATE) > 1, process)
        process.kill()
        process.communicate()
    assert len(jobs_of(vertex)) == (1 if when == "before the second" else 2)
    assert not (tmp_path / "out").exists()
    assert run().rows_out == 598
    assert len(jobs_of(vertex)) == 2
    assert [found.name for found in folders.below(f"gs://{bucket}")] == ["model/saved_model.pb"]


def test_there_is_no_second_job_for_rows_that_were_alone(
    run: Callable[..., ScoreResult], vertex: VertexServer, tmp_path: Path
) -> None:
    result = run(job_options={"batch_size": 1})
    assert (result.rows_out, result.reasons) == (598, {"missing_value": 1, "model_failed": 1})
    assert len(jobs_of(vertex)) == 1
    assert PredictionsManifest.read(str(tmp_path / "out")).notes == ()


def test_a_container_that_refuses_too_many_rows_is_not_asked_about_each(
    run: Callable[..., ScoreResult], vertex: VertexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_refused, "LARGEST", 9)
    result = run()
    assert (result.rows_out, result.reasons) == (589, {"missing_value": 1, "model_failed": 10})
    assert len(jobs_of(vertex)) == 1
    (note,) = PredictionsManifest.read(str(tmp_path / "out")).notes
    assert note.startswith("10 rows of batches that the container refused are not sent again")


def test_a_second_job_in_which_all_rows_are_refused(
    run: Callable[..., ScoreResult], vertex: VertexServer, tmp_path: Path
) -> None:
    file = tmp_path / "last.parquet"
    weight = np.arange(50) / 4 + 20.5
    weight[40:] = 13.25
    rows = pa.table({"id": [f"id-{row}" for row in range(50)], "weight": weight, "color": ["red"] * 50})
    pq.write_table(rows, file)
    result = run(data=str(file), quarantine_budget=0.2)
    assert (result.rows_out, result.reasons) == (40, {"model_failed": 10})
    assert jobs_of(vertex)[1].completion_stats.failed_count == 10


def test_a_run_that_is_asked_to_end_cancels_its_job(
    vertex: VertexServer, model: str, bucket: str, tmp_path: Path, data: str
) -> None:
    process = start(vertex, model, bucket, tmp_path, data)
    wait_for(lambda: requests(vertex, GET) > 0, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 75
    # The signal may come before the first line of progress.
    assert any(line.startswith("the run was terminated. Received: SIGTERM. ") for line in said.splitlines())
    (made,) = jobs_of(vertex)
    assert made.state.name == "JOB_STATE_CANCELLED"


PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace
from support.by_hand import ByHand
from headrace.core.errors import HeadraceError
from support.batch_jobs import configured, score

url, model, bucket, folder, data, seconds = sys.argv[1:]
server = SimpleNamespace(url=url)
try:
    score(configured(server, model, bucket, Path(folder), data, {"poll_seconds": float(seconds)}), ByHand())
except HeadraceError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
"""


def start(
    vertex: VertexServer, model: str, bucket: str, folder: Path, data: str, poll_seconds: float = 30.0
) -> subprocess.Popen[str]:
    """The same run in a process of its own, which by default looks at its job once and then waits for long."""
    tests = Path(__file__).parents[3]
    paths = [str(tests), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, vertex.url, model, bucket, str(folder), data, str(poll_seconds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not there():
        if process.poll() is not None:
            raise RuntimeError(process.communicate()[1])
        time.sleep(0.05)


def test_a_job_that_ended_badly_is_not_taken_for_an_answer(
    run: Callable[..., ScoreResult], vertex: VertexServer
) -> None:
    from peers.vertex.resources import Refusal

    good = vertex.vertex.work["batchPredictionJobs"]

    def fails(_: Any) -> None:
        raise Refusal(400, "INVALID_ARGUMENT", "the container does not start")

    vertex.vertex.work["batchPredictionJobs"] = fails
    with pytest.raises(UsageError, match=r"failed because of its input.*the container does not start"):
        run()
    vertex.vertex.work["batchPredictionJobs"] = good
    assert run().rows_out == 598
    assert requests(vertex, CREATE) == 3


def test_a_worker_that_dies_is_worth_another_try(run: Callable[..., ScoreResult], vertex: VertexServer) -> None:
    def dies(_: Any) -> None:
        raise MemoryError("out of memory")

    vertex.vertex.work["batchPredictionJobs"] = dies
    with pytest.raises(PlatformError, match=r"the job failed.*out of memory"):
        run()


def test_a_job_that_somebody_cancels(run: Callable[..., ScoreResult], vertex: VertexServer) -> None:
    advance = vertex.vertex._advance

    def cancelled(collection: str, held: Any) -> None:
        vertex.vertex._cancel(collection, held, b"")
        advance(collection, held)

    vertex.vertex._advance = cancelled  # type: ignore[method-assign]
    with pytest.raises(PlatformError, match="the job was cancelled"):
        run()


@pytest.mark.parametrize(
    ("code", "message", "error", "said"),
    [
        (403, "Permission 'aiplatform.batchPredictionJobs.create' denied", UsageError, "access is denied"),
        (429, "Quota exceeded for custom_model_prediction_cpus", PlatformError, "the quota of Vertex AI is exhausted"),
        (503, "The service is currently unavailable", PlatformError, "failed or did not respond"),
    ],
)
def test_what_the_service_refuses_is_one_paragraph(
    run: Callable[..., ScoreResult],
    vertex: VertexServer,
    code: int,
    message: str,
    error: type[HeadraceError],
    said: str,
) -> None:
    vertex.fail(CREATE, code, times=100, message=message)
    with pytest.raises(error) as raised:
        run()
    assert said in str(raised.value)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_that_is_not_there(run: Callable[..., ScoreResult], model: str) -> None:
    with pytest.raises(UsageError, match="the model does not exist"):
        run(job_options={"model": model.replace("models/", "models/9")})
    with pytest.raises(UsageError, match="the model does not exist"):
        run(job_options={"model": f"{model}@7"})


@pytest.mark.parametrize("by", ["container", "problem"])
def test_a_container_that_answers_from_a_table(
    run: Callable[..., ScoreResult],
    vertex: VertexServer,
    put: Callable[[str, bytes], str],
    make_model: Callable[..., Path],
    tmp_path: Path,
    by: str,
) -> None:
    """The table holds predictions of other features than those of the job."""
    artifact = put("model/saved_model.pb", b"").rpartition("/")[0]
    if by == "container":
        spec = {"imageUri": "europe-docker.pkg.dev/p/r/server:1", "env": [{"name": "HEADRACE_MODE", "value": "hybrid"}]}
        options: dict[str, Any] = {"job_options": {"model": vertex.upload(artifact, containerSpec=spec)}}
    else:
        model = make_model(tmp_path / "hybrid", VERSION)
        problem = json.loads((model / "problem.json").read_text())
        (model / "problem.json").write_text(json.dumps({**problem, "serving": {"mode": "hybrid"}}))
        options = {"model": str(model)}
    with pytest.raises(UsageError, match="would be answered from a table of predictions") as caught:
        run(**options)
    assert (caught.value.received, caught.value.fix) == ("hybrid", "Score with --approach direct")


def test_another_model_in_the_registry(run: Callable[..., ScoreResult], put: Callable[[str, bytes], str]) -> None:
    put("model/training.json", b'{"model_version": "another"}')
    with pytest.raises(UsageError, match="differs from the local Model"):
        run()


def test_a_job_that_takes_too_long(run: Callable[..., ScoreResult], vertex: VertexServer) -> None:
    vertex.vertex._advance = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(PlatformError, match="did not finish before the deadline"):
        run(job_options={"deadline_seconds": 0.05})


def test_rows_that_lie_as_the_model_takes_them_are_not_written_again(
    run: Callable[..., ScoreResult], vertex: VertexServer, put: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    rows = [{"id": f"id-{row}", "weight": row / 4 + 20.5, "color": "red"} for row in range(100)]
    rows.append({"id": "id-3", "weight": 1.5, "color": "red"})
    where = put("rows/a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    result = run(data=where)
    (made,) = jobs_of(vertex)
    assert list(made.input_config.gcs_source.uris) == [where]
    assert made.instance_config.key_field == "id"
    assert (result.rows_out, result.reasons) == (99, {"model_failed": 2})
    assert [row.fault.message for row in quarantined(tmp_path / "out")] == [
        "the job returned no prediction: several rows have this key"
    ] * 2
    # The rows are the user's.
    assert storage.exists(where)


def test_bytes_are_sent_as_base64(run: Callable[..., ScoreResult], tmp_path: Path) -> None:
    file = tmp_path / "bytes.parquet"
    color = pa.array([b"red", b"\xff\xfe", b"green"], pa.binary())
    pq.write_table(pa.table({"id": ["a", "b", "c"], "weight": [20.0, 21.0, 22.0], "color": color}), file)
    result = run(data=str(file), quarantine_budget=0.5)
    assert (result.rows_out, result.reasons) == (3, {})


def test_rows_none_of_which_can_be_sent_start_no_job(
    run: Callable[..., ScoreResult], vertex: VertexServer, tmp_path: Path
) -> None:
    file = tmp_path / "none.parquet"
    pq.write_table(pa.table({"id": ["a"], "weight": pa.array([None], pa.float64()), "color": ["red"]}), file)
    with pytest.raises(DataError, match="the quarantine budget is spent"):
        run(data=str(file))
    assert requests(vertex, CREATE) == 0


def test_rows_that_change_meanwhile_are_refused(
    run: Callable[..., ScoreResult], vertex: VertexServer, tmp_path: Path
) -> None:
    good = vertex.vertex.work["batchPredictionJobs"]

    def meddles(held: Any) -> None:
        good(held)
        rows = pq.read_table(tmp_path / "data" / "a.parquet")
        pq.write_table(rows.slice(1), tmp_path / "data" / "a.parquet")

    vertex.vertex.work["batchPredictionJobs"] = meddles
    with pytest.raises(DataError, match="the rows changed during the job"):
        run()


def test_natality_has_the_very_predictions_of_direct(
    vertex_server: VertexServer, natality_model: str, bucket: str, tmp_path: Path
) -> None:
    births = str(Path(__file__).parents[4] / "examples" / "natality" / "births.csv")
    folders.upload_tree(Path(natality_model), f"gs://{bucket}/models/natality", "problem.json")
    name = vertex_server.upload(f"gs://{bucket}/models/natality")
    here = ScoreConfig(natality_model, births, str(tmp_path / "direct"), IDENTITY)
    there = configured(vertex_server, name, bucket, tmp_path, births, {"batch_size": 64}, model=natality_model)
    one, other = direct.score(here), score(there)
    assert (one.rows_in, one.rows_out, one.reasons) == (other.rows_in, other.rows_out, other.reasons)
    assert predictions(tmp_path / "direct").equals(predictions(tmp_path / "out"))
