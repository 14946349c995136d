"""Lint finding: a rule, a location in the spec, and the value there."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True, order=True)
class Finding:
    """Something that a platform would reject or ignore.

    Attributes:
        rule: its number, such as V003.
        where: the task, the executor or the field.
        received: the value.
    """

    rule: str
    where: str
    received: str

    @property
    def refused(self) -> bool:
        """Whether the platform would reject it; otherwise it is ignored, or depends on more than the spec."""
        return bool(rules()[self.rule]["severity"] == "refused")

    @property
    def text(self) -> str:
        """The finding as one paragraph."""
        rule = rules()[self.rule]
        return f"{self.where}: {self.received}: {rule['severity']}. {self.rule}: {rule['text']} ({rule['source']})"

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        rule = rules()[self.rule]
        keys = ("severity", "text", "source")
        return {"rule": self.rule, "where": self.where, "received": self.received, **{key: rule[key] for key in keys}}


@functools.cache
def rules() -> dict[str, Any]:
    """The rules by number."""
    text = resources.files("headrace.pipelines.lint").joinpath("rules.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)["rules"]
    return found
