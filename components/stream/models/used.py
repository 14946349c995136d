"""Used model: what predictions and dead letters name of the model that was in use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UsedModel:
    """The model that scored, or would have scored, a batch.

    Attributes:
        version: of the model; "" where an endpoint names none.
        epoch: of its model event; None behind an endpoint, which knows no events.
    """

    version: str
    epoch: int | None = None
