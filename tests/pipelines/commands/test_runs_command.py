"""`headrace runs`, `compare`, `status` and `report` as a user reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from support.run_folders import write_run

from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.state import EndpointState
from headrace.core.errors import UsageError
from headrace.core.storage.lock import locked
from headrace.pipelines.cli import cli


def headrace(*arguments: str | Path) -> str:
    done = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)
    assert (done.exit_code, done.stderr) == (0, "")
    return "\n".join(" ".join(line.split()) for line in done.stdout.splitlines())


def refusal(*arguments: str | Path) -> str:
    done = CliRunner().invoke(cli, [*map(str, arguments)])
    assert isinstance(done.exception, UsageError)
    assert done.stdout == ""
    return done.exception.paragraph


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_run(tmp_path / "out", "natality-1", started=1_795_250_000.0)
    write_run(tmp_path / "out", "natality-2", started=1_795_250_100.0, error=1.2, learning_rate=0.02)
    write_run(tmp_path / "out", "natality-3", started=1_795_250_200.0, status="failed")
    return tmp_path / "out"


def test_the_runs_of_a_root(root: Path, tmp_path: Path) -> None:
    assert headrace("runs", root).splitlines() == [
        "RUN STATUS STARTED TOOK METRIC MODEL DATA",
        "natality-3 failed (train) 2026-11-21T08:36:40Z 42 s births.csv",
        f"natality-2 succeeded 2026-11-21T08:35:00Z 42 s root_mean_squared_error 1.2 {'2' * 16} births.csv",
        f"natality-1 succeeded 2026-11-21T08:33:20Z 42 s root_mean_squared_error 1.05 {'1' * 16} births.csv",
    ]
    (tmp_path / "empty").mkdir()
    assert headrace("runs", tmp_path / "empty") == f"no runs in {tmp_path}/empty"
    assert "the root does not exist" in refusal("runs", tmp_path / "nowhere")


def test_two_runs_side_by_side(root: Path) -> None:
    told = headrace("compare", "natality-1", "natality-2", "--root", root)
    for line in (
        "natality-1 natality-2",
        "root_mean_squared_error 1.05 [1, 1.1] 1.2 [1.15, 1.25] +0.15 intervals apart",
        "mean_absolute_error 0.84 0.96 +0.12",
        "Options that differ",
        "training: learning_rate 0.01 0.02",
        "No difference in data.",
        "-    learning_rate=0.01,".replace("    ", " "),
    ):  # fmt: skip
        assert line in told.splitlines()
    assert "the run does not exist. Expected one of natality-3 (failed)" in refusal(
        "compare", "natality-1", "natality-9", "--root", root
    )


def test_the_status_of_this_machine(root: Path) -> None:
    assert headrace("status", "--root", root).splitlines() == [
        f"root {root}",
        "newest run natality-3, failed (train), 2026-11-21T08:36:40Z, 42 s, births.csv",
        "running none",
        "endpoint none",
    ]
    folder = EndpointFolder(str(root / "endpoints" / "natality"))
    folder.path.mkdir(parents=True)
    folder.write(EndpointState("natality", "v1", None), None)
    (root / "endpoints" / "damaged").mkdir()
    (root / "endpoints" / "damaged" / "endpoint.json").write_text("{}")
    running = write_run(root, "natality-4", started=1_795_250_300.0, summary=False)
    with locked(str(running)):
        told = headrace("status", "--root", root).splitlines()
    assert told[1].startswith("newest run natality-4, running (train), 2026-11-21T08:38:20Z, ")
    assert told[2].startswith("running natality-4, running (train)")
    assert told[3].startswith(f"endpoint {root}/endpoints/damaged: {root}/endpoints/damaged/endpoint.json: ")
    assert told[4:] == ["endpoint natality: version v1 does not answer"]


def test_the_status_of_a_run_here(root: Path) -> None:
    told = headrace("status", "natality-3", "--root", root).splitlines()
    assert told[0] == "run natality-3, failed (train), 2026-11-21T08:36:40Z, 42 s, births.csv"
    assert "message train train was killed Start it again" in told
    assert "model version none" in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--wait"], "--wait requires a platform"),
        (["--project", "p"], "--project requires a platform"),
        (["--platform", "vertex", "--root", "out"], "vertex has no root"),
        (["--root", "nowhere"], "the root does not exist"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], said: str) -> None:
    assert said in refusal("status", *options)


def test_a_report_by_the_id_of_a_run(root: Path) -> None:
    assert headrace("report", "natality-2", "--root", root) == f"{root}/runs/natality-2/report.html"
    assert headrace("report", root) == f"{root}/runs/natality-3/report.html"
    write_run(root, "natality-4", summary=False)
    assert "the run has no summary yet" in refusal("report", "natality-4", "--root", root)


def test_a_command_takes_the_run_that_made_what_it_needs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(*arguments: str | Path) -> dict[str, Any]:
        words = [*map(str, arguments)]
        command: Any = cli.get_command(click.Context(cli), words[0])
        return dict(command.make_context(words[0], words[1:]).params)

    made = root / "pipeline" / "natality-1"
    run = root / "runs" / "natality-1"
    both = ["--problem", "p.py", "--examples", run, "--output", "o"]
    assert resolved("train", *both, "--warm-start", run)["warm_start"] == str(made / "model")
    seen = resolved("evaluate", *both, "--model", run, "--champion", run)
    assert (seen["examples"], seen["model"], seen["champion"]) == (
        str(made / "examples"), str(made / "model"), str(made / "model"),
    )  # fmt: skip
    assert resolved("tune", *both)["examples"] == str(made / "examples")
    assert resolved("score", "--model", run)["model"] == str(made / "model")
    assert resolved("deploy", "--model", run, "--endpoint", "e")["model"] == str(made / "model")
    assert resolved("serve", run)["path"] == str(made / "model")
    rows = ["--problem", "p.py", "--data", "d.csv", "--output", "o", "--baseline", run]
    assert resolved("preprocess", *rows)["baseline"] == str(made / "examples")
    # By its id, in the root that commands keep runs in.
    (root.parent / "headrace-runs").symlink_to(root)
    monkeypatch.chdir(root.parent)
    assert resolved("serve", "natality-1")["path"] == str(made / "model")
