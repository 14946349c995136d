"""A scorer without TensorFlow, for tests of what is around one: it computes by hand, and is sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts.quarantine import Fault
from headrace.core.rows.validate import quarantine
from headrace.core.saved_model.interface import ModelBinding, ModelInput, ModelOutput
from headrace.core.scoring.answered import ScoredBatch
from headrace.core.sources.source import Rows

VERSION = "f" * 16
TAKES = ModelBinding(
    "serving_default",
    (
        ModelInput("weight", "float32", None, ("weight",)),
        ModelInput("color", "string", None, ("color",), optional=True),
    ),
    (
        ModelOutput("prediction", "float32"),
        ModelOutput("class", "string"),
        ModelOutput("probabilities", "float32", 2),
    ),
    key="id",
)


def predicted(weight: np.ndarray) -> np.ndarray:
    """What the scorer predicts."""
    return (np.float32(2) * weight.astype(np.float32) + np.float32(0.1)).astype(np.float32)


@dataclass(frozen=True)
class ByHand:
    """Predicts 2 * weight + 0.1; a weight that is missing or not finite goes to quarantine."""

    takes: ModelBinding = field(default=TAKES)
    model_version: str = VERSION

    def load(self) -> ByHand:
        return self

    def score(self, rows: Rows) -> ScoredBatch:
        weight = rows.batch.column("weight").cast(pa.float32()).to_numpy(zero_copy_only=False)
        good = np.isfinite(weight)
        kept = weight[good]
        share = (kept % 1).astype(np.float32)
        probabilities = np.stack([share, 1 - share], axis=1).astype(np.float32)
        predictions = pa.RecordBatch.from_arrays(
            [
                rows.batch.column("id").filter(pa.array(good)),
                pa.array(predicted(kept)),
                pc.if_else(pa.array(kept > 50), "heavy", "light"),
                pa.FixedSizeListArray.from_arrays(pa.array(probabilities.ravel()), 2),
                pa.DictionaryArray.from_arrays(np.zeros(len(kept), np.int32), [self.model_version]),
            ],
            names=["id", "prediction", "class", "probabilities", "model_version"],
        )
        bad = [
            quarantine(rows, int(row), ["id", "weight"], Fault("weight", "missing_value", "weight is missing"))
            for row in np.flatnonzero(~good)
        ]
        quarantined = sorted([*rows.refused, *bad], key=lambda row: row.row)
        return ScoredBatch(predictions, rows.numbers[good], tuple(quarantined))
