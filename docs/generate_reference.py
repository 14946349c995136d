"""Reference of components and commands: docs/reference.md is what the code says.

`python docs/generate_reference.py` writes the page; with --check it fails where the page is another one.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

PAGE = Path(__file__).with_name("reference.md")
_HEAD = """\
# Reference

Generated from the code by `make docs`; `make lint` checks that it is up to date.

How components are used in a pipeline: [your_own_pipeline.md](your_own_pipeline.md).
"""


def reference() -> str:
    """The page."""
    return "\n".join([_HEAD, "## Components", "", *_components(), "## Commands", "", *_commands()]).rstrip() + "\n"


def _components() -> Iterator[str]:
    with warnings.catch_warnings():
        # kfp warns of its own future.
        warnings.simplefilter("ignore")
        from headrace import components

        for name in components.__all__:
            yield from _component(getattr(components, name))


def _component(component: Any) -> Iterator[str]:
    from docstring_parser import parse

    spec = component.component_spec
    # kfp takes the descriptions of inputs from the docstring, and leaves out those of artifacts.
    documented = parse(inspect.getdoc(component.python_func) or "")
    described = {name: one.description for one in documented.params for name in one.arg_name.split(", ")}
    described["Output"] = documented.returns.description if documented.returns is not None else ""
    yield f"### {spec.name}"
    yield ""
    yield f"`from headrace.components import {spec.name}`"
    yield ""
    yield " ".join((spec.description or "").split())
    yield ""
    for title, held in (("Input", spec.inputs), ("Output", spec.outputs)):
        if not held:
            continue
        yield f"| {title} | Type | {'Default | ' if title == 'Input' else ''}Description |"
        yield f"|---|---|{'---|' if title == 'Input' else ''}---|"
        for name, one in held.items():
            default = f"{_default(one)} | " if title == "Input" else ""
            yield f"| `{name}` | {one.type.partition('@')[0]} | {default}{_cell(described.get(name))} |"
        yield ""


def _default(given: Any) -> str:
    return f"`{given.default!r}`" if given.optional else "required"


def _commands() -> Iterator[str]:
    from headrace.pipelines.cli import cli

    root = click.Context(cli, info_name="headrace")
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        if command is not None:
            yield from _command(command, click.Context(command, info_name=name, parent=root))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"### {context.command_path}"
    yield ""
    # \b keeps click from filling the lines that follow: examples, which are code here.
    first, *examples = (command.help or "").split("\b")
    yield " ".join(first.split())
    yield ""
    for example in examples:
        yield "```"
        yield from (line.strip() if not line.startswith("  ") else line[2:] for line in _plain(example))
        yield "```"
        yield ""
    options = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    if options:
        yield "| Option | Description |"
        yield "|---|---|"
        yield from (_option(parameter, context) for parameter in options)
        yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _command(inner, click.Context(inner, info_name=name, parent=context))


def _plain(example: str) -> list[str]:
    import inspect

    return [
        line for line in inspect.cleandoc(example).splitlines() if line.strip() not in ("Example:", "Examples:", "")
    ]


def _option(parameter: click.Parameter, context: click.Context) -> str:
    if not isinstance(parameter, click.Option):
        return f"| `{parameter.make_metavar(context)}` | {'required' if parameter.required else ''} |"
    said = parameter.get_help_record(context)
    names, text = said if said is not None else (", ".join(parameter.opts), "")
    return f"| `{_cell(names)}` | {_cell(text)} |"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    """Writes the page, or checks it."""
    page = reference()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"{PAGE} is not what the code says: run `make docs`")


if __name__ == "__main__":
    main()
