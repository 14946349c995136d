"""`headrace run` with a root in a bucket: what must be on a disk is in a working folder, the rest in the bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import lines
from support.command import headrace

from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.pipelines.runs.local_root import work_folder, work_of

ROWS = lines.rows()


def test_a_run_resumes_and_scores(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, problem, rows = f"gs://{bucket}/root", tmp_path / "lines.py", f"gs://{bucket}/rows.csv"
    problem.write_text(lines.PROBLEM)
    storage.write_bytes(rows, ROWS.encode())
    command = ("run", "static", "--problem", str(problem), "--data", rows, "--root", root)
    ended = headrace(*command, "--epochs", "2", "--batch-size", "32", "--seed", "1")
    work = work_of(root)
    try:
        assert ended.returncode == 0, ended.stdout + ended.stderr
        registry = Registry(f"{root}/registry/lines")
        assert registry.champion().uri.startswith(f"{root}/registry/lines/versions/")
        assert Path(work, "endpoints", "lines", "endpoint.json").is_file()
        (run_id,) = {name.split("/")[0] for name in storage.names_below(f"{root}/runs")}
        names = storage.names_below(f"{root}/runs/{run_id}")
        assert {"summary.json", "report.html", "run.json", "pipeline.yaml", "logs"} <= names
        assert "train.log" in storage.names_below(f"{root}/runs/{run_id}/logs")
        assert not Path(work, "records").exists()
        listed = headrace("endpoint", "list", root)
        assert "lines" in listed.stdout
        assert "lines: version" in headrace("status", "--root", root).stdout
        again = headrace(*command, "--epochs", "2", "--batch-size", "32", "--seed", "1")
        assert again.returncode == 0, again.stderr
        steps = storage.read_json(f"{root}/runs/{run_id}/summary.json")["steps"]
        cached = {step["step"] for step in steps if step["status"] == "cached"}
        assert cached == {"preprocess", "train", "evaluate"}
        scored = headrace("run", "batch-scoring", *command[2:], "--batch-rows", "50")
        assert scored.returncode == 0, scored.stderr
        assert storage.names_below(f"{root}/predictions/lines")
        assert not Path(work, "predictions").exists()
    finally:
        headrace("endpoint", "stop", f"{work}/endpoints/lines")
    listed = headrace("runs", root)
    assert listed.returncode == 0
    assert listed.stdout.count("succeeded") == 2


def test_a_bucket_that_does_not_exist_is_refused_before_any_work(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    problem, rows = tmp_path / "lines.py", tmp_path / "rows.csv"
    problem.write_text(lines.PROBLEM)
    rows.write_text(ROWS)
    root = f"{store.partition('://')[0]}://no-such-bucket-of-ours/root"
    ended = headrace("run", "static", "--problem", str(problem), "--data", str(rows), "--root", root)
    assert ended.returncode == 2, ended.stderr
    assert "bucket" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_working_folder_is_of_one_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert work_of("/data/out") == "/data/out"
    assert work_of("gs://b/a") == work_of("gs://b/a/")
    assert work_folder("gs://b/a/runs/x-1") == f"{work_of('gs://b/a')}/runs/x-1"
    assert work_folder("/data/out/runs/x-1") == "/data/out/runs/x-1"
    assert len({work_of("gs://b/a"), work_of("s3://b/a"), work_of("gs://b/a-a"), work_of("gs://b/a/a")}) == 4
    assert Path(work_of(f"s3://b/{'long' * 100}")).name.startswith("long")


TUNED = lines.PROBLEM.replace("Gate, Numeric, Problem", "Choice, Gate, Numeric, Problem, Training, Tuning").replace(
    "    gate=",
    '    tuning=Tuning({"learning_rate": Choice([0.01, 0.1])}),\n'
    "    training=Training(epochs=1, batch_size=64, hidden_units=[4], seed=1),\n    gate=",
)


def test_a_search_is_continued_from_the_bucket(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, problem, rows = f"gs://{bucket}/root", tmp_path / "lines.py", f"gs://{bucket}/rows.csv"
    problem.write_text(TUNED)
    storage.write_bytes(rows, ROWS.encode())
    work = work_of(root)
    try:
        for trials in (1, 2):
            command = ("run", "tuned", "--problem", str(problem), "--data", rows, "--root", root)
            ended = headrace(*command, "--trials", str(trials), *(["--json"] if trials > 1 else []))
            assert ended.returncode == 0, ended.stdout + ended.stderr
            shown = ended.stderr if trials > 1 else ended.stdout
            # The second search reads the first one's trial.
            assert f"trial {trials - 1}: eval loss" in shown
            assert ("trial 0: eval loss" in shown) is (trials == 1)
        printed = json.loads(ended.stdout)
        assert (printed["pipeline"], printed["status"]) == ("tuned-training", "succeeded")
        assert storage.exists(printed["report"])
    finally:
        headrace("endpoint", "stop", f"{work}/endpoints/lines")
    assert len(storage.names_below(f"{root}/searches")) == 1
    assert not Path(work, "searches").exists()
    (run, other) = storage.names_below(f"{root}/runs")
    summaries = [storage.read_json(f"{root}/runs/{one}/summary.json") for one in (run, other)]
    assert [summary["status"] for summary in summaries] == ["succeeded"] * 2
