"""Which approach is chosen, by the stated rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.components.score import approach
from headrace.components.score.approach import JOB_ROWS, ApproachChoice, Situation, choose
from headrace.components.score.config import ScoreConfig
from headrace.components.score.options import EndpointOptions, JobOptions, options_from
from headrace.components.score.score import approach_of, situation_of
from headrace.core import storage
from headrace.core.errors import UsageError

IDENTITY = "0123456789abcdef"
ENDPOINT = EndpointOptions("http://127.0.0.1:1/v1/models/m:predict")
JOB = JobOptions("my-project", "europe-west1", "gs://my-bucket/staging", "projects/p/locations/europe-west1/models/m")
# All that speaks for a job: rows where and as it reads them, and many of them.
FIT = {"model_here": True, "job": True, "data_in_cloud": True, "rows": JOB_ROWS}


@pytest.mark.parametrize(
    ("situation", "approach", "why"),
    [
        ({"model_here": True}, "direct", "can be loaded here"),
        ({"model_here": True, "endpoint": True}, "direct", "faster than any request"),
        ({"model_here": False, "endpoint": True}, "endpoint", "only there"),
        ({"model_here": False, "endpoint": True, "job": True, "data_in_cloud": True}, "endpoint", "only there"),
        (FIT, "job", "about 50,000,000 rows"),
        ({**FIT, "runner": True}, "direct", "a Beam runner was requested"),
        ({**FIT, "data_in_cloud": False}, "direct", "are not where a job reads"),
        ({**FIT, "copied": "it is a view"}, "direct", "a job would need a copy of the rows: it is a view"),
        ({**FIT, "files_wanted": False}, "direct", "elsewhere than into files"),
        ({**FIT, "rows": JOB_ROWS - 1}, "direct", "fewer than 50,000,000 rows"),
        ({**FIT, "rows": None}, "direct", "fewer than"),
        ({**FIT, "rows": 10, "job_machine": "g2-standard-4"}, "job", "g2-standard-4"),
        ({**FIT, "rows": 10, "job_machine": "g2-standard-4", "accelerators": 1}, "direct", "fewer than"),
        ({**FIT, "rows": 10, "job_machine": "n2-standard-4"}, "direct", "fewer than"),
    ],
)
def test_the_rules(situation: dict[str, Any], approach: str, why: str) -> None:
    choice = choose(Situation(**situation))
    assert choice.approach == approach
    assert why in choice.reason


def test_nothing_to_score_with() -> None:
    with pytest.raises(UsageError, match="a model to score with is missing"):
        choose(Situation(model_here=False, job=True))


def config(folder: Path, data: str = "rows.csv", **options: Any) -> ScoreConfig:
    return ScoreConfig(str(folder), data, str(folder / "out"), IDENTITY, **options)


def test_what_is_looked_at(tmp_path: Path, bucket: str, make_model: Callable[..., Path]) -> None:
    plain = config(tmp_path, endpoint=ENDPOINT)
    assert situation_of(plain) == Situation(model_here=True, endpoint=True, accelerators=here())
    model = make_model(tmp_path / "model", "v1")
    row = {"mother_age": 30.5, "gestation_weeks": 40.5, "plurality": "1", "mother_smokes": "true"}
    put(bucket, "a.jsonl", "".join(json.dumps({"record_id": str(i), **row}) + "\n" for i in range(100)))
    fit = situation_of(config(model, f"gs://{bucket}/rows", job=JOB, sink="csv"))
    assert (fit.data_in_cloud, fit.copied, fit.files_wanted) == (True, "", True)
    assert fit.rows == pytest.approx(100, abs=20)
    assert fit.job_machine == "n2-standard-4"
    for options, why in (
        ({"inputs": {"mother_age": "age"}}, "an input is fed from columns with other names"),
        ({"partition_by": "plurality"}, "the predictions are partitioned"),
    ):
        copied = situation_of(config(model, f"gs://{bucket}/rows", job=JOB, **options))
        assert (copied.data_in_cloud, copied.copied, copied.rows) == (True, why, None)
    table = situation_of(config(model, f"gs://{bucket}/rows", job=JOB, sink="table"))
    assert (table.files_wanted, table.copied, table.rows) == (False, "", None)
    # A field that the model does not take, and a form that a job is not given as it lies.
    put(bucket, "b.jsonl", json.dumps({"record_id": "x", **row, "county": "Kent"}) + "\n")
    assert situation_of(config(model, f"gs://{bucket}/rows", job=JOB)).copied == "the model has no input county"
    put(bucket, "b.jsonl", "")
    put(bucket, "c.csv", "x\n1\n")
    assert situation_of(config(model, f"gs://{bucket}/rows", job=JOB)).copied.startswith("they are neither JSON lines")


def put(bucket: str, name: str, text: str) -> None:
    storage.write_bytes(f"gs://{bucket}/rows/{name}", text.encode())


def test_a_table_is_read_as_it_lies_or_not(
    tmp_path: Path,
    make_model: Callable[..., Path],
    make_table: Callable[[pa.Table], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = JobOptions("demo-project", "us-central1", "gs://my-bucket/s", "projects/p/locations/us-central1/models/m")
    rows = pa.table(
        {
            "record_id": ["a", "b"],
            "mother_age": [30.5, 31.5],
            "gestation_weeks": [40.5, 39.5],
            "plurality": ["1", "2"],
            "mother_smokes": ["true", "false"],
        }
    )
    model = make_model(tmp_path / "model", "v1")
    asked = config(model, f"bigquery://{make_table(rows)}", job=job)
    assert (situation_of(asked).copied, situation_of(asked).rows) == ("", 2)
    monkeypatch.setattr(approach, "JOB_ROWS", 2)
    assert approach_of(asked) == ApproachChoice("job", "there are about 2 rows, which a job reads where they are")
    query = config(model, "bigquery://demo-project?query=SELECT 1", job=job)
    assert approach_of(query).reason == "a job would need a copy of the rows: they are the result of a query"


def here() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def test_what_was_asked_for_is_done(tmp_path: Path) -> None:
    assert approach_of(config(tmp_path, approach="direct")).reason == "asked for"
    assert "the slow way for a batch" in approach_of(config(tmp_path, approach="endpoint", endpoint=ENDPOINT)).reason
    assert approach_of(config(tmp_path, approach="job", job=JOB)).approach == "job"


@pytest.mark.parametrize(
    "options", [{"job": JOB}, {"endpoint": ENDPOINT}, {"endpoint": ENDPOINT, "approach": "endpoint"}]
)
def test_a_model_that_is_not_there_is_not_taken_for_one_behind_the_endpoint(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="the model does not exist") as raised:
        approach_of(config(tmp_path / "gone", **options))
    assert ("Leave --model out" in str(raised.value)) == ("endpoint" in options)
    if "endpoint" in options:
        assert approach_of(ScoreConfig("", "rows.csv", "out", IDENTITY, **options)).approach == "endpoint"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"approach": "endpoint"}, "the approach endpoint needs more"),
        ({"approach": "job"}, "the approach job needs more"),
        ({"approach": "quick"}, "the approach does not exist"),
    ],
)
def test_an_approach_without_what_it_needs(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        config(tmp_path, **options)


def test_no_model_at_all() -> None:
    assert ScoreConfig("", "d", "o", IDENTITY, endpoint=ENDPOINT).model == ""
    for options in ({}, {"job": JOB}, {"endpoint": ENDPOINT, "approach": "direct"}):
        with pytest.raises(UsageError, match="model is empty"):
            ScoreConfig("", "d", "o", IDENTITY, **options)  # type: ignore[arg-type]


def test_options_in_a_pipelines_parameter() -> None:
    assert options_from(EndpointOptions, "", "endpoint") is None
    text = json.dumps({"url": ENDPOINT.url, "concurrency": 8})
    assert options_from(EndpointOptions, text, "endpoint") == EndpointOptions(ENDPOINT.url, concurrency=8)
    for wrong, said in (
        ("{", "the text is not JSON"),
        ("[]", "an option is unknown"),
        ('{"adress": 1}', "an option is unknown"),
        ('{"concurrency": 8}', "an option is missing"),
    ):
        with pytest.raises(UsageError, match=said):
            options_from(EndpointOptions, wrong, "endpoint")
