"""The pipeline on other runners than the in-memory one, and under what they do: second tries, failures, kills."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.internal import apiclient
from peers.dataflow import IMAGE, check_nothing_of_this_machine, dataflow, translate

from headrace.components.preprocess import pipeline as beam_job
from headrace.components.preprocess import stages
from headrace.components.preprocess import stages as shards
from headrace.components.preprocess.accounts import Piece
from headrace.components.preprocess.pipeline import PreprocessConfig, PreprocessResult, preprocess
from headrace.components.preprocess.stage_context import PreprocessContext
from headrace.core import storage
from headrace.core.beam.runners import DataflowRunner, DirectRunner, PortableRunner
from headrace.core.errors import PlatformError, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.rows.splits import Sharding
from headrace.core.sources.source import Part
from headrace.core.storage.remote import folders

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
IDENTITY = "0123456789abcdef"


def run(folder: Path, **options: Any) -> PreprocessResult:
    config = PreprocessConfig(
        str(folder / "births.csv"), str(folder / "out"), IDENTITY, **{"shard_rows": 300, "batch_rows": 200, **options}
    )
    return preprocess(PROBLEM_FILE, config)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def place(folder: Path) -> Path:
    """A folder with births.csv, of which the last row's key has been seen and one value is out of range."""
    header, *rows = (EXAMPLE / "births.csv").read_text().splitlines()
    rows.append(rows[2])
    rows[9] = rows[9].replace(rows[9].split(",")[1], "99.5", 1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "births.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreprocessResult, dict[str, bytes]]:
    folder = place(tmp_path_factory.mktemp("expected"))
    return run(folder), contents(folder / "out")


def test_the_job_counts_as_the_manifest_does(expected: tuple[PreprocessResult, dict[str, bytes]]) -> None:
    result, files = expected
    assert result.metrics == {
        "rows": 1451,
        "batches": 8,
        "quarantined": 3,
        "quarantined_missing_value": 1,
        "quarantined_out_of_range": 1,
        "quarantined_duplicate_key": 1,
        "examples": 1448,
        "bytes": sum(len(content) for name, content in files.items() if name.endswith(".tfrecord")),
    }


def test_metrics_are_reported(tmp_path: Path) -> None:
    heard: list[str] = []

    def listen(message: str, *, done: int | None = None, total: int | None = None, **_: object) -> None:
        heard.append(message)

    place(tmp_path)
    preprocess(PROBLEM_FILE, PreprocessConfig(str(tmp_path / "births.csv"), str(tmp_path / "out"), IDENTITY), listen)
    (told,) = (message for message in heard if "batch" in message)
    assert told.startswith("1,451 rows read, 1 batch, 1,448 Examples, ")
    assert told.endswith("3 quarantined (duplicate_key 1, missing_value 1, out_of_range 1)")


def test_several_processes_write_the_same_bytes(
    tmp_path: Path, expected: tuple[PreprocessResult, dict[str, bytes]]
) -> None:
    result = run(place(tmp_path), runner=DirectRunner(workers=2))
    assert contents(tmp_path / "out") == expected[1]
    assert (result, result.metrics) == (expected[0], expected[0].metrics)


def test_rows_that_travel_through_the_runner_give_the_same_bytes(
    tmp_path: Path, expected: tuple[PreprocessResult, dict[str, bytes]]
) -> None:
    # Beam's own job server and job API, within this process: what Flink's and Spark's speak.
    runner = PortableRunner(job_endpoint="embed", environment_type="LOOPBACK")
    result = run(place(tmp_path), runner=runner)
    assert contents(tmp_path / "out") == expected[1]
    assert (result, result.metrics) == (expected[0], expected[0].metrics)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["births.csv", "out"]


def test_a_bundle_that_is_tried_again_leaves_nothing_twice(
    tmp_path: Path, expected: tuple[PreprocessResult, dict[str, bytes]]
) -> None:
    # Beam replays every bundle: its results are kept once, and what it wrote was written twice.
    runner = DirectRunner(beam_options={"direct_runner_bundle_repeat": "1"})
    assert run(place(tmp_path), runner=runner) == expected[0]
    assert contents(tmp_path / "out") == expected[1]


@pytest.mark.parametrize("spills", [True, False])
def test_a_bundle_that_failed_half_way_leaves_nothing_twice(
    tmp_path: Path,
    expected: tuple[PreprocessResult, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    spills: bool,
) -> None:
    """An attempt writes its shard, of some of its rows, and is lost; the next one is given all of them."""
    lost = tmp_path / "lost"

    class FailsOnce(beam_job._Write):
        def process(self, shard_pieces: tuple[int, Iterable[Piece]]) -> Any:
            shard, pieces = shard_pieces
            kept = list(pieces)
            if not lost.exists():
                lost.touch()
                list(super().process((shard, kept[:1])))
            yield from super().process((shard, kept))

    monkeypatch.setattr(beam_job, "_Write", FailsOnce)
    runner = DirectRunner() if spills else PortableRunner(job_endpoint="embed", environment_type="LOOPBACK")
    assert run(place(tmp_path), runner=runner) == expected[0]
    assert lost.exists()
    assert contents(tmp_path / "out") == expected[1]


class _RetryingRunner(DirectRunner):
    """Beam's bundle-based runner on this machine, which tries a bundle that failed up to four times."""

    def make(self) -> Any:
        from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner

        return BundleBasedDirectRunner()


@pytest.mark.parametrize("spills", [True, False])
def test_what_a_runner_tries_again_itself_is_there_once(
    tmp_path: Path,
    expected: tuple[PreprocessResult, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    spills: bool,
) -> None:
    """The first attempt at each stage does its whole work, yields it, and then fails; the runner gives it again."""
    failed = tmp_path / "failed"
    failed.mkdir()

    def failing(stage: Any) -> Any:
        class FailsOnce(stage):  # type: ignore[misc]
            def process(self, element: Any) -> Any:
                results = stage.process(self, element)
                yield from results or ()
                # A file, because what is sent to workers shares no memory with this process.
                if not (failed / stage.__name__).exists():
                    (failed / stage.__name__).touch()
                    raise OSError("the worker is gone")

        FailsOnce.__name__ = stage.__name__
        return FailsOnce

    for name in ("_Read", "_Split", "_Write", "_Summarize"):
        monkeypatch.setattr(beam_job, name, failing(getattr(beam_job, name)))
    monkeypatch.setattr(_RetryingRunner, "local", spills)
    result = run(place(tmp_path), runner=_RetryingRunner())
    assert sorted(path.name for path in failed.iterdir()) == ["_Read", "_Split", "_Summarize", "_Write"]
    assert result == expected[0]
    assert contents(tmp_path / "out") == expected[1]


def test_a_run_that_failed_leaves_nothing_and_can_be_given_again(
    tmp_path: Path, expected: tuple[PreprocessResult, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path)
    real = stages.write_records

    def fail(context: PreprocessContext, file: str, batches: Iterable[Any]) -> Any:
        if file.startswith("eval"):
            raise PlatformError("the disk is full", where=file)
        return real(context, file, batches)

    with monkeypatch.context() as patched:
        patched.setattr(shards, "write_records", fail)
        with pytest.raises(PlatformError, match="the disk is full"):
            run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["births.csv"]
    run(tmp_path)
    assert contents(tmp_path / "out") == expected[1]


def test_a_run_that_was_killed_leaves_nothing_to_the_next(
    tmp_path: Path, expected: tuple[PreprocessResult, dict[str, bytes]]
) -> None:
    place(tmp_path)
    script = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from headrace.components.preprocess import pipeline, stages\n"
        "from headrace.core.problem.file import load_problem\n"
        "real = stages.write_records\n"
        "def stop(context, file, batches):\n"
        "    shard = real(context, file, batches)\n"
        "    Path(sys.argv[3]).write_text('a shard is written')\n"
        "    time.sleep(3600)\n"
        "stages.write_records = stop\n"
        "config = pipeline.PreprocessConfig(sys.argv[1], sys.argv[2], '0' * 16, shard_rows=300)\n"
        f"pipeline.preprocess(load_problem({str(EXAMPLE / 'natality.py')!r}), config)\n"
    )
    signalled = tmp_path / "signalled"
    arguments = [str(tmp_path / "births.csv"), str(tmp_path / "out"), str(signalled)]
    with subprocess.Popen([sys.executable, "-c", script, *arguments]) as running:
        while not signalled.exists() and running.poll() is None:
            time.sleep(0.05)
        running.kill()
    signalled.unlink()
    left = [path for path in tmp_path.iterdir() if path.name.startswith(".out.")]
    assert len(left) == 1
    assert list(left[0].rglob("*.tfrecord"))
    assert not (tmp_path / "out").exists()
    run(tmp_path)
    assert contents(tmp_path / "out") == expected[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["births.csv", "out"]


def translate_ours(runner: DataflowRunner) -> tuple[apiclient.StageContext, beam_runner_api_pb2.Pipeline]:
    """The request that would go to Dataflow for preprocessing."""
    context = PreprocessContext(
        PROBLEM_FILE.problem,
        Sharding(PROBLEM_FILE.problem.splits, (3, 1, 1)),
        "gs://my-bucket/examples",
        batch_rows=8192,
        spills=False,
    )
    part = Part(0, "gs://my-bucket/births.parquet")
    return translate(lambda pipeline: beam_job.build(pipeline, context, [part]), runner, "headrace-preprocess-1")


def test_the_request_to_dataflow_says_what_the_options_say() -> None:
    context, _ = translate_ours(
        dataflow(
            service_account="worker@my-project.iam.gserviceaccount.com",
            subnetwork="regions/europe-west1/subnetworks/workers",
            machine_type="n2-standard-4",
            workers=2,
            max_workers=20,
            disk_gigabytes=50,
            labels={"team": "births"},
            public_addresses=False,
            beam_options={"number_of_worker_harness_threads": "4"},
        )
    )
    assert context.proto.name == "headrace-preprocess-1"
    assert context.proto.type_.name == "JOB_TYPE_BATCH"
    assert dict(context.proto.labels) == {"team": "births"}
    environment = context.proto.environment
    assert environment.service_account_email == "worker@my-project.iam.gserviceaccount.com"
    assert environment.temp_storage_prefix.startswith("storage.googleapis.com/my-bucket/temp/")
    (pool,) = environment.worker_pools
    assert (pool.machine_type, pool.num_workers, pool.autoscaling_settings.max_num_workers) == ("n2-standard-4", 2, 20)
    assert (pool.subnetwork, pool.disk_size_gb) == ("regions/europe-west1/subnetworks/workers", 50)
    assert pool.ip_configuration.name == "WORKER_IP_PRIVATE"
    assert pool.num_threads_per_worker == 4
    assert [image.container_image for image in pool.sdk_harness_container_images] == [IMAGE]
    assert pool.worker_harness_container_image == IMAGE
    # The image has everything: no package of this machine is staged.
    assert list(pool.packages) == []
    sent = environment.sdk_pipeline_options["options"]
    assert (sent["project"], sent["region"], sent["save_main_session"]) == ("my-project", "europe-west1", False)


def test_the_pipeline_for_dataflow_has_our_steps_and_nothing_of_this_machine() -> None:
    context, pipeline = translate_ours(dataflow())
    names = {transform.unique_name for transform in pipeline.components.transforms.values()}
    steps = ("read", "check and split", "by shard", "write shards", "gather", "summary")
    assert [step for step in steps if step not in names and f"{step}/ParDo(_{step})" not in names] == []
    stages = check_nothing_of_this_machine(context, pipeline)
    assert stages >= {"_Read", "_Split", "_Write", "_Summarize"}


def test_what_beam_refuses_when_it_is_started_is_one_paragraph(tmp_path: Path) -> None:
    place(tmp_path)
    runner = PortableRunner(
        job_endpoint="localhost:1",
        environment_type="LOOPBACK",
        beam_options={"environment_options": "process_command=/boot"},
    )
    with pytest.raises(UsageError, match=r"rejected its options\. Received: Option process_command is not compatible"):
        run(tmp_path, runner=runner)


def test_rows_in_a_bucket_become_examples_in_a_bucket(
    bucket: str, tmp_path: Path, expected: tuple[PreprocessResult, dict[str, bytes]]
) -> None:
    """Workers write below a temporary name in the bucket; what is published is what a run on this machine gives."""
    place(tmp_path)
    storage.write_bytes(f"gs://{bucket}/data/births.csv", (tmp_path / "births.csv").read_bytes())
    # What a run leaves that is killed while it publishes.
    storage.write_bytes(f"gs://{bucket}/made/out/{folders.UNFINISHED}", b'["train/left-by-an-earlier-run.tfrecord"]')
    storage.write_bytes(f"gs://{bucket}/made/out/train/left-by-an-earlier-run.tfrecord", b"")
    runner = PortableRunner(job_endpoint="embed", environment_type="LOOPBACK")
    config = PreprocessConfig(
        f"gs://{bucket}/data/births.csv",
        f"gs://{bucket}/made/out",
        IDENTITY,
        shard_rows=300,
        batch_rows=200,
        runner=runner,
    )
    assert preprocess(PROBLEM_FILE, config) == expected[0]
    found = {
        object_.uri.removeprefix(f"gs://{bucket}/made/"): storage.read_bytes(object_.uri)
        for object_ in folders.below(f"gs://{bucket}/made")
    }
    assert sorted(found) == sorted(f"out/{name}" for name in expected[1])
    same = [name for name in expected[1] if name != "manifest.json"]
    assert {name: found[f"out/{name}"] for name in same} == {name: expected[1][name] for name in same}
