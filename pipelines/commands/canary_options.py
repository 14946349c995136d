"""Options of a canary: its steps, its deadline, and other settings, as one argument of a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands.durations import Duration
from headrace.pipelines.commands.option_groups import folded, group

if TYPE_CHECKING:
    from headrace.components.deploy.canary.settings import CanarySettings

# Settings that have options of their own.
_OWN = ("steps", "minimum_requests", "deadline_s")


def options(command: Callable[..., Any], heading: str = "") -> Callable[..., Any]:
    """Adds the options, under a heading of `--help`; the command receives `canary`, or None without --canary."""
    return folded(_options(heading), "canary", lambda given: settings(**given))(command)


def settings(
    canary: str, watch: float | None, minimum_requests: int | None, canary_setting: tuple[str, ...]
) -> CanarySettings | None:
    """The settings of the canary; None for a deployment without one."""
    if not canary:
        without = {"--watch": watch, "--minimum-requests": minimum_requests, "--canary-setting": canary_setting}
        for name in (name for name, value in without.items() if value):
            raise UsageError(f"{name} requires --canary", where=name, expected="--canary PERCENTS")
        return None
    from headrace.components.deploy.canary.settings import CanarySettings

    given: dict[str, Any] = {"steps": [_number("--canary", part) for part in canary.split(",")]}
    if watch is not None:
        given["deadline_s"] = watch
    if minimum_requests is not None:
        given["minimum_requests"] = minimum_requests
    for text in canary_setting:
        name, equals, value = text.partition("=")
        if not equals or name in _OWN:
            raise UsageError(
                "the setting of the canary is not valid",
                where="--canary-setting",
                expected="NAME=VALUE, of a setting without an option of its own",
                received=text,
            )
        given[name] = value if name == "at_deadline" else _number("--canary-setting", value)
    try:
        return CanarySettings.from_json(given)
    except ValueError as error:
        raise UsageError(
            "the setting of the canary does not exist", where="--canary-setting", received=str(error)
        ) from error


def _number(where: str, text: str) -> int | float:
    try:
        return float(text) if "." in text or "e" in text else int(text)
    except ValueError as error:
        raise UsageError("the number is not valid", where=where, expected="a number", received=repr(text)) from error


def _options(heading: str) -> Sequence[Callable[..., Any]]:
    option = group(heading)
    return (
        option(
            "--canary",
            default="",
            metavar="PERCENTS",
            help="Try the version on a part of the traffic first, such as 10 or 5,25,50, and promote it or roll "
            "it back.",
        ),
        option(
            "--watch",
            type=Duration(),
            metavar="DURATION",
            help="Deadline of the canary, such as 30m or 2h: without enough evidence it is withdrawn (default: 1h).",
        ),
        option(
            "--minimum-requests",
            type=click.IntRange(min=1),
            help="Requests of both versions at each step of the canary (default: 2000).",
        ),
        option(
            "--canary-setting",
            multiple=True,
            metavar="NAME=VALUE",
            rare=True,
            help="Another setting of the canary, such as latency_tolerance=2; docs/canary.md lists them (repeatable).",
        ),
    )
