"""Durations as options: a number with s, m, h or d, or of seconds."""

from __future__ import annotations

from typing import Any

import click

from headrace.core.text import parse_duration


class Duration(click.ParamType[float]):
    """A duration; its value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parses a text."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
