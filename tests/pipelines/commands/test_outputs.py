"""No command removes or overwrites what it did not write, whatever its output is called."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from headrace.core.artifacts.kinds import EVALUATION, EXAMPLES, MODEL, PREDICTIONS
from headrace.core.artifacts.quarantine import Fault, QuarantinedRow, to_lines
from headrace.core.errors import UsageError
from headrace.pipelines.cli import cli

NATALITY = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM = ("--problem", "problem.py")
TRAIN = ("train", *PROBLEM, "--examples", "examples", "--output")
INGEST = ("ingest", *PROBLEM, "--span", "1", "--data", "data")
SCORE = ("score", "--model", "model", "--data", "data", "--output")
# What replaces a folder, and the inputs that it reads, as they are called there.
FOLDERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "preprocess": (("preprocess", *PROBLEM, "--data", "data", "--output"), ("data", "problem.py")),
    "preprocess baseline": (
        ("preprocess", *PROBLEM, "--data", "data/births.csv", "--baseline", "examples", "--output"),
        ("data", "examples"),
    ),
    "preprocess append": (("preprocess", *PROBLEM, "--data", "data", "--append", "--output"), ("data",)),
    "preprocess span": (("preprocess", *PROBLEM, "--data", "data", "--span", "1", "--output"), ("data",)),
    "preprocess replace": (("preprocess", *PROBLEM, "--data", "data/*.csv", "--replace", "--output"), ("data",)),
    "monitor": (
        ("monitor", *PROBLEM, "--reference", "examples", "--data", "data", "--output"),
        ("data", "examples", "problem.py"),
    ),
    "ingest": ((*INGEST, "--root", "root", "--output"), ("data", "problem.py")),
    "train": (TRAIN, ("examples", "problem.py")),
    "train warm": ((*TRAIN[:-1], "--warm-start", "model", "--output"), ("examples", "model")),
    "train checkpoints": ((*TRAIN[:-1], "--checkpoints", "kept", "--output"), ("examples", "kept")),
    "tune": (("tune", *PROBLEM, "--examples", "examples", "--folder", "kept", "--output"), ("examples", "kept")),
    "evaluate": (
        ("evaluate", *PROBLEM, "--examples", "examples", "--model", "model", "--champion", "champion", "--output"),
        ("examples", "model", "champion"),
    ),
    **{
        f"score {sink}": ((*SCORE[:-1], "--sink", sink, "--output"), ("data", "model"))
        for sink in ("parquet", "csv", "jsonl", "table")
    },
    "score bigquery": (
        (*SCORE[:-1], "--sink", "bigquery", "--table", "bigquery://p.d.t", "--output"),
        ("data", "model"),
    ),
    "score partitions": ((*SCORE[:-1], "--partition-by", "plurality", "--output"), ("data", "model")),
    "score endpoint": (
        (*SCORE[:-1], "--endpoint-url", "http://127.0.0.1:9", "--approach", "endpoint", "--output"),
        ("data", "model"),
    ),
    "score job": (
        (
            *(*SCORE[:-1], "--approach", "job", "--vertex-model", "projects/project-1/locations/us-central1/models/1"),
            *(
                "--vertex-project",
                "project-1",
                "--vertex-region",
                "us-central1",
                "--vertex-staging",
                "gs://bucket/staging",
                "--output",
            ),
        ),
        ("data", "model"),
    ),
}
# What replaces a file.
FILES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "compile": (("compile", "static", "--output"), ()),
    "compare": (("compare", "one", "two", "--output"), ()),
    "init": (("init", "--data", "data/births.csv", "--output"), ("data/births.csv",)),
    "init replace": (("init", "--data", "data/births.csv", "--replace", "--output"), ("data/births.csv",)),
    "quarantine show": (("quarantine", "show", "quarantine", "--output"), ("quarantine/part-00000-of-00001.jsonl",)),
}
# What changes a folder that has other things of its own.
STATES: dict[str, tuple[str, ...]] = {
    "deploy": ("deploy", "--model", "model", "--endpoint"),
    "endpoint promote": ("endpoint", "promote"),
    "endpoint undeploy": ("endpoint", "undeploy"),
    "endpoint start": ("endpoint", "start"),
    "endpoint rollback": ("endpoint", "rollback"),
    "endpoint stop": ("endpoint", "stop"),
    "rollback": ("rollback",),
    "predictions rollback": ("predictions", "rollback"),
    "predictions table": ("predictions", "table", "predictions", "--output"),
    "registry promote": ("registry", "promote"),
    "registry archive": ("registry", "archive"),
    "registry restore": ("registry", "restore"),
}
# What a command accepts after the folder.
AFTER: dict[str, tuple[str, ...]] = {
    name: ("v1",) for name in STATES if name.startswith("registry") or name in ("endpoint promote", "endpoint undeploy")
}
# What puts things below a root, beside what is there.
ROOTS: dict[str, tuple[str, ...]] = {
    "run static": ("run", "static", *PROBLEM, "--data", "data", "--root"),
    "run tuned": ("run", "tuned", *PROBLEM, "--data", "data", "--root"),
    "ingest": (*INGEST, "--output", "window", "--root"),
    "run batch-scoring": ("run", "batch-scoring", *PROBLEM, "--data", "data", "--root"),
}
# What writes nothing on this machine, or only where nobody else gives the name: below a run's id or a digest.
OTHERS = {
    *(
        "lint",
        "runs",
        "completion",
        "status",
        "logs",
        "serve",
        "endpoint status",
        "endpoint list",
        "endpoint history",
        "endpoint unit",
        "requests show",
        # It writes next to the log's own files, under their names.
        "requests convert",
        "predictions status",
        "registry list",
        "registry show",
        "submit",
        "cancel",
        "report",
    ),
    # `dynamic init` reads no rows, and has tests of its own; the others change what it wrote, and nothing else.
    *(f"dynamic {verb}" for verb in ("init", "add", "request", "withdraw", "retry", "status")),
    *("run dynamic", "tick"),
    *("schedule set", "schedule list", "schedule pause", "schedule resume", "schedule delete"),
    # They write to topics and tables.
    *(f"stream {kind}" for kind in ("kafka", "labels", "pubsub")),
    # Its files are created only if absent, under names made of windows.
    "trigger messages",
    # Of an endpoint at Vertex AI or KServe; Vertex AI writes to the prefix that `monitor` gives it.
    "endpoint canary",
    "endpoint monitor",
    # `function` and `service` replace only files whose first line says that they wrote them.
    *(
        "watch",
        *(f"trigger {verb}" for verb in ("alarm", "alarm-topic", "cron", "schedule", "serve", "function", "service")),
    ),
}


def leaves(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_every_command_is_here() -> None:
    held = [" ".join(arguments[:2]) for table in (FOLDERS, FILES) for arguments, _ in table.values()]
    held += [" ".join(arguments[:2]) for table in (STATES, ROOTS) for arguments in table.values()]
    for name, command in leaves(cli):  # type: ignore[arg-type]
        writes = any(name in (each, each.partition(" ")[0]) for each in held)
        assert writes != (name in OTHERS), name
        options = {option.name for option in command.params}
        assert (
            writes
            or not options & {"output", "folder", "checkpoints"}
            or name.split()[-1]
            in ("status", "list", "show", "history", "convert", "canary", "messages", "monitor", "unit")
        ), name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with inputs, and things of the user's."""
    work = tmp_path / "work"
    for name in ("data", "mine/deep", "quarantine", "kept"):
        (work / name).mkdir(parents=True)
    shutil.copy(NATALITY / "natality.py", work / "problem.py")
    lines = (NATALITY / "births.csv").read_text().splitlines(keepends=True)
    (work / "data" / "births.csv").write_text("".join(lines[:200]))
    (work / "mine" / "deep" / "thesis.txt").write_text("years of work")
    (work / "kept" / "notes.txt").write_text("months of work")
    (work / "thesis.txt").write_text("years of work")
    (work / "mine.log").write_text("a diary")
    row = QuarantinedRow("a.csv", 3, Fault("age", "missing_value", "age is missing"), {"id": "3"})
    (work / "quarantine" / "part-00000-of-00001.jsonl").write_bytes(to_lines([row]))
    for name, kind in (("examples", EXAMPLES), ("model", MODEL), ("champion", MODEL)):
        (work / name).mkdir()
        said = {"kind": kind.kind, "identity": "0" * 16, "model_version": "0" * 16}
        (work / name / kind.manifest).write_text(json.dumps(said))
    monkeypatch.chdir(work)
    return work


