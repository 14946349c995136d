"""Check and publication steps of a pipeline, for Predictions."""

from __future__ import annotations

from typing import Any

from headrace.core import storage
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.steps import identity
from headrace.core.steps.step import running


def check(root: str, predictions: Any, max_divergence: float) -> None:
    """Implements `component.check`, whose docstring describes the arguments."""
    with running("check", root=root) as step:
        from headrace.components.score import checking

        place = storage.place_of(predictions)
        step.identity = identity.check_identity(PredictionsManifest.read(place).identity, max_divergence)
        checked = checking.check(place, max_divergence, step.progress)
        step.finish(
            outputs={},
            result={
                "files": len(checked.manifest.files),
                "bytes": checked.bytes,
                "rows": checked.manifest.rows_in,
                "divergence": checked.divergence,
            },
        )


def publish(root: str, destination: str, predictions: Any) -> str:
    """Implements `component.publish`, whose docstring describes the arguments."""
    with running("publish", root=root) as step:
        from headrace.components.score import publishing

        place = storage.place_of(predictions)
        step.identity = identity.publish_identity("publish", PredictionsManifest.read(place).identity, destination)
        published = publishing.publish(place, destination)
        step.finish(
            outputs={"published": published.uri},
            result={"published": published.uri, "identity": published.identity, "previous": published.previous},
        )
    return published.uri
