"""Problem: the user's declaration of a learning problem, which every step reads."""

from headrace.core.problem.declaration import Problem
from headrace.core.problem.features import Categorical, Crossed, Feature, Numeric
from headrace.core.problem.gate import METRICS, Costs, Drift, Gate, Task
from headrace.core.problem.monitor import Monitor
from headrace.core.problem.splits import Splits
from headrace.core.problem.training import ModelKind, Training
from headrace.core.problem.tuning import Choice, Range, Tuning
from headrace.core.serving_mode import Serving

__all__ = [
    "METRICS",
    "Categorical",
    "Choice",
    "Costs",
    "Crossed",
    "Drift",
    "Feature",
    "Gate",
    "ModelKind",
    "Monitor",
    "Numeric",
    "Problem",
    "Range",
    "Serving",
    "Splits",
    "Task",
    "Training",
    "Tuning",
]
