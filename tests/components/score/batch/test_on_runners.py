"""Scoring on Beam's runners, and under what they do: other processes, second tries, failures, a service's requests."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.runner import PipelineResult, PipelineState
from peers.dataflow import check_nothing_of_this_machine, dataflow, translate
from support.by_hand import ByHand

from headrace.components.score.batch import beam_job, score_part
from headrace.components.score.batch.part_result import ScoringContext, ScoringModel
from headrace.components.score.batch.run import score
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.sinks.factory import sink_of
from headrace.core import storage
from headrace.core.beam import launch
from headrace.core.beam.runners import DirectRunner, PortableRunner, RunnerOptions
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.progress import silent
from headrace.core.sources.source import Part
from headrace.core.storage.remote import folders

IDENTITY = "0123456789abcdef"
EMBEDDED = PortableRunner(job_endpoint="embed", environment_type="LOOPBACK")


def place(folder: Path) -> Path:
    """Three files of which one has several row groups; every 50th row lacks its weight."""
    (folder / "data").mkdir(parents=True)
    for number in range(3):
        at = np.arange(500 * number, 500 * (number + 1))
        weight = pa.array(at % 97 + 0.25, mask=at % 50 == 7)
        table = pa.table({"id": [f"id-{i:05d}" for i in at], "weight": weight, "color": [f"c{i % 3}" for i in at]})
        pq.write_table(table, folder / "data" / f"{number}.parquet", row_group_size=100 if number else 500)
    return folder


def run(folder: Path, runner: RunnerOptions | None, name: str = "out", **options: Any) -> ScoreResult:
    config = ScoreConfig("m", str(folder / "data"), str(folder / name), IDENTITY, runner=runner, **options)
    return score(config, source=ByHand())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScoreResult, dict[str, bytes]]:
    """What scoring without Beam gives."""
    folder = place(tmp_path_factory.mktemp("expected"))
    return run(folder, None, partition_by="color"), contents(folder / "out")


@pytest.mark.parametrize(
    "runner",
    [
        DirectRunner(),
        DirectRunner(workers=2),
        # Beam's own job server and job API, within this process: what Flink's and Spark's speak.
        EMBEDDED,
        # Beam replays every bundle: its results are kept once, and what it wrote was written twice.
        DirectRunner(beam_options={"direct_runner_bundle_repeat": "1"}),
    ],
    ids=["in memory", "two processes", "portable", "every bundle twice"],
)
def test_every_runner_writes_the_same_bytes(
    tmp_path: Path,
    expected: tuple[ScoreResult, dict[str, bytes]],
    runner: RunnerOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Other processes find the scorer by hand there.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    result = run(place(tmp_path), runner, partition_by="color")
    assert contents(tmp_path / "out") == expected[1]
    assert result == expected[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_the_job_counts_as_the_manifest_does(tmp_path: Path, expected: tuple[ScoreResult, dict[str, bytes]]) -> None:
    result = run(place(tmp_path), DirectRunner(), partition_by="color")
    files = sum(len(content) for name, content in expected[1].items() if name.startswith("predictions/"))
    assert result.metrics == expected[0].metrics == {
        "rows": 1500,
        "batches": 3,
        "predictions": 1470,
        "bytes": files,
        "quarantined": 30,
        "quarantined_missing_value": 30,
    }  # fmt: skip


def test_a_part_that_failed_half_way_leaves_nothing_twice(
    tmp_path: Path, expected: tuple[ScoreResult, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt is lost when it has written its files; another worker does the part again."""
    lost = tmp_path / "lost"
    real = beam_job.score_part

    def fail_once(*arguments: Any) -> Any:
        if not lost.exists():
            lost.touch()
            real(*arguments)
        return real(*arguments)

    monkeypatch.setattr(beam_job, "score_part", fail_once)
    run(place(tmp_path), DirectRunner(), partition_by="color")
    assert lost.exists()
    assert contents(tmp_path / "out") == expected[1]


