"""A stream of births: options of the messages trigger for the Problem of the tiny model."""

from __future__ import annotations

from support.tiny_model import PROBLEM

from headrace.components.messages.columns import columns_of
from headrace.components.messages.config import MessagesConfig
from headrace.core.beam.windows import Windows


def births(output: str, **more: object) -> MessagesConfig:
    """Options with windows of 60 s and a grace of 10 s; others replace those."""
    values: dict[str, object] = {
        "stream": "natality",
        "subscription": "projects/demo-project/subscriptions/births",
        "output": output,
        "columns": columns_of(PROBLEM),
        "windows": Windows(60, 10),
    }
    return MessagesConfig(**{**values, **more})  # type: ignore[arg-type]
