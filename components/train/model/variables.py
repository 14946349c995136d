"""Everything a training has learned and counted, as named arrays, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from headrace.core.errors import DataError

State = dict[str, np.ndarray[Any, Any]]

# What a name begins with where the variable belongs to the model: its weights and its random seeds.
MODEL = "model/"
OPTIMIZER = "optimizer/"
METRICS = "metrics/"


def named(core: Any, optimizer: Any) -> dict[str, Any]:
    """Every variable of a training by a name that is unique and the same in each process.

    Keras' own paths are neither: two layers may bear one name, and optimizers number themselves. The names of an
    optimizer's variables hold those of layers, which Keras numbers through all models of a process; their last word
    is enough.

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
    """The values of variables; of one with a copy on each replica, the first or their sum, as it is declared."""
    return {name: np.array(variable.value.numpy()) for name, variable in variables.items()}


def write(variables: Mapping[str, Any], state: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Gives variables the values that `read` found.

    Raises:
        DataError: other names, or other shapes.
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
