"""Headrace: containerized Kubeflow and Vertex AI pipeline components.

A Problem file imports its declarations from here; notebooks and scripts import functions that run whole pipelines on
this machine. `headrace.components` has the components, `headrace.pipelines` the pipelines that consist of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace import components, pipelines
    from headrace.core.errors import GateRefused, HeadraceError, PlatformError, UserError
    from headrace.core.problem import (
        Categorical,
        Choice,
        Costs,
        Crossed,
        Drift,
        Gate,
        Monitor,
        Numeric,
        Problem,
        Range,
        Serving,
        Splits,
        Training,
        Tuning,
    )
    from headrace.pipelines.notebook import run, run_batch_scoring, run_tuned
    from headrace.pipelines.run_result import Run

    __version__: str

__all__ = [
    "Categorical",
    "Choice",
    "Costs",
    "Crossed",
    "Drift",
    "Gate",
    "GateRefused",
    "HeadraceError",
    "Monitor",
    "Numeric",
    "PlatformError",
    "Problem",
    "Range",
    "Run",
    "Serving",
    "Splits",
    "Training",
    "Tuning",
    "UserError",
    "__version__",
    "components",
    "pipelines",
    "run",
    "run_batch_scoring",
    "run_tuned",
]

# Everything is imported at its first use: the command imports this package before it can handle a signal.
_PROBLEM = "headrace.core.problem"
_OTHERS = {
    **dict.fromkeys(("GateRefused", "HeadraceError", "PlatformError", "UserError"), "headrace.core.errors"),
    **dict.fromkeys(("run", "run_batch_scoring", "run_tuned"), "headrace.pipelines.notebook"),
    "Run": "headrace.pipelines.run_result",
}


def __getattr__(name: str) -> Any:
    if name in ("components", "core", "pipelines"):
        return importlib.import_module(f"{__name__}.{name}")
    if name == "__version__":
        # The metadata of a distribution costs milliseconds.
        from importlib import metadata

        return metadata.version("headrace")
    if name in __all__:
        return getattr(importlib.import_module(_OTHERS.get(name, _PROBLEM)), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
