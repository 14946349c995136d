"""Driver: runs one after another, each with the settings that are stored when it starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.day_spans import day, problem_file, rows_of, write_rows

from headrace.core.errors import UsageError
from headrace.core.ledger.state import LedgerRun
from headrace.pipelines.dynamic import local_runs
from headrace.pipelines.dynamic.arrivals import arrive, request
from headrace.pipelines.dynamic.drive import drive, read_local
from headrace.pipelines.dynamic.initialize import initialize
from headrace.pipelines.dynamic.settings import DynamicSettings, change, read

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def test_a_span_that_is_withdrawn_during_a_run_counts_from_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = initialize(problem_file(tmp_path).path, str(tmp_path / "root"))
    data = write_rows(tmp_path / "0.csv", rows_of(day(0)))
    arrive(settings, data=data, span=day(0), reason="file", event="", now=NOW)
    withdrawn: list[tuple[str, ...]] = []

    def execute(present: DynamicSettings, run: LedgerRun, console: Console) -> dict[str, Any]:
        """A run that ends well; during the first one a person withdraws its span, and requests another run."""
        withdrawn.append(present.withdrawn)
        if len(withdrawn) == 1:
            change(settings, lambda _: {"withdrawn": (day(0),)})
            request(settings, reason="request", event="", now=NOW)
        present.ledger.end(run.id, run.epoch, "kept")
        console.print("nobody sees this")
        return {"epoch": run.epoch}

    monkeypatch.setattr(local_runs, "execute", execute)
    ended: list[dict[str, Any]] = []
    pumped, summaries = drive(settings, clock=lambda: NOW + timedelta(hours=1), ended=ended.append)
    assert (pumped.did, summaries, ended) == ("idle", [{"epoch": 1}, {"epoch": 2}], summaries)
    assert withdrawn == [(), (day(0),)]
    # Nothing is shown without a console.
    assert capsys.readouterr().out == ""


def test_a_training_of_another_platform_is_not_run_here(tmp_path: Path) -> None:
    settings = initialize(problem_file(tmp_path).path, str(tmp_path / "root"))
    stored = Path(settings.uri)
    place = '"place":{"platform":"kubeflow"}'
    content = stored.read_text().replace(" ", "").replace("\n", "")
    stored.write_text(content.replace('"place":null', place).replace('"platform":"local"', '"platform":"kubeflow"'))
    assert read(settings.uri).platform == "kubeflow"
    for call in (lambda: read_local(settings.root), lambda: drive(settings)):
        with pytest.raises(UsageError, match="the dynamic training runs on another platform"):
            call()
