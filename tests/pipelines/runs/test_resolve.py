"""The run that a user names: by its id, its folder, a file of it, or its root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.run_folders import write_run

from headrace.core.errors import UsageError
from headrace.pipelines.cli import cli
from headrace.pipelines.commands.run_argument import ArtifactOfRun
from headrace.pipelines.runs.resolve import resolve_artifact, resolve_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_run(tmp_path / "out", "natality-abc1", started=100.0)
    write_run(tmp_path / "out", "natality-abd2", started=200.0)
    write_run(tmp_path / "out", "natality-xyz3", started=300.0, summary=False)
    return tmp_path / "out"


@pytest.mark.parametrize(
    "text",
    [
        "natality-abc1",
        "natality-abc",
        "{root}/natality-abc1",
        "{root}/runs/natality-abc1",
        "{root}/runs/natality-abc1/",
        "{root}/runs/natality-abc1/summary.json",
        "{root}/runs/natality-abc1/report.html",
        "{root}/runs/natality-abc1/run.json",
    ],
)
def test_every_way_to_name_a_run(root: Path, text: str) -> None:
    found = resolve_run(text.format(root=root), str(root))
    assert (found.run_id, found.folder) == ("natality-abc1", str(root / "runs" / "natality-abc1"))


def test_a_root_is_its_newest_finished_run(root: Path) -> None:
    assert resolve_run(str(root)).run_id == "natality-abd2"


def test_relative_paths(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "runs" / "natality-abc1")
    assert resolve_run("summary.json").run_id == resolve_run(".").run_id == "natality-abc1"
    monkeypatch.chdir(root.parent)
    assert resolve_run("out/runs/natality-abc1").folder == str(root / "runs" / "natality-abc1")


@pytest.mark.parametrize("text", ["nothing", "{root}/runs/nothing", "{root}/nothing"])
def test_an_unknown_run_is_one_paragraph_that_lists_what_there_is(root: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_run(text.format(root=root), str(root))
    said = caught.value.paragraph
    assert "the run does not exist" in said
    assert "natality-xyz3 (interrupted), natality-abd2 (succeeded), natality-abc1 (succeeded)" in said
    assert len(said.splitlines()) == 1


def test_an_unknown_run_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_run("natality-abc1", str(tmp_path))
    assert "no run is there" in caught.value.paragraph


def test_many_runs_are_not_all_listed(tmp_path: Path) -> None:
    for place in range(12):
        write_run(tmp_path, f"natality-{place:02}", started=float(place), summary=False)
    with pytest.raises(UsageError) as caught:
        resolve_run("x", str(tmp_path))
    assert "natality-11 (interrupted)" in caught.value.paragraph
    assert "natality-02 (interrupted) and 2 older runs" in caught.value.paragraph


def test_an_ambiguous_beginning(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_run("natality-ab", str(root))
    assert "the run is ambiguous" in caught.value.paragraph
    assert "natality-abd2 (succeeded), natality-abc1 (succeeded)" in caught.value.paragraph


def test_an_artifact_of_a_run(root: Path) -> None:
    made = root / "pipeline" / "natality-abc1"
    assert resolve_artifact(str(root / "runs" / "natality-abc1"), "examples") == str(made / "examples")
    assert resolve_artifact("natality-abc1", "model", str(root)) == str(made / "model")
    assert resolve_artifact("natality-abc1", "quarantined", str(root)) == str(made / "examples")
    assert resolve_artifact("natality-abc1", "evaluation", str(root)) == str(made / "evaluation")


def test_the_predictions_of_a_run_are_the_published_ones(root: Path) -> None:
    folder = root / "runs" / "natality-abc1"
    summary = json.loads((folder / "summary.json").read_text())
    summary["steps"] = [
        {"step": "score", "status": "succeeded", "outputs": {"predictions": "scored"}, "result": {}, "error": None},
    ]
    (folder / "summary.json").write_text(json.dumps(summary))
    assert resolve_artifact(str(folder), "predictions") == "scored"
    summary["steps"].append({**summary["steps"][0], "step": "publish", "outputs": {"published": "published/1"}})
    (folder / "summary.json").write_text(json.dumps(summary))
    assert resolve_artifact(str(folder), "predictions") == "published/1"
    with pytest.raises(UsageError, match=r"the run has no Evaluation\. Expected a run with an Evaluation, or"):
        resolve_artifact(str(folder), "evaluation")


def test_what_commands_read_may_be_a_run() -> None:
    def runs(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
        for word, inner in getattr(command, "commands", {}).items():
            yield from runs(inner, f"{name} {word}".strip())
        for parameter in command.params:
            if isinstance(parameter.type, ArtifactOfRun):
                yield f"{name} {parameter.opts[0]}", parameter.type.kind

    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    found = dict(one for name, command in commands.items() if command is not None for one in runs(command, name))
    assert {name for name, kind in found.items() if kind == "evaluation"} == {
        "monitor --evaluation",
        "stream labels --evaluation",
    }
    assert {name for name, kind in found.items() if kind == "predictions"} == {"predictions table folder"}
    assert {"monitor --reference", "trigger messages --drift-from", "train --examples"} <= set(found)


def test_an_artifact_itself_is_what_it_is(root: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    model = root / "pipeline" / "natality-abc1" / "model"
    for text in ("", str(model), str(tmp_path / "folder"), "gs://b/model", "some/where"):
        assert resolve_artifact(text, "model", str(root)) == text
    # Nothing to compare it with: what reads it says what is wrong.
    assert resolve_artifact("nowhere", "model", str(tmp_path / "none")) == "nowhere"


def test_an_artifact_of_a_run_that_does_not_exist(root: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_artifact("natality-abc9", "model", str(root))
    assert "the run does not exist. Expected one of natality-xyz3" in caught.value.paragraph


def test_a_run_without_the_artifact(root: Path) -> None:
    write_run(root, "natality-failed4", status="failed")
    with pytest.raises(UsageError) as caught:
        resolve_artifact("natality-failed4", "model", str(root))
    assert "the run has no Model" in caught.value.paragraph
    assert "train failed" in caught.value.paragraph
    assert resolve_artifact("natality-failed4", "examples", str(root)).endswith("natality-failed4/examples")
    with pytest.raises(UsageError, match="it was interrupted"):
        resolve_artifact("natality-xyz3", "examples", str(root))
