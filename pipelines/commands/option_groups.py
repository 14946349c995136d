"""Options under headings in `--help`, for subcommands that have many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class GroupedOption(click.Option):
    """An option that stands under the heading `group` in `--help`."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command that shows its grouped options under their headings, and the others first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, heading by heading, in the order in which they were declared."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def group(heading: str) -> Callable[..., Any]:
    """`click.option` for options under a heading."""

    def option(*names: str, **attributes: Any) -> Any:
        return click.option(*names, cls=GroupedOption, group=heading, **attributes)

    return option