def contents(folder: Path) -> dict[str, object]:
    def content(path: Path) -> object:
        if path.is_symlink():
            return os.readlink(path)  # noqa: PTH115
        return path.read_bytes() if path.is_file() else None

    return {str(path.relative_to(folder)): content(path) for path in folder.rglob("*")}


def refused(here: Path, arguments: tuple[str, ...]) -> str:
    """What the command says, when nothing was touched."""
    before = contents(here.parent)
    result = CliRunner().invoke(cli, list(arguments))
    assert contents(here.parent) == before
    assert isinstance(result.exception, UsageError), (result.exception, result.output)
    assert result.exception.exit_status == 2
    assert "\n" not in result.exception.paragraph
    return result.exception.paragraph


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_of_the_users_is_refused(here: Path, command: str) -> None:
    arguments, inputs = FOLDERS[command]
    (here / "link").symlink_to("mine")
    for output in ("mine", "mine/", "mine/deep/..", "mine/deep", "link", "thesis.txt", "mine/deep/thesis.txt"):
        assert "the output already holds something else" in refused(here, (*arguments, output))
    for output in (".", "..", "./", "mine/..", "/", "../work"):
        assert "the output equals or contains" in refused(here, (*arguments, output))
    for name in inputs:
        (here / f"link-{name}").symlink_to(name)
        for output in (name, f"mine/../{name}", f"{here}/{name}", f"link-{name}", f"file://{here}/{name}"):
            assert "the output equals or contains" in refused(here, (*arguments, output))


