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


def meaning(option: click.Option, command: click.Command) -> str:
    """What an option is: a flag, or the value as help texts show it."""
    if option.is_flag:
        # Flags are shown alike: two that differ in what they do differ in their help texts.
        return f"flag: {option.help}"
    shown = option.make_metavar(click.Context(command))
    # A folder, a file or a place: the same thing, elsewhere.
    return "PATH" if re.match(r"DIR|PATH|FILE(\.\w+)?\Z", shown) else shown


# Options that help texts show differently, and that mean the same.
ONE_MEANING = {
    "--alias": "a name; `registry promote` sets two of them",
    "--allow-tags": "of images",
    "--platform": "`compile` compiles for this machine too",
    "--replace": "what the command writes",
}


def test_a_name_means_one_thing() -> None:
    """A number, a folder, a URL and a flag are four things."""
    meanings: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for command, one in commands():
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                meanings[parameter.opts[0]][meaning(parameter, one)].add(command)
    several = {name: dict(found) for name, found in meanings.items() if len(found) > 1}
    assert {name: found for name, found in several.items() if name not in ONE_MEANING} == {}
    assert set(ONE_MEANING) <= set(several)


def test_no_two_names_differ_by_an_s() -> None:
    """In one command, and in all of them where a name has several words: --span is one and --spans a folder of them."""
    by_command = {
        command: {parameter.opts[0] for parameter in one.params if isinstance(parameter, click.Option)}
        for command, one in commands()
    }
    for names in (*by_command.values(), {name for found in by_command.values() for name in found if "-" in name[2:]}):
        singular = defaultdict(set)
        for name in names:
            singular["-".join(word.removesuffix("s") for word in name.split("-"))].add(name)
        assert [found for found in singular.values() if len(found) > 1] == []


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
    for command, one in commands():
        assert re.match(r"[A-Z].*\.", one.help or "", re.DOTALL), command
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                assert re.match(r"[A-Z`].*[.)]\Z", parameter.help or "", re.DOTALL), (command, parameter.opts)


# By the metavar of an option: what its help text or its default has.
UNITS = {
    "SECONDS": "in seconds",
    "S": "in seconds",
    "BYTES": "in bytes",
    "MIB": "in MiB",
    "DURATION": r"\b\d+[smhd]\b",
    "PERIOD": "a number and",
    "FRACTION": "[Ff]raction",
}


def test_numbers_have_a_unit() -> None:
    checked = set()
    for command, one in commands():
        for parameter in one.params:
            if isinstance(parameter, click.Option) and parameter.metavar in UNITS:
                said = f"{parameter.help} [default: {parameter.default}]"
                assert re.search(UNITS[parameter.metavar], said), (command, parameter.opts, said)
                checked.add(parameter.metavar)
            for ending in ("seconds", "minutes", "hours", "gigabytes"):
                if isinstance(parameter, click.Option) and parameter.opts[0].endswith(f"-{ending}"):
                    assert f"in {ending}" in (parameter.help or ""), (command, parameter.opts)
    assert checked == set(UNITS)
