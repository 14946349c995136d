"""--json on every command that reports: one JSON value on stdout and nothing else, progress on stderr."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import click
import pytest
from support.run_folders import write_run

from headrace.components.deploy.local import operate
from headrace.core.errors import GateRefused
from headrace.pipelines.cli import COMMANDS, cli
from headrace.pipelines.commands.json_output import print_json

ROOT = Path(__file__).parents[3]
NATALITY = ROOT / "examples" / "natality"


def headrace(*arguments: str | Path) -> str:
    """What a command prints on stdout, to its file descriptor too; a refusal by the gate is a report as well."""
    sys.stdout.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            with redirect_stdout(out), redirect_stderr(err):
                with suppress(GateRefused):
                    cli.main([*map(str, arguments)], standalone_mode=False)
                out.flush()
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
        out.seek(0)
        return out.read()


class Workplace:
    """What the commands need of each other; each is made once, by the command itself with --json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed: dict[str, str] = {}
        self.problem = folder / "natality.py"
        source = (NATALITY / "natality.py").read_text().replace("epochs=40", "epochs=1")
        source = source.replace("import ", "import Choice, Tuning, ", 1)
        tuning = '    tuning=Tuning(trials=1, space={"learning_rate": Choice([0.003, 0.004])}),\n)\n'
        self.problem.write_text(source.rstrip().removesuffix(")") + tuning)
        write_run(folder / "root", "natality-1", started=100.0)
        write_run(folder / "root", "natality-2", started=200.0, error=1.2)

    def once(self, name: str, *arguments: str | Path) -> str:
        """What the command printed; it runs the first time alone."""
        if name not in self.printed:
            self.printed[name] = headrace(*name.split(), *arguments, "--json")
        return self.printed[name]

    def preprocess(self) -> str:
        data, output = NATALITY / "births.csv", self.folder / "examples"
        return self.once("preprocess", "--problem", self.problem, "--data", data, "--output", output)

    def train(self) -> str:
        self.preprocess()
        return self.once("train", *self.inputs, "--output", self.folder / "model")

    def deploy(self) -> str:
        self.train()
        return self.once("deploy", "--model", self.folder / "model", "--endpoint", self.folder / "endpoint")

    @property
    def inputs(self) -> list[str | Path]:
        return ["--problem", self.problem, "--examples", self.folder / "examples"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    made = Workplace(tmp_path_factory.mktemp("json"))
    yield made
    if (made.folder / "endpoint").is_dir():
        operate.stop(str(made.folder / "endpoint"))


def run(place: Workplace, *arguments: str | Path) -> str:
    return headrace(*arguments, "--json")


def evaluate(place: Workplace) -> str:
    place.train()
    return run(place, "evaluate", *place.inputs, "--model", place.folder / "model", "--output", place.folder / "eval")


def ingest(place: Workplace) -> str:
    data, root, output = NATALITY / "births.csv", place.folder / "root", place.folder / "window"
    rows = ["--problem", place.problem, "--span", "1", "--data", data]
    return run(place, "ingest", *rows, "--root", root, "--output", output)


def tune(place: Workplace) -> str:
    place.preprocess()
    return run(place, "tune", *place.inputs, "--output", place.folder / "tuned")


def plan(place: Workplace) -> str:
    place.preprocess()
    return run(place, "train", *place.inputs, "--plan")


def score(place: Workplace, *more: str | Path) -> str:
    place.train()
    return run(place, "score", "--model", place.folder / "model", *more)


def score_rows(place: Workplace) -> str:
    return score(place, "--data", NATALITY / "births.csv", "--output", place.folder / "predictions")


def endpoint(place: Workplace) -> str:
    place.deploy()
    return run(place, "endpoint", "status", place.folder / "endpoint")


def predictions(place: Workplace) -> str:
    from headrace.components.score.publishing import publish

    score_rows(place)
    publish(str(place.folder / "predictions"), str(place.folder / "published"))
    return run(place, "predictions", "status", place.folder / "published")


def lint(place: Workplace) -> str:
    spec = ROOT / "tests" / "pipelines" / "golden" / "static_training_vertex.yaml"
    return run(place, "lint", spec, "--platform", "vertex")


# Each command that reports, in every mode of it; and something of what it reports.
REPORTS: dict[str, tuple[Callable[[Workplace], str], Callable[[Any], bool]]] = {
    "runs": (
        lambda place: run(place, "runs", place.folder / "root"),
        lambda found: [each["run_id"] for each in found] == ["natality-2", "natality-1"],
    ),
    "compare": (
        lambda place: run(place, "compare", "natality-1", "natality-2", "--root", place.folder / "root"),
        lambda found: found["metrics"][1]["difference"] == pytest.approx(0.15),
    ),
    "status": (
        lambda place: run(place, "status", "--root", place.folder / "root"),
        lambda found: (found["latest"]["run_id"], found["under_way"], found["endpoints"]) == ("natality-2", [], []),
    ),
    "status RUN": (
        lambda place: run(place, "status", "natality-1", "--root", place.folder / "root"),
        lambda found: found["status"] == "succeeded",
    ),
    "quarantine show": (
        lambda place: run(place, "quarantine", "show", place.folder / "root" / "runs" / "natality-1"),
        lambda found: (found["reasons"], found["rows"][0]["row"]) == ({"missing_value": 1}, 3),
    ),
    "lint": (lint, lambda found: isinstance(found, list)),
    "preprocess": (Workplace.preprocess, lambda found: (found["rows_in"], found["rows_out"]) == (1450, 1449)),
    "ingest": (ingest, lambda found: (found["spans"], found["rows_in"], found["rows_out"]) == (["1"], 1450, 1449)),
    "train": (Workplace.train, lambda found: found["epochs"] == 1),
    "train --describe-devices": (
        lambda place: run(place, "train", "--problem", place.problem, "--describe-devices"),
        lambda found: found["strategy"].startswith("OneDevice"),
    ),
    "train --plan": (plan, lambda found: found["estimates"][0]["measured"] is True),
    "tune": (tune, lambda found: (found["best"], len(found["trials"])) == (0, 1)),
    "evaluate": (evaluate, lambda found: found["metrics"]["root_mean_squared_error"] > 0),
    "score": (score_rows, lambda found: found["rows_in"] == found["rows_out"] + found["rows_quarantined"] == 1450),
    "score --describe-model": (
        lambda place: score(place, "--describe-model"),
        lambda found: found["takes"]["key"] == "record_id",
    ),
    "deploy": (Workplace.deploy, lambda found: found["url"].startswith("http://127.0.0.1:")),
    "endpoint status": (endpoint, lambda found: found["healthy"] is True),
    "predictions status": (predictions, lambda found: found["rows"] + 0 > 1400),
}
# Shown in tests of their own: runs, submission, the registry, the request log, dynamic training.
ELSEWHERE = {
    *(f"run {pipeline}" for pipeline in ("static", "tuned", "batch-scoring", "dynamic")),
    "submit",
    "cancel",
    "schedule set",
    "trigger schedule",
    *(f"dynamic {verb}" for verb in ("init", "request", "withdraw")),
    *(f"endpoint {verb}" for verb in ("start", "monitor")),
    "predictions rollback",
    "dynamic add",
    "dynamic status",
    "tick",
    "schedule list",
    "requests show",
    "requests convert",
    "monitor",
    "endpoint canary",
    "rollback",
    "predictions table",
    "trigger alarm",
    *(f"endpoint {verb}" for verb in ("history", "list", "promote", "rollback")),
    *(f"registry {verb}" for verb in ("archive", "list", "promote", "restore", "show")),
}


# Commands that report nothing, and why: a new command is here or has the option.
ONE_FILE = "writes one file, whose path is all that it prints"
TO_RUN = "prints text that another program executes"
UNTIL_A_SIGNAL = "runs until it is stopped, and logs lines"
EXIT_STATUS = "its exit status is the result"
NO_REPORT = {
    "compile": ONE_FILE,
    "init": ONE_FILE,
    "report": ONE_FILE,
    "completion": TO_RUN,
    "trigger cron": TO_RUN,
    "trigger function": TO_RUN,
    "trigger service": TO_RUN,
    "serve": UNTIL_A_SIGNAL,
    "stream kafka": UNTIL_A_SIGNAL,
    "stream labels": UNTIL_A_SIGNAL,
    "stream pubsub": UNTIL_A_SIGNAL,
    "trigger alarm-topic": UNTIL_A_SIGNAL,
    "trigger messages": UNTIL_A_SIGNAL,
    "trigger serve": UNTIL_A_SIGNAL,
    "watch": UNTIL_A_SIGNAL,
    "dynamic retry": EXIT_STATUS,
    "endpoint unit": TO_RUN,
    "endpoint stop": EXIT_STATUS,
    "endpoint undeploy": EXIT_STATUS,
    "schedule delete": EXIT_STATUS,
    "schedule pause": EXIT_STATUS,
    "schedule resume": EXIT_STATUS,
    "logs": "prints the log's lines as they are",
}


@pytest.mark.parametrize("name", list(REPORTS))
def test_one_json_value_and_nothing_else(name: str, workplace: Workplace) -> None:
    invoke, said = REPORTS[name]
    found = json.loads(invoke(workplace))
    assert said(found), found


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Each command that is no group, by its words."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        inner = command.get_command(context, word)
        assert inner is not None
        yield from commands(inner, f"{name} {word}".strip())


def test_every_command_with_the_option_is_shown_here() -> None:
    have = {name for name, command in commands(cli, "") if any(p.name == "as_json" for p in command.params)}
    shown = {" ".join(word for word in name.split() if word.islower() and word[0] != "-") for name in REPORTS}
    assert have == shown | ELSEWHERE
    assert {name.split()[0] for name in have} <= set(COMMANDS)


def test_every_command_reports_as_json_or_has_a_reason() -> None:
    have = {name for name, command in commands(cli, "") if any(p.name == "as_json" for p in command.params)}
    assert {name for name, _ in commands(cli, "")} == have | set(NO_REPORT)
    assert have.isdisjoint(NO_REPORT)


def test_numbers_that_json_does_not_have_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": (float("-inf"), 1.5), 3: None})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "3": None}
