"""Predictions as a table of BigQuery, by the emulator: all of them or none, and again the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peers.bigquery import PROJECT, Server
from support.by_hand import VERSION, ByHand, predicted

from headrace.components.score.batch.run import score
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.sinks import bigquery_sink
from headrace.components.score.sinks.factory import sink_of
from headrace.components.score.sinks.table_sink import FILE
from headrace.components.score.tabulate import tabulate
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.cloud import bigquery as service
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.prediction_table.reader import PredictionTable
from headrace.core.sources.open import list_parts, read_part

ROWS = 300


@pytest.fixture
def dataset(bigquery: Server, request: pytest.FixtureRequest) -> str:
    """The name of a new, empty dataset."""
    name = f"scores_{abs(hash(request.node.name))}"
    client = service.client(PROJECT)
    client.create_dataset(f"{PROJECT}.{name}")
    client.close()
    return name


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files, of which each has a row without its weight."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(2):
        at = np.arange(ROWS * number, ROWS * (number + 1))
        weight = pa.array(at + 0.25, mask=at % ROWS == 7)
        table = pa.table({"id": [f"id-{i:05d}" for i in at], "weight": weight, "color": ["red"] * ROWS})
        pq.write_table(table, folder / f"{number}.parquet")
    return folder


def run(folder: Path, data: Path | str, table: str) -> ScoreResult:
    config = ScoreConfig("m", str(data), str(folder / "out"), "0123456789abcdef", sink="bigquery", table=table)
    return score(config, source=ByHand())


def query(sql: str) -> list[dict[str, Any]]:
    client = service.client(PROJECT)
    rows = [dict(row) for row in client.query(sql).result()]
    client.close()
    return rows


def tables(dataset: str) -> list[str]:
    client = service.client(PROJECT)
    names = sorted(table.table_id for table in client.list_tables(f"{PROJECT}.{dataset}"))
    client.close()
    return names


def test_predictions_read_back_exactly(tmp_path: Path, data: Path, dataset: str) -> None:
    uri = f"bigquery://{PROJECT}.{dataset}.predictions"
    for _ in range(2):
        # The second run replaces what the first one made.
        result = run(tmp_path, data, uri)
        assert (result.rows_out, result.rows_quarantined, result.destination) == (598, 2, uri)
        found = query(f"SELECT * FROM {dataset}.predictions ORDER BY id")
        weights = [i + 0.25 for i in range(2 * ROWS) if i % ROWS != 7]
        assert [row["id"] for row in found] == [f"id-{int(weight):05d}" for weight in weights]
        assert [row["prediction"] for row in found] == predicted(np.array(weights)).astype(float).tolist()
        assert found[0] == {
            "id": "id-00000",
            "prediction": float(np.float32(0.6)),
            "class": "light",
            "probabilities": [0.25, 0.75],
            "model_version": VERSION,
        }
        assert tables(dataset) == ["predictions"]
    manifest = PredictionsManifest.read(str(tmp_path / "out"))
    assert (manifest.files, manifest.destination, manifest.rows_out) == ((), uri, 598)
    files = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == ["manifest.json", "part-00000-of-00001.jsonl"]


def test_a_response_that_was_lost_is_found_in_the_location_of_the_dataset(
    tmp_path: Path, data: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BigQuery finds a job of a region by its location only."""
    from google.api_core.exceptions import Conflict
    from google.cloud.bigquery import Client

    begun: dict[str, Any] = {}
    asked: list[str] = []

    def lost(name: str) -> Any:
        call = getattr(Client, name)

        def repeated(self: Client, *arguments: Any, **named: Any) -> None:
            begun[named["job_id"]] = call(self, *arguments, **named)
            raise Conflict("already exists")  # type: ignore[no-untyped-call]

        return repeated

    # The emulator has no jobs of uploads.
    def get_job(self: Client, name: str, *, location: str, **_: Any) -> Any:
        asked.append(location)
        return begun[name]

    for name in ("load_table_from_file", "copy_table"):
        monkeypatch.setattr(Client, name, lost(name))
    monkeypatch.setattr(Client, "get_job", get_job)
    assert run(tmp_path, data, f"bigquery://{PROJECT}.{dataset}.predictions").rows_out == 598
    client = service.client(PROJECT)
    assert asked == 3 * [client.get_dataset(f"{PROJECT}.{dataset}").location] == 3 * ["US"]
    client.close()


