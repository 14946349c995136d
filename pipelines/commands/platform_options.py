"""The options that say on which platform, and where on it: the same for all commands that ask one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from headrace.pipelines.submission.place import OPTIONS, Place, service, settings

__all__ = ["Place", "place", "service", "settings"]


def place(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which is given a Place under `place`."""

    def taking(**given: Any) -> Any:
        values = {name: given.pop(name) for name in names}
        return command(**given, place=Place(**values))

    names = ["platform", "options_file", *(name for _, name, _, _ in OPTIONS)]
    taking.__doc__ = command.__doc__
    taking.__name__ = command.__name__
    # What the decorators below this one added.
    taking.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    wrapped: Callable[..., Any] = taking
    for option, name, metavar, text in reversed(OPTIONS):
        wrapped = click.option(option, name, default="", metavar=metavar, help=text)(wrapped)
    wrapped = click.option(
        "--options", "options_file", metavar="FILE", default="", help="TOML: what `headrace compile` takes."
    )(wrapped)
    return click.option("--to", "platform", type=click.Choice(["vertex", "kubeflow"]), required=True, help="Platform.")(
        wrapped
    )
