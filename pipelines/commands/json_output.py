"""JSON output: the option --json, which means the same on every command that reports."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON value on stdout instead of text; progress goes to stderr."
)


def progress_console(*, as_json: bool) -> Console:
    """A console for the progress of a run: stdout, or stderr where stdout is for JSON alone."""
    from rich.console import Console

    return Console(file=sys.stderr if as_json else sys.stdout, highlight=False)


def print_json(value: Any, file: IO[str] | None = None) -> None:
    """Prints one JSON value: dataclasses as objects, and null for numbers that JSON does not have.

    Args:
        value: what to print.
        file: where; stdout by default.
    """
    click.echo(json.dumps(_plain(value), indent=1, allow_nan=False), file=file)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