def test_from_a_table_to_a_table(tmp_path: Path, make_table: Any, dataset: str) -> None:
    rows = pa.table({"id": ["a", "b", "c"], "weight": [1.0, None, 3.0], "color": ["red"] * 3, "other": [1, 2, 3]})
    config = ScoreConfig(
        "m",
        f"bigquery://{make_table(rows)}",
        str(tmp_path / "out"),
        "0123456789abcdef",
        sink="bigquery",
        table=f"bigquery://{PROJECT}.{dataset}.made",
        quarantine_budget=0.5,
    )
    assert score(config, source=ByHand()).rows_out == 2
    (part,) = list_parts(f"bigquery://{PROJECT}.{dataset}.made", columns=["id", "prediction"])
    (read,) = read_part(part, ["id", "prediction"], 100)
    assert read.batch.to_pydict() == {"id": ["a", "c"], "prediction": predicted(np.array([1.0, 3.0])).tolist()}


def test_a_load_that_fails_leaves_the_earlier_table(
    tmp_path: Path, data: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"bigquery://{PROJECT}.{dataset}.predictions"
    run(tmp_path, data, uri)
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    real = bigquery_sink._load

    def fail(client: Any, table: str, job: str, location: str, what: Any) -> None:
        if job.endswith("-1"):
            raise PlatformError("BigQuery failed or did not respond")
        real(client, table, job, location, what)

    monkeypatch.setattr(bigquery_sink, "_load", fail)
    with pytest.raises(PlatformError, match="failed or did not respond"):
        run(tmp_path, data, uri)
    assert tables(dataset) == ["predictions"]
    assert query(f"SELECT COUNT(*) AS rows FROM {dataset}.predictions") == [{"rows": 598}]
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def test_a_load_that_lost_rows_is_seen(
    tmp_path: Path, data: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bigquery_sink._load

    def lose(client: Any, table: str, job: str, location: str, what: Any) -> None:
        if not job.endswith("-1"):
            real(client, table, job, location, what)

    monkeypatch.setattr(bigquery_sink, "_load", lose)
    with pytest.raises(PlatformError, match="rows are missing in BigQuery") as caught:
        run(tmp_path, data, f"bigquery://{PROJECT}.{dataset}.predictions")
    assert (caught.value.expected, caught.value.received) == ("598 rows", "299")
    assert tables(dataset) == []


def test_a_dataset_that_is_not_there(tmp_path: Path, data: Path, bigquery: Server) -> None:
    with pytest.raises(DataError, match="the dataset does not exist"):
        run(tmp_path, data, f"bigquery://{PROJECT}.gone.predictions")
    assert not (tmp_path / "out").exists()


def test_a_prediction_table_is_built_from_the_table(tmp_path: Path, data: Path, dataset: str) -> None:
    named = f"bigquery://{PROJECT}.{dataset}.scores"
    run(tmp_path, data, named)
    result = tabulate(str(tmp_path / "out"), str(tmp_path / "place"))
    table = PredictionTable(Path(result.uri) / FILE)
    assert (len(table), table.about.model_version) == (2 * ROWS - 2, VERSION)
    found = table.outputs(table.find(["id-00321"]))
    # As JSON, a float32 and the same number as a float64 are alike.
    assert found["prediction"].tolist() == predicted(np.array([321.25])).tolist()
    assert found["class"].tolist() == [b"heavy"]
    assert [values.tolist() for values in found["probabilities"]] == [[0.25, 0.75]]
    # Later predictions replace the table, which is then not that of the manifest.
    query(f"DELETE FROM `{PROJECT}.{dataset}.scores` WHERE id = 'id-00001'")
    with pytest.raises(DataError, match="there are more or fewer rows than the predictions had"):
        tabulate(str(tmp_path / "out"), str(tmp_path / "other"))
    query(f"UPDATE `{PROJECT}.{dataset}.scores` SET model_version = 'newer' WHERE id = 'id-00002'")
    with pytest.raises(DataError, match="predictions of another version of the model") as caught:
        tabulate(str(tmp_path / "out"), str(tmp_path / "other"))
    assert caught.value.received == "newer"


@pytest.mark.parametrize("table", ["bigquery://my-project.only", "bigquery://my-project?query=SELECT 1"])
def test_what_is_no_table(table: str) -> None:
    with pytest.raises(UsageError):
        sink_of("bigquery", key="id", table=table)
