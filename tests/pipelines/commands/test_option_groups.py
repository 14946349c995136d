"""Option groups: what --help shows, what --help-all adds, and that an option means one thing in every command."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from headrace.components.score.options import EndpointOptions, JobOptions
from headrace.pipelines.cli import COMMANDS, cli
from headrace.pipelines.commands.score_options import _ENDPOINT, _JOB


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (place, _) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        yield from ((f"{name} {inner}", one) for inner, one in getattr(found, "commands", {"": found}).items())


def shown(*arguments: str) -> set[str]:
    done = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", done.output, re.MULTILINE))


def names(parameter: click.Parameter) -> set[str]:
    """The names of a parameter that help texts show."""
    return set(parameter.opts) - set(getattr(parameter, "aliases", ()))


def test_help_shows_what_a_first_use_needs() -> None:
    few, all_of_them = shown("score", "--help"), shown("score", "--help-all")
    assert 12 <= len(few - {"--help", "--help-all"}) <= 18
    assert few < all_of_them
    (score,) = (one for name, one in commands() if name.strip() == "score")
    assert {name for one in score.params for name in names(one)} <= all_of_them


@pytest.mark.parametrize(
    "command", [["run", "static"], ["run", "tuned"], ["train"], ["tune"], ["submit"], ["preprocess"]]
)
def test_other_long_commands_do_the_same(command: list[str]) -> None:
    few, all_of_them = shown(*command, "--help"), shown(*command, "--help-all")
    assert "--help-all" in few < all_of_them


def test_a_command_without_rare_options_has_no_second_help() -> None:
    assert "--help-all" not in shown("init", "--help")


def test_a_name_means_one_thing() -> None:
    """By what it is shown as: a number, a folder and a URL are three things."""
    meanings: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for command, one in commands():
        for parameter in one.params:
            if isinstance(parameter, click.Option) and parameter.metavar:
                meanings[parameter.opts[0]][parameter.metavar].add(command)
    several = {name: dict(found) for name, found in meanings.items() if len(found) > 1}
    # A folder, a file or a place: the same thing, elsewhere.
    place = re.compile(r"DIR|PATH|FILE(\.\w+)?\Z")
    assert {name: found for name, found in several.items() if not all(map(place.match, found))} == {}


def test_names_that_meant_two_things_are_gone() -> None:
    found = {name: command for command, one in commands() for p in one.params for name in names(p)}
    by_command = {(command.strip(), name) for command, one in commands() for p in one.params for name in names(p)}
    assert "--endpoint-url" in found
    assert {command for command, name in by_command if name == "--label"} == {"init"}
    assert {command for command, name in by_command if name == "--endpoint"} == {"deploy"}
    assert {command for command, name in by_command if name == "--machine-type"} == {
        "train", "tune", "run static", "run tuned",
    }  # fmt: skip


def test_former_names_are_accepted_and_said() -> None:
    done = CliRunner().invoke(cli, ["compile", "static", "--for", "mars", "--output", "x.yaml"])
    assert "'mars' is not one of" in done.output
    said = " ".join(CliRunner().invoke(cli, ["compile", "--help"]).output.split())
    assert "Also by its former names --for and --to." in said


def test_no_option_has_a_name_that_its_help_does_not_say() -> None:
    """Shown among the names, or said in the text."""
    silent = [
        (name, other)
        for name, command in commands()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for other in set(parameter.opts) - names(parameter)
        if other not in (parameter.help or "")
    ]
    assert silent == []


@pytest.mark.parametrize(("kind", "options"), [(EndpointOptions, _ENDPOINT), (JobOptions, _JOB)])
def test_defaults_in_help_texts_are_those_of_the_code(
    kind: type, options: tuple[tuple[str, str, type, str, str], ...]
) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    told = {field: found[1] for _, field, _, _, text in options if (found := re.search(r"\(default: ([^,)]+)", text))}
    assert {
        field: f"{defaults[field]:g}" if not isinstance(defaults[field], str) else defaults[field] for field in told
    } == told
    assert len(told) >= 5


def test_help_texts_are_sentences() -> None:
    long = {"score", "train", "tune", "submit", "run static", "run tuned", "run batch-scoring", "preprocess"}
    for command, one in commands():
        for parameter in one.params if command.strip() in long else ():
            if isinstance(parameter, click.Option):
                assert re.match(r"[A-Za-z`].*[.)]\Z", parameter.help or "", re.DOTALL), (command, parameter.opts)