@pytest.mark.parametrize("command", FOLDERS)
def test_an_artifact_of_another_kind_and_one_with_a_file_of_the_users_are_refused(here: Path, command: str) -> None:
    arguments, _ = FOLDERS[command]
    for kind in (EXAMPLES, MODEL, EVALUATION, PREDICTIONS):
        folder = here / f"an-{kind.kind}"
        folder.mkdir()
        (folder / kind.manifest).write_text(json.dumps({"kind": kind.kind, "identity": "1" * 16}))
        (folder / "thesis.txt").write_text("years of work")
        assert "the output already holds something else" in refused(here, (*arguments, folder.name))


@pytest.mark.parametrize("command", FILES)
def test_a_file_of_the_users_is_refused(here: Path, command: str) -> None:
    arguments, inputs = FILES[command]
    (here / "link").symlink_to("thesis.txt")
    for output in ("mine", ".", "..", "/dev/null", *inputs):
        refused(here, (*arguments, output))
    # A Problem file is the user's to edit: one that is there is replaced where the user says so.
    for output in () if command == "init replace" else ("thesis.txt", "mine/deep/../../thesis.txt", "link"):
        refused(here, (*arguments, output))


@pytest.mark.parametrize("command", STATES)
def test_a_folder_that_is_no_endpoint_publication_or_registry_is_refused(here: Path, command: str) -> None:
    (here / "mine" / "versions" / "1").mkdir(parents=True)
    for folder in ("mine", "model", "data", "thesis.txt", ".", "..", "mine/versions"):
        refused(here, (*STATES[command], folder, *AFTER.get(command, ())))


