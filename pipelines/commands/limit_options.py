"""Options of a server's limits: bodies, rows, the queue, deadlines and connections, as one argument of a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from headrace.components.serve.limits import Limits
from headrace.pipelines.commands.option_groups import folded, group

_MIB = 1 << 20
_DEFAULTS = Limits()
_limit = group("Limits", rare=True)
_NUMBER = click.FloatRange(min=0, min_open=True)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command receives `limits`."""
    return folded(_OPTIONS, "limits", _limits)(command)


def _limits(given: dict[str, Any]) -> Limits:
    sizes = {f"{name}_bytes": int(given.pop(f"{name}_mib") * _MIB) for name in ("max_body", "max_waiting")}
    return Limits(**sizes, **given)


def _count(name: str, text: str, *, minimum: int = 1) -> Any:
    default = getattr(_DEFAULTS, name)
    return _limit(
        f"--{name.replace('_', '-')}",
        name,
        default=default,
        type=click.IntRange(min=minimum),
        metavar="N",
        help=f"{text} (default: {default:,}).",
    )


def _seconds(option: str, name: str, text: str) -> Any:
    default = getattr(_DEFAULTS, name)
    shown = f"{text}, in seconds (default: {default:g})."
    return _limit(option, name, default=default, type=_NUMBER, metavar="SECONDS", help=shown)


def _mebibytes(option: str, name: str, text: str) -> Any:
    default = getattr(_DEFAULTS, f"{name}_bytes") / _MIB
    shown = f"{text}, in MiB (default: {default:g})."
    return _limit(option, f"{name}_mib", default=default, type=_NUMBER, metavar="MIB", help=shown)


_OPTIONS = (
    _mebibytes("--max-body", "max_body", "Maximum size of a body, also after decompression"),
    _count("max_instances", "Maximum rows per request"),
    _count("max_batch_rows", "Maximum rows of several requests in one call of the model"),
    _count("max_running", "Maximum calls of the model at a time"),
    _count("max_waiting", "Maximum requests that wait for a call", minimum=0),
    _mebibytes("--max-waiting-size", "max_waiting", "Maximum size of the bodies of waiting requests together"),
    _seconds("--time-limit", "time_limit_s", "Maximum time from a whole request to its response"),
    _seconds("--arrival-time", "arrival_time_s", "Maximum time for a request to arrive, or a response to be read"),
    _seconds("--keep-alive", "keep_alive_s", "Maximum idle time of a connection between two requests"),
    _count("max_connections", "Maximum open connections"),
)
