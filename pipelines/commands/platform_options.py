"""The options that say on which platform, and where on it: the same for all commands that ask one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from headrace.pipelines.commands.option_groups import folded, group
from headrace.pipelines.submission.place import OPTIONS, Place, service, settings

__all__ = ["PLATFORM_ALIASES", "Place", "place", "service", "settings"]

# Names that commands had before each meaning had one name.
_ALIASES = {"--region": ("--location",)}
PLATFORM_ALIASES = ("--for", "--to")


def place(command: Callable[..., Any], *, required: bool = True) -> Callable[..., Any]:
    """Adds the options to a command, which is given a Place under `place`.

    Args:
        command: what the options are added to.
        required: whether there must be a platform; without one the Place's is "".
    """
    where = group("Platform")
    return folded(
        (
            where(
                "--platform",
                "platform",
                type=click.Choice(["vertex", "kubeflow"]),
                required=required,
                aliases=PLATFORM_ALIASES,
                help="Platform of the run." if required else "Platform of the run (default: this machine).",
            ),
            where("--options", "options_file", metavar="FILE", default="", help="TOML file of `headrace compile`."),
            *(
                where(name, field, default="", metavar=metavar, aliases=_ALIASES.get(name, ()), help=text)
                for name, field, metavar, text in OPTIONS
            ),
        ),
        "place",
        lambda given: Place(**{name: value or "" for name, value in given.items()}),
    )(command)
