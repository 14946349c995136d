"""Headrace: containerized Kubeflow and Vertex AI pipeline components.

A Problem file imports its declarations from here; `headrace.components` has the components, `headrace.pipelines` the
pipelines that are made of them.
"""

from __future__ import annotations

from typing import Any

from headrace.core.problem import (
    Categorical,
    Choice,
    Crossed,
    Drift,
    Gate,
    Numeric,
    Problem,
    Range,
    Splits,
    Training,
    Tuning,
)

__all__ = [
    "Categorical",
    "Choice",
    "Crossed",
    "Drift",
    "Gate",
    "Numeric",
    "Problem",
    "Range",
    "Splits",
    "Training",
    "Tuning",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Read on request: the metadata of a distribution costs milliseconds that no Problem file needs.
        from importlib import metadata

        return metadata.version("headrace")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
