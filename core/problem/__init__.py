"""The Problem: what a user declares once, and every step reads."""

from headrace.core.problem.declaration import Problem
from headrace.core.problem.features import (
    METRICS,
    Categorical,
    Crossed,
    Drift,
    Feature,
    Gate,
    ModelKind,
    Numeric,
    Splits,
    Task,
    Training,
)
from headrace.core.problem.tuning import Choice, Range, Tuning

__all__ = [
    "METRICS",
    "Categorical",
    "Choice",
    "Crossed",
    "Drift",
    "Feature",
    "Gate",
    "ModelKind",
    "Numeric",
    "Problem",
    "Range",
    "Splits",
    "Task",
    "Training",
    "Tuning",
]
