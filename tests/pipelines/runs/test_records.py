"""Runs of a root: what each one is and came to, whatever state its folder is in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.run_folders import write_run

from headrace.core.errors import UsageError
from headrace.core.storage.lock import is_locked, locked
from headrace.core.storage.remote import StoredObject
from headrace.core.storage.remote import folders as remote_folders
from headrace.pipelines.runs.records import list_runs, read_run, read_summary
from headrace.pipelines.runs.resolve import resolve_run
from headrace.pipelines.runs.start_record import recording, secrets


def test_the_newest_run_is_first(tmp_path: Path) -> None:
    write_run(tmp_path, "natality-1", started=100.0, error=1.25)
    write_run(tmp_path, "natality-3", started=300.0, status="failed")
    write_run(tmp_path, "natality-2", started=200.0, status="refused")
    (tmp_path / "runs" / "not-a-run").mkdir()
    found = list_runs(str(tmp_path))
    assert [(run.run_id, run.status, run.step) for run in found] == [
        ("natality-3", "failed", "train"),
        ("natality-2", "refused", None),
        ("natality-1", "succeeded", None),
    ]
    first = found[-1]
    assert (first.started, first.finished, first.data) == (100.0, 142.0, "births.csv")
    assert first.headline == ("root_mean_squared_error", 1.25)
    assert first.metrics["root_mean_squared_error"]["low"] == pytest.approx(1.2)
    assert first.model_version == "1" * 16
    assert first.outputs["examples"] == str(tmp_path / "pipeline" / "natality-1" / "examples")
    assert (found[0].message, found[0].model_version, found[0].headline) == (
        "train train was killed Start it again", None, None,
    )  # fmt: skip


def test_a_clock_that_is_set_back_an_hour_between_runs_changes_no_order(tmp_path: Path) -> None:
    """Runs of an earlier release have no number, and are older than those that have one."""

    def begin(run_id: str, started: float) -> None:
        folder = write_run(tmp_path, run_id, started=started)
        given = {"pipeline": "static", "problem": "natality", "run_id": run_id, "started": started, "arguments": {}}
        recording(str(folder), **given, listener=lambda _: None)

    write_run(tmp_path, "natality-2", started=9_000.0)
    write_run(tmp_path, "natality-1", started=8_000.0)
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "run.json").write_text("[]")
    begin("natality-3", 8_000.0)
    begin("natality-4", 4_400.0)
    newest = ["natality-4", "natality-3", "natality-2", "natality-1"]
    assert [run.run_id for run in list_runs(str(tmp_path)) if run.status != "unreadable"] == newest
    assert resolve_run(str(tmp_path)).run_id == "natality-4"
    # The third one is run again.
    begin("natality-3", 4_500.0)
    assert resolve_run(str(tmp_path)).run_id == "natality-3"
    assert [run.number for run in list_runs(str(tmp_path))][:3] == [3, 2, 0]


def test_a_run_without_a_summary_is_running_while_its_lock_is_held(tmp_path: Path) -> None:
    folder = str(write_run(tmp_path, "natality-1", summary=False))
    assert not is_locked(folder)
    assert (read_run(folder).status, read_run(folder).step) == ("interrupted", "train")
    with locked(folder):
        assert is_locked(folder)
        running = read_run(folder)
    assert (running.status, running.data, running.started) == ("running", "births.csv", 1_795_250_000.0)
    assert read_run(folder).status == "interrupted"


def test_a_run_that_began_again_is_not_what_its_old_summary_says(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "natality-1", started=100.0)
    assert read_summary(str(folder)) is not None
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "started": 200.0}))
    assert read_summary(str(folder)) is None
    again = read_run(str(folder))
    assert (again.status, again.started, again.metrics) == ("interrupted", 200.0, {})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": [{}]}', '{"steps": [], "status": "succeeded"'])
def test_a_damaged_summary_is_one_run_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    write_run(tmp_path, "natality-1")
    folder = write_run(tmp_path, "natality-2", started=5.0)
    (folder / "run.json").unlink()
    (folder / "summary.json").write_text(content)
    good, bad = list_runs(str(tmp_path))
    assert (good.status, bad.status, bad.run_id) == ("succeeded", "unreadable", "natality-2")
    assert str(folder) in bad.message


def test_a_run_of_another_platform_has_no_start_record(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "natality-1")
    (folder / "run.json").unlink()
    assert (read_run(str(folder)).status, read_run(str(folder)).pipeline) == ("succeeded", "static")


def test_a_root_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        list_runs(str(tmp_path / "nowhere"))
    assert "the root does not exist" in caught.value.paragraph
    assert list_runs(str(tmp_path)) == []


def test_runs_of_a_bucket(bucket: str, put: Callable[[str, bytes], str], tmp_path: Path) -> None:
    assert list_runs(f"gs://{bucket}/root") == []
    folder = write_run(tmp_path, "natality-1")
    put("root/runs/natality-1/summary.json", (folder / "summary.json").read_bytes())
    put("root/runs/natality-1/logs/summary.json", b"{}")
    (run,) = list_runs(f"gs://{bucket}/root")
    assert (run.run_id, run.status, run.folder) == ("natality-1", "succeeded", f"gs://{bucket}/root/runs/natality-1")
    assert resolve_run(run.folder).run_id == "natality-1"


def test_the_clocks_of_machines_do_not_say_which_run_of_a_bucket_is_newest(
    bucket: str, put: Callable[[str, bytes], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's clock the runs ended in the order of their names; the clocks of their machines say otherwise."""
    for number, started in enumerate((9_000.0, 5_400.0, 100.0), 1):
        folder = write_run(tmp_path, f"natality-{number}", started=started)
        put(f"root/runs/natality-{number}/summary.json", (folder / "summary.json").read_bytes())
    found = remote_folders.find

    def dated(uri: str) -> tuple[list[StoredObject], bool]:
        objects, alone = found(uri)
        return [dataclasses.replace(each, created=100.0 + number) for number, each in enumerate(objects)], alone

    monkeypatch.setattr(remote_folders, "find", dated)
    found_runs = list_runs(f"gs://{bucket}/root")
    assert [run.run_id for run in found_runs] == ["natality-3", "natality-2", "natality-1"]


def test_the_start_record_names_the_running_step_and_keeps_no_webhook(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    listen = recording(
        str(tmp_path),
        pipeline="batch-scoring",
        problem="natality",
        run_id="r",
        started=1.5,
        arguments={
            "data": "d",
            "webhook": "https://example.com/secret",
            "destinations": ["events", "https://example.com/secret"],
        },
        listener=heard.append,
    )

    def step() -> Any:
        return json.loads((tmp_path / "run.json").read_text())["step"]

    assert step() is None
    listen({"event": "started", "step": "score", "message": ""})
    assert step() == "score"
    before = (tmp_path / "run.json").stat().st_mtime_ns
    listen({"event": "progress", "step": "score", "message": ""})
    assert (tmp_path / "run.json").stat().st_mtime_ns == before
    listen({"event": "finished", "step": "score", "message": ""})
    assert step() is None
    assert [event["event"] for event in heard] == ["started", "progress", "finished"]
    assert "secret" not in (tmp_path / "run.json").read_text()


def test_no_log_holds_the_url_of_a_webhook() -> None:
    assert secrets({"data": "https://example.com/rows.csv"}) == []
    assert secrets({"webhook": "https://example.com/a"}) == ["https://example.com/a"]
    destinations = ["/root/events", "https://example.com/b", "kafka://host:9092/models"]
    assert secrets({"destinations": destinations}) == ["https://example.com/b"]
