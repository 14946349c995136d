"""Long-running operations of the test server: what each does when it ends is data, so that it outlives a restart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peers.vertex.resources import Refusal, to_json

# Polls that an operation answers with before it is done.
POLLS = 2

# What an operation does when it ends, of its argument; what it returns is the response.
Effects = Mapping[str, Callable[[dict[str, Any]], Any]]


@dataclass
class Operation:
    """A long-running operation.

    Attributes:
        name: in full.
        effect: what it does when it ends.
        argument: of that, as JSON.
        response_type: the message that is its response; "" for none.
        polls: until it ends.
        answer: its response, once it has ended well.
        error: its code and message, if it fails.
    """

    name: str
    effect: str
    argument: dict[str, Any]
    response_type: str
    polls: int = POLLS
    answer: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    def poll(self, effects: Effects) -> None:
        """Takes it one poll on; at the last one it does what it is for."""
        self.polls -= 1
        if self.polls > 0 or self.answer is not None or self.error is not None:
            return
        try:
            response = effects[self.effect](self.argument)
        except Refusal as refusal:
            self.error = {"code": refusal.code, "message": refusal.message}
        else:
            self.answer = {} if response is None else to_json(response)

    def show(self) -> dict[str, Any]:
        """As the service sends it."""
        if self.polls > 0:
            return {"name": self.name, "done": False}
        if self.error is not None:
            return {"name": self.name, "done": True, "error": self.error}
        empty = "type.googleapis.com/google.protobuf.Empty"
        version = "v1beta1" if self.response_type == "ModelMonitor" else "v1"
        kind = f"type.googleapis.com/google.cloud.aiplatform.{version}.{self.response_type}"
        response = {"@type": kind if self.response_type else empty, **(self.answer or {})}
        return {"name": self.name, "done": True, "response": response}

    def to_json(self) -> dict[str, Any]:
        """As a file holds it."""
        return dataclasses.asdict(self)