@pytest.mark.parametrize("command", ROOTS)
def test_a_root_that_is_something_else_or_where_a_place_is_taken_is_refused(here: Path, command: str) -> None:
    for root in ("data", "model", "examples", "thesis.txt", "problem.py", "data/births.csv"):
        refused(here, (*ROOTS[command], root))
    for place in ("spans",) if command == "ingest" else ("registry", "endpoints", "predictions"):
        taken = here / f"root-{place}"
        (taken / place / "natality" / "versions" / "1").mkdir(parents=True)
        assert "the output already holds something else" in refused(here, (*ROOTS[command], taken.name))


def test_what_a_command_wrote_is_written_again(here: Path) -> None:
    def run(*arguments: str) -> None:
        result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output

    for _ in range(2):
        run("compile", "static", "--output", "static.yaml")
        run("quarantine", "show", "quarantine", "--output", "rows.csv")
        run("init", "--data", "data/births.csv", "--replace", "--output", "first.py")
    # What was corrected is worth more than what was written.
    (here / "rows.csv").write_text("corrected")
    refused(here, ("quarantine", "show", "quarantine", "--output", "rows.csv"))


def test_a_report_is_not_written_over_a_page_of_the_users(here: Path) -> None:
    (here / "mine" / "summary.json").write_text('{"steps": []}')
    (here / "mine" / "report.html").write_text("a page")
    assert "the output already holds something else" in refused(here, ("report", "mine"))


def test_a_file_of_the_users_is_not_taken_for_the_log(here: Path) -> None:
    shutil.rmtree(here / "mine")
    arguments = (*FOLDERS["preprocess"][0], "mine")
    (here / "data" / "births.csv").write_text((here / "data" / "births.csv").read_text().replace("2001", "twenty"))
    CliRunner().invoke(cli, list(arguments))
    assert (here / "mine.log").read_text() == "a diary"


def _works() -> dict[str, Callable[[str], object]]:
    """The components' work, as a container runs it."""
    from headrace.components.deploy.local import publisher
    from headrace.components.evaluate import evaluator
    from headrace.components.ingest.config import IngestConfig
    from headrace.components.ingest.ingest import ingest
    from headrace.components.preprocess import pipeline
    from headrace.components.preprocess.append import spans
    from headrace.components.registry.folder.registry import Registry
    from headrace.components.score import publishing
    from headrace.components.score.batch import run as direct
    from headrace.components.score.config import ScoreConfig
    from headrace.components.score.score import score
    from headrace.components.train import trainer
    from headrace.components.train.config import TrainConfig
    from headrace.components.tune import search
    from headrace.core.problem.file import load_problem

    file = load_problem("problem.py")
    identity = "0" * 16
    return {
        "preprocess": lambda out: pipeline.preprocess(file, pipeline.PreprocessConfig("data", out, identity)),
        "append": lambda out: spans.append(file, pipeline.PreprocessConfig("data", out, identity)),
        "span": lambda out: spans.add_span(file, pipeline.PreprocessConfig("data", out, identity), "1"),
        "ingest": lambda out: ingest(file, IngestConfig((), "root", out)),
        "train": lambda out: trainer.train(file, TrainConfig("examples", out, identity)),
        "tune": lambda out: search.tune(file, search.TuneConfig("examples", out, "kept")),
        "evaluate": lambda out: evaluator.evaluate(file, evaluator.EvaluateConfig("examples", "model", out)),
        "score": lambda out: score(ScoreConfig("model", "data", out, identity)),
        "score direct": lambda out: direct.score(ScoreConfig("model", "data", out, identity)),
        "register": lambda out: Registry(out).register("model"),
        "publish": lambda out: publishing.publish("examples", out),
        "deploy": lambda out: publisher.deploy(publisher.LocalDeployConfig("model", out)),
    }


@pytest.mark.parametrize("output", ["mine", "thesis.txt", "data", "problem.py", "mine/deep/.."])
def test_a_components_work_refuses_likewise(here: Path, output: str) -> None:
    (here / "mine" / "versions").mkdir()
    before = contents(here)
    for name, work in _works().items():
        with pytest.raises(UsageError) as caught:
            work(output)
        assert caught.value.what.startswith(("the output already holds", "the output equals")), name
        assert contents(here) == before