def test_an_error_of_a_worker_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path)
    real = score_part.columns_of

    def refuse(of: Part, *arguments: Any) -> list[str]:
        if threading.current_thread() is not threading.main_thread():
            raise DataError("the column has gone")
        return real(of, *arguments)

    monkeypatch.setattr(score_part, "columns_of", refuse)
    with pytest.raises(DataError, match="the column has gone") as caught:
        run(tmp_path, DirectRunner())
    assert caught.value.where == str(tmp_path / "data" / "0.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_rows_in_a_bucket_become_predictions_in_a_bucket(
    bucket: str, tmp_path: Path, expected: tuple[ScoreResult, dict[str, bytes]]
) -> None:
    """Workers write below a temporary name in the bucket; what is published is what a run on this machine gives."""
    for path in (place(tmp_path) / "data").iterdir():
        storage.write_bytes(f"gs://{bucket}/data/{path.name}", path.read_bytes())
    # What a run leaves that is killed while it publishes.
    storage.write_bytes(
        f"gs://{bucket}/made/out/{folders.UNFINISHED}", b'["predictions/left-by-an-earlier-run.parquet"]'
    )
    storage.write_bytes(f"gs://{bucket}/made/out/predictions/left-by-an-earlier-run.parquet", b"")
    config = ScoreConfig(
        "m", f"gs://{bucket}/data", f"gs://{bucket}/made/out", IDENTITY, runner=EMBEDDED, partition_by="color"
    )
    assert score(config, source=ByHand()) == expected[0]
    found = {
        object_.uri.removeprefix(f"gs://{bucket}/made/out/"): storage.read_bytes(object_.uri)
        for object_ in folders.below(f"gs://{bucket}/made")
    }
    assert sorted(found) == sorted(expected[1])
    same = [name for name in found if name != "manifest.json"]
    assert {name: found[name] for name in same} == {name: expected[1][name] for name in same}


def test_the_request_to_dataflow() -> None:
    context = ScoringContext(ScoringModel("gs://my-bucket/model"), sink_of("parquet", key="id"), "gs://my-bucket/out")
    parts = [Part(i, f"gs://my-bucket/{i}.parquet", (0, 4)) for i in range(3)]
    runner = dataflow(beam_options={"number_of_worker_harness_threads": "4"}, machine_type="n2-standard-4")
    made, pipeline = translate(lambda p: beam_job.build(p, context, parts), runner, "headrace-score-1")
    assert made.proto.name == "headrace-score-1"
    (pool,) = made.proto.environment.worker_pools
    assert (pool.machine_type, pool.num_threads_per_worker) == ("n2-standard-4", 4)
    names = {transform.unique_name for transform in pipeline.components.transforms.values()}
    assert {"spread", "score/ParDo(_Score)"} <= names | {f"{name}/ParDo(_Score)" for name in names}
    assert "_Score" in check_nothing_of_this_machine(made, pipeline)


def test_places_that_the_workers_cannot_reach_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Dataflow's workers cannot reach the output"):
        ScoreConfig("gs://b/m", "gs://b/data", str(tmp_path), IDENTITY, runner=dataflow())


class _Endless(PipelineResult):  # type: ignore[misc]
    """A job on a service, which runs until it is cancelled."""

    def __init__(self) -> None:
        super().__init__(PipelineState.RUNNING)
        self.cancelled = threading.Event()

    def wait_until_finish(self, duration: int | None = None) -> str:
        self.cancelled.wait()
        return str(self.state)

    def cancel(self) -> None:
        self._state = PipelineState.CANCELLED
        self.cancelled.set()


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Endless]:
    """What a launch gives; nothing on this machine runs a job that outlives its process."""
    result = _Endless()
    monkeypatch.setattr(launch, "launch", lambda *_: result)
    yield result
    result.cancelled.set()


def test_a_job_on_a_service_is_cancelled_with_the_pipeline(endless: _Endless) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def launched(result: PipelineResult) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(PlatformError, match="the run was terminated") as caught:
        launch.run(lambda _: None, EMBEDDED, "name", "space", silent, launched=launched)
    assert caught.value.received == "SIGTERM"
    assert endless.cancelled.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_that_was_cancelled_elsewhere_did_not_finish(endless: _Endless) -> None:
    with pytest.raises(PlatformError, match="the job did not finish") as caught:
        launch.run(lambda _: None, EMBEDDED, "name", "space", silent, launched=lambda result: result.cancel())
    assert caught.value.received == "CANCELLED"
