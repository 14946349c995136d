"""Variables of a training as named arrays: weights, random seeds, optimizer state and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from headrace.core.errors import DataError

State = dict[str, np.ndarray[Any, Any]]

# Prefix of the names of the model's variables: its weights and its random seeds.
MODEL = "model/"
OPTIMIZER = "optimizer/"
METRICS = "metrics/"


def named(core: Any, optimizer: Any) -> dict[str, Any]:
    """The variables of a training, by a name that is unique and equal in all processes.

    Keras' paths are neither: two layers may have one name, and optimizers number themselves. The names of an
    optimizer's variables contain those of layers, which Keras numbers through all models of a process; only their
    last word is used.

    Args:
        core: a built Keras model.
        optimizer: built with the model's variables.
    """
    groups = {
        MODEL: core.variables,
        OPTIMIZER: optimizer.variables,
        METRICS: core.metrics_variables if core.compiled else [],
    }
    return {
        f"{group}{number:04d}/{variable.name.rsplit('_', 1)[-1] if group == OPTIMIZER else variable.name}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(_distinct(variables))
    }


def read(variables: Mapping[str, Any]) -> State:
    """The values of variables; for a variable with a copy per replica, the first copy or the sum, as declared."""
    return {name: np.array(variable.value.numpy()) for name, variable in variables.items()}


def write(variables: Mapping[str, Any], state: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Assigns the values from `read` to variables.

    Raises:
        DataError: the names or shapes differ.
    """
    missing, unknown = sorted(variables.keys() - state.keys()), sorted(state.keys() - variables.keys())
    if missing or unknown:
        raise DataError(
            "the state is of another training",
            expected=f"{len(variables)} variables" + (f", among them {', '.join(missing[:3])}" if missing else ""),
            received=f"{len(state)}" + (f", among them {', '.join(unknown[:3])}" if unknown else ""),
        )
    for name, variable in variables.items():
        if tuple(state[name].shape) != tuple(variable.shape):
            raise DataError(
                "the state is of another training",
                where=name,
                expected=f"shape {list(variable.shape)}",
                received=f"{list(state[name].shape)}",
            )
    for name, variable in variables.items():
        variable.assign(state[name])


def _distinct(variables: Iterable[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())
