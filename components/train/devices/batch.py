"""Batch size per replica and learning rate, computed from the number of replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import UsageError
from headrace.core.problem import Training


@dataclass(frozen=True)
class Batch:
    """The batch of a step.

    Attributes:
        rows: over all replicas.
        per_replica: rows on each replica.
        replicas: number of replicas per step.
        learning_rate: of the default optimizer, after scaling.
    """

    rows: int
    per_replica: int
    replicas: int
    learning_rate: float

    def to_json(self) -> dict[str, Any]:
        """For training.json."""
        return {
            "batch_size": self.rows,
            "batch_size_per_replica": self.per_replica,
            "replicas": self.replicas,
            "learning_rate": self.learning_rate,
        }


def batch_of(training: Training, replicas: int, rows: int | None = None) -> Batch:
    """Computes the batch of a training.

    If the train split has fewer rows than the batch, the batch is reduced: it would otherwise repeat rows.

    Args:
        training: its batch_size is over all replicas.
        replicas: number of replicas per step.
        rows: number of rows of the train split; None if unknown.

    Raises:
        UsageError: the batch cannot be divided evenly, which would give some rows more weight than others; or there
            are fewer rows than replicas.
    """
    size = training.batch_size
    if size % replicas:
        below, above = size // replicas * replicas, math.ceil(size / replicas) * replicas
        raise UsageError(
            "the batch cannot be divided evenly",
            where="batch_size",
            expected=f"a multiple of {replicas}, the number of replicas: the nearest are "
            + (f"{below} and {above}" if below else str(above)),
            received=str(size),
            fix=f"Use --batch-size {above}",
        )
    if rows is not None and rows < size:
        size = rows // replicas * replicas
        if not size:
            raise UsageError(
                "there are fewer rows than replicas",
                where="train split",
                expected=f"{replicas} rows or more",
                received=str(rows),
                fix="Train with --strategy one_device",
            )
    factor = {"none": 1.0, "linear": float(replicas), "sqrt": math.sqrt(replicas)}[training.learning_rate_scaling]
    return Batch(size, size // replicas, replicas, training.learning_rate * factor)
