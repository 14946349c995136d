"""Used model: version and epoch of the model in use, for predictions and dead letters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UsedModel:
    """The model in use for a batch.

    Attributes:
        version: version of the model; "" if an endpoint reports none.
        epoch: epoch of its model event; None for an endpoint.
    """

    version: str
    epoch: int | None = None
