"""Platform options: the platform and the location on it, shared by all commands that use one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from headrace.pipelines.commands.option_groups import folded, group
from headrace.pipelines.submission.place import OPTIONS, PlatformLocation, service, settings

__all__ = ["PLATFORM_ALIASES", "PlatformLocation", "place", "service", "settings"]

PLATFORM_ALIASES = ("--for", "--to")


def place(command: Callable[..., Any], *, required: bool = True) -> Callable[..., Any]:
    """Adds the options to a command, which receives a Place as `place`.

    Args:
        command: to add the options to.
        required: whether a platform is required; without one the Place's is "".
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
            *(where(name, field, default="", metavar=metavar, help=text) for name, field, metavar, text in OPTIONS),
        ),
        "place",
        lambda given: PlatformLocation(**{name: value or "" for name, value in given.items()}),
    )(command)


def optional_place(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `place`, with this machine as the default."""
    return place(command, required=False)
