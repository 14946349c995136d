"""Batch prediction jobs that read a table of BigQuery as it lies, against a Vertex AI and a BigQuery that are here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from support.batch_jobs import IDENTITY, configured, jobs_of, predictions, quarantined, requests, score
from support.by_hand import TAKES, ByHand, predicted

from headrace.components.score.batch import run as direct
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.options import JobOptions
from headrace.components.score.vertex_job import run as job
from headrace.components.score.vertex_job import table_input
from headrace.components.score.vertex_job.input_form import form_of
from headrace.core.cloud import bigquery
from headrace.core.errors import DataError, PlatformError
from headrace.core.saved_model.interface import ModelBinding, ModelInput
from headrace.core.storage.remote import folders

if TYPE_CHECKING:
    from peers.vertex.server import VertexServer

CREATE = "POST .*/batchPredictionJobs$"
BIRTHS = Path(__file__).parents[4] / "examples" / "natality" / "births.csv"
OPTIONS = JobOptions(
    "demo-project", "us-central1", "gs://my-bucket/staging", "projects/p/locations/us-central1/models/m"
)


def rows(count: int = 60, **columns: Any) -> pa.Table:
    """Rows for ByHand, with a column that it does not take."""
    given = {
        "id": [f"id-{row}" for row in range(count)],
        "weight": np.arange(count) / 4 + 20.5,
        "note": [None, "a"] * (count // 2),
        "color": ["red"] * count,
    }
    return pa.table({**given, **columns})


@pytest.fixture
def config(
    vertex: VertexServer,
    put: Callable[[str, bytes], str],
    bucket: str,
    tmp_path: Path,
    make_table: Callable[[pa.Table], str],
) -> Callable[..., ScoreConfig]:
    """`config(table)`: of a run that scores the rows by a job."""
    model = vertex.upload(put("model/saved_model.pb", b"").rpartition("/")[0])

    def made(table: pa.Table, **options: Any) -> ScoreConfig:
        data = f"bigquery://{make_table(table)}"
        return configured(vertex, model, bucket, tmp_path, data, {}, **options)

    return made


def run(config: ScoreConfig) -> ScoreResult:
    return score(config, ByHand())


def run_query(sql: str) -> None:
    client = bigquery.client("demo-project")
    client.query(sql).result()
    client.close()


def test_the_rows_are_read_as_they_lie(
    config: Callable[..., ScoreConfig], vertex: VertexServer, bucket: str, tmp_path: Path
) -> None:
    asked = config(rows())
    said: list[str] = []
    assert asked.job is not None
    result = job.score(asked, asked.job, lambda message, **_: said.append(message), source=ByHand())
    assert (result.rows_in, result.rows_out, result.rows_quarantined) == (60, 60, 0)
    assert "the job reads the rows without preparation" in said
    (made,) = jobs_of(vertex)
    assert made.input_config.instances_format == "bigquery"
    assert made.input_config.bigquery_source.input_uri == asked.data.replace("bigquery://", "bq://")
    assert (made.instance_config.instance_type, made.instance_config.key_field) == ("object", "id")
    assert list(made.instance_config.excluded_fields) == ["note"]
    assert (
        predictions(tmp_path / "out")["prediction"].to_numpy().tolist()
        == predicted(rows()["weight"].to_numpy()).tolist()
    )
    assert [found.name for found in folders.below(f"gs://{bucket}")] == ["model/saved_model.pb"]


def test_a_model_that_takes_no_table_is_given_lines(config: Callable[..., ScoreConfig], vertex: VertexServer) -> None:
    asked = config(rows())
    assert asked.job is not None
    vertex.vertex.model(asked.job.model).supported_input_storage_formats = ["jsonl", "csv"]
    assert run(asked).rows_out == 60
    assert jobs_of(vertex)[0].input_config.instances_format == "jsonl"


def test_rows_that_the_container_refuses_are_found(
    config: Callable[..., ScoreConfig], vertex: VertexServer, tmp_path: Path
) -> None:
    weight = rows()["weight"].to_numpy().copy()
    weight[35] = 13.25
    result = run(config(rows(weight=weight), quarantine_budget=0.1))
    assert (result.rows_in, result.rows_out, result.reasons) == (60, 59, {"model_failed": 1})
    (row,) = quarantined(tmp_path / "out")
    assert (row.values["id"], "13.25 is refused" in row.fault.message) == ("id-35", True)
    table, again = jobs_of(vertex)
    assert (table.input_config.instances_format, again.input_config.instances_format) == ("bigquery", "jsonl")
    # The nine that were refused with it, it, and one that has an answer.
    assert (again.completion_stats.successful_count, again.completion_stats.failed_count) == (10, 1)


@pytest.mark.parametrize("refused", [False, True])
def test_rows_of_one_key_cannot_be_told_apart(
    config: Callable[..., ScoreConfig], tmp_path: Path, refused: bool
) -> None:
    keys = rows()["id"].to_pylist()
    keys[7] = keys[35]
    weight = rows()["weight"].to_numpy().copy()
    if refused:
        weight[35] = 13.25
    result = run(config(rows(id=keys, weight=weight), quarantine_budget=0.1))
    assert (result.rows_in, result.rows_out, result.reasons) == (60, 58, {"model_failed": 2})
    assert {row.fault.message for row in quarantined(tmp_path / "out")} == {
        "the job returned no prediction: several rows have this key"
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("CREATE OR REPLACE TABLE `{0}` AS SELECT * FROM `{0}` WHERE weight < 30", "the rows changed"),
        # The emulator does not count it among the table's rows, as BigQuery does not count rows that are streamed.
        ("INSERT INTO `{0}` (id, weight) VALUES ('new', 1.5)", "Expected 60 rows. Received: 61"),
    ],
)
def test_a_table_that_changes_meanwhile_is_refused(
    config: Callable[..., ScoreConfig], vertex: VertexServer, tmp_path: Path, change: str, said: str
) -> None:
    asked = config(rows())
    good = vertex.vertex.work["batchPredictionJobs"]

    def meddles(held: Any) -> None:
        good(held)
        run_query(change.format(asked.data.removeprefix("bigquery://")))

    vertex.vertex.work["batchPredictionJobs"] = meddles
    with pytest.raises(DataError, match=said):
        run(asked)
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_given_again_finds_its_job(
    config: Callable[..., ScoreConfig], vertex: VertexServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(rows())

    def dies(*_: Any, **__: Any) -> None:
        raise PlatformError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(PlatformError, match="the disk is full"):
        patched.setattr(job, "collect", dies)
        run(asked)
    assert run(asked).rows_out == 60
    assert requests(vertex, CREATE) == 1


@pytest.mark.parametrize("whole", [True, False])
def test_natality_has_the_very_predictions_of_direct(
    vertex_server: VertexServer,
    natality_model: str,
    make_table: Callable[[pa.Table], str],
    bucket: str,
    tmp_path: Path,
    whole: bool,
) -> None:
    types = {name: pa.string() for name in ("is_male", "mother_married", "cigarette_use")}
    births = pyarrow.csv.read_csv(
        BIRTHS,
        convert_options=pyarrow.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
    )
    wanted = births.drop_null() if whole else births
    assert 100 < wanted.num_rows <= births.num_rows
    data = f"bigquery://{make_table(wanted)}"
    folders.upload_tree(Path(natality_model), f"gs://{bucket}/models/natality", "problem.json")
    name = vertex_server.upload(f"gs://{bucket}/models/natality")
    there = configured(vertex_server, name, bucket, tmp_path, data, {"batch_size": 64}, model=natality_model)
    one = direct.score(ScoreConfig(natality_model, data, str(tmp_path / "direct"), IDENTITY))
    other = score(there)
    assert (one.rows_in, one.rows_out, one.reasons) == (other.rows_in, other.rows_out, other.reasons)
    made = jobs_of(vertex_server)[0]
    assert made.input_config.instances_format == ("bigquery" if whole else "jsonl")
    assert sorted(made.instance_config.excluded_fields) == (["weight_pounds"] if whole else [])
    key = "record_id"
    assert predictions(tmp_path / "direct").sort_by(key).equals(predictions(tmp_path / "out").sort_by(key))


def why(table: str, takes: ModelBinding = TAKES, options: JobOptions = OPTIONS, partition_by: str = "") -> str:
    return form_of(f"bigquery://{table}", [], takes, options, partition_by).why


def test_why_a_table_is_prepared(make_table: Callable[[pa.Table], str]) -> None:
    name = make_table(rows())
    assert why(name) == ""
    missing = [None, "red"] * 30
    nothing = "of them hold NULL, NaN or infinity"
    assert why(make_table(rows(color=missing))) == f"30 {nothing}"
    assert why(make_table(rows(weight=[float("nan"), float("inf"), *range(58)]))) == f"2 {nothing}"
    assert why(make_table(rows(weight=["1.5"] * 60))) == "the column weight has a type that a job may convert"
    assert why(make_table(rows(id=np.arange(60) / 2))).startswith("the column id has a type")
    assert why(make_table(rows(id=np.arange(60)))) == ""
    assert why(make_table(rows().drop_columns(["color"]))) == ""
    assert why(make_table(rows().drop_columns(["weight"]))) == "the column weight does not exist"
    assert why(make_table(rows().slice(0, 0))) == "the table is empty"
    run_query(f"CREATE VIEW `{name}_view` AS SELECT * FROM `{name}`")
    assert why(f"{name}_view") == f"{name}_view is not a table but a view"
    assert why(f"demo-project?query=SELECT * FROM `{name}`") == "they are the result of a query"
    assert why(f"{name}?project=other-project") == "the table is not in demo-project, the project of the job"


def test_why_rows_are_prepared_whatever_they_are() -> None:
    table = "demo-project.any.table"
    weight = ModelInput("weight", "float32", None, ("grams",))
    assert why(table, ModelBinding("s", TAKES.inputs, TAKES.outputs)) == "no column identifies a row"
    assert why(table, partition_by="color") == "the predictions are partitioned"
    assert why(table, ModelBinding("s", (weight,), (), "id")) == "an input is fed from columns with other names"
    list_ = ModelInput("weight", "float32", 3, ("weight",))
    assert why(table, ModelBinding("s", (list_,), (), "id")).startswith("an input of the model is a list per row")
    for takes in (
        ModelBinding("s", TAKES.inputs, (), "color"),
        ModelBinding("s", TAKES.inputs, (), "id", key_input="key"),
    ):
        assert (
            why(table, takes) == f"the model has an input {takes.key}, which a job excludes from its input as the key"
        )


@pytest.mark.parametrize(
    ("location", "region", "near"),
    [
        ("us-central1", "us-central1", True),
        ("us", "us-east4", True),
        ("eu", "europe-west4", True),
        ("eu", "europe-west2", False),
        ("eu", "us-central1", False),
        ("us-east1", "us-central1", False),
        ("asia-east1", "asia-east1", True),
    ],
)
def test_a_job_reads_what_is_near(location: str, region: str, near: bool) -> None:
    assert table_input._is_near(location, region) is near
