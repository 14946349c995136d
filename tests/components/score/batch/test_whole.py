"""All rows in one call of the model: from files of several formats, bounded, and never filled up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.components.score.batch import whole
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.options import EndpointOptions
from headrace.components.score.score import score
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.beam.runners import DirectRunner
from headrace.core.errors import DataError, UsageError

Save = Callable[..., str]
IDENTITY = "0123456789abcdef"


def spec(shape: Any = (None,), dtype: str = "float32", name: str = "x") -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, dtype, name)


@pytest.fixture(scope="module")
def share(save: Save) -> str:
    """The fraction of each row of all, the number of rows, and all in order."""
    import tensorflow as tf

    def answer(x: Any) -> Any:
        return {"share": x / tf.reduce_sum(x), "rows": tf.fill(tf.shape(x), tf.size(x)), "sorted": tf.sort(x)}

    return save(answer, spec())


def run(model: str, data: Path, **options: Any) -> tuple[ScoreResult, list[dict[str, Any]]]:
    folder = data / "out" if data.is_dir() else data.parent / "out"
    config = ScoreConfig(model, str(data), str(folder.parent.parent / "out"), IDENTITY, **options)
    result = score(config)
    manifest = PredictionsManifest.read(config.output)
    return result, [
        row
        for file in manifest.files
        for row in pq.read_table(Path(config.output) / file.file, partitioning=None).to_pylist()
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight rows in three files, of which one has no number and one is not to be read as a number."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text("id,x\n1,9\n2,\n3,1\n")
    (folder / "b.jsonl").write_text('{"id": "4", "x": 4}\n{"id": "5", "x": "much"}\n')
    pq.write_table(pa.table({"id": ["6", "7", "8"], "x": [2.0, 4.0, 5.0]}), folder / "c.parquet", row_group_size=2)
    return folder


def test_all_rows_without_a_fault_are_one_call(share: str, data: Path) -> None:
    result, rows = run(share, data, key="id", batch="whole", quarantine_budget=1.0)
    assert (result.rows_in, result.rows_out, dict(result.reasons)) == (8, 6, {"missing_value": 1, "not_a_number": 1})
    assert [int(row["id"]) for row in rows] == [1, 3, 4, 6, 7, 8]
    assert [row["share"] * 25 for row in rows] == pytest.approx([9, 1, 4, 2, 4, 5])
    assert [row["rows"] for row in rows] == [6] * 6
    assert [row["sorted"] for row in rows] == [1, 2, 4, 4, 5, 9]
    assert (result.approach, json.loads((data.parent / "out" / "manifest.json").read_text())["rows_in"]) == (
        "direct",
        8,
    )


def test_without_it_such_a_model_is_refused(share: str, data: Path) -> None:
    with pytest.raises(DataError, match=r"rows are not independent.*with --batch whole"):
        run(share, data)


def test_more_rows_than_a_call_is_given_are_refused(share: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "WHOLE_ROWS", 7)
    with pytest.raises(DataError, match=r"more rows than one call.*Expected at most 7 rows.*Received: 8 rows or more"):
        run(share, data, batch="whole")
    assert not (data.parent / "out").exists()


def test_rows_that_are_read_in_several_batches_are_found_again(
    share: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = run(share, data, key="id", batch="whole", quarantine_budget=1.0)[1]
    monkeypatch.setattr(whole, "READ_ROWS", 1)
    monkeypatch.setattr("headrace.components.score.batch.run.READ_ROWS", 1)
    assert run(share, data, key="id", batch="whole", quarantine_budget=1.0)[1] == at_once


def test_no_rows_are_no_call(share: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text("x\n")
    (folder / "b.csv").write_text("x\nmuch\n")
    result, rows = run(share, folder, batch="whole", quarantine_budget=1.0)
    assert (result.rows_in, result.rows_quarantined, rows) == (1, 1, [])


def test_a_damaged_file_is_put_aside_and_the_rest_is_one_call(share: str, data: Path) -> None:
    (data / "d.parquet").write_bytes(b"PAR1 is not enough")
    for number in range(20):
        (data / f"e{number}.csv").write_text("id,x\n9,0\n")
    result, rows = run(share, data, key="id", batch="whole", quarantine_budget=1.0)
    assert ([row["rows"] for row in rows], result.rows_out) == ([26] * 26, 26)


def test_a_row_that_the_model_fails_on_ends_the_run(save: Save, data: Path) -> None:
    import tensorflow as tf

    def picky(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less(x, 9.0, message="nine")]):
            return {"y": tf.sort(x)}

    with pytest.raises(DataError, match=r"the model fails on the rows, which are all in one call.*nine"):
        run(save(picky, spec()), data, batch="whole", quarantine_budget=1.0)


def test_lists_of_several_lengths_and_other_numbers_of_rows_are_refused(save: Save, tmp_path: Path) -> None:
    import tensorflow as tf

    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"x": [1, 2]}\n{"x": [3, 4]}\n')
    lists = save(lambda x: {"y": tf.sort(x, 0)}, spec((None, None)))
    assert [row["y"] for row in run(lists, folder, batch="whole")[1]] == [[1, 2], [3, 4]]
    fixed = save(lambda x: {"y": tf.sort(x, 0)}, spec((3, 2)))
    with pytest.raises(DataError, match=r"another number of rows.*Expected 3 rows.*Received: 2 rows"):
        run(fixed, folder, batch="whole")
    (folder / "b.jsonl").write_text('{"x": [5]}\n')
    with pytest.raises(DataError, match=r"lists are of several lengths"):
        run(lists, folder, batch="whole")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_rows": 5}, "--batch-rows"),
        ({"runner": DirectRunner()}, "--runner"),
        ({"approach": "endpoint", "endpoint": EndpointOptions("http://localhost/v1/models/m:predict")}, "--approach"),
    ],
)
def test_what_excludes_it_is_said_before_any_work(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=rf"--batch: --batch whole and {said} exclude each other"):
        ScoreConfig("model", "data", "out", IDENTITY, batch="whole", **options)
    with pytest.raises(UsageError, match=r"batch is wrong\. Expected one of rows, whole"):
        ScoreConfig("model", "data", "out", IDENTITY, batch="all")  # type: ignore[arg-type]


def test_constants_go_to_no_endpoint_and_no_job() -> None:
    endpoint = EndpointOptions("http://localhost/v1/models/m:predict")
    with pytest.raises(UsageError, match=r"--constant: the approach endpoint is sent rows, and no inputs of shape"):
        ScoreConfig("m", "d", "o", IDENTITY, approach="endpoint", endpoint=endpoint, constants={"a": 1})
