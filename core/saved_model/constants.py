"""Constants: inputs of shape [], with one value for all rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headrace.core.errors import UsageError
from headrace.core.saved_model.interface import FLOATS, Constant, ModelBinding
from headrace.core.values.scalars import text_of


def constants_from(texts: Sequence[str]) -> dict[str, str]:
    """Parses the value of each input of shape []: INPUT=VALUE.

    Raises:
        UsageError: an argument does not have this form, or an input is repeated.
    """
    named: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or name in named:
            raise UsageError(
                "the option is not valid",
                where="--constant",
                expected="INPUT=VALUE, one per input",
                received=repr(text),
            )
        named[name] = value
    return named


def with_constants(takes: ModelBinding, values: Mapping[str, Any]) -> ModelBinding:
    """Sets the value of each input of shape [].

    Args:
        takes: the interface of the signature.
        values: by input; texts are parsed as the input's dtype.

    Raises:
        UsageError: an input has no value, an input does not exist, or a value does not fit the dtype.
    """
    names = [constant.name for constant in takes.constants]
    for name in values:
        if name not in names:
            raise UsageError(
                "an input of shape [] with this name does not exist in the model",
                where="--constant",
                expected=f"one of {', '.join(names)}" if names else "none: each input has a value per row",
                received=name,
            )
    missing = [f"{c.name} ({c.dtype})" for c in takes.constants if c.name not in values]
    if missing:
        raise UsageError(
            "a value for all rows is missing",
            where="--constant",
            expected=f"NAME=VALUE for {', '.join(missing)}",
            received=", ".join(values) or "none",
        )
    constants = tuple(replace(c, value=constant_value(c, values[c.name])) for c in takes.constants)
    return replace(takes, constants=constants)


def constant_value(constant: Constant, given: Any) -> float | int | bool | str:
    """A value of the constant's dtype.

    Raises:
        UsageError: the value does not fit the dtype.
    """
    text = text_of(given) if isinstance(given, bool | int | float | str) and given == given else ""
    try:
        if constant.dtype == "string":
            return text
        if constant.dtype == "bool":
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if constant.dtype in FLOATS:
            number = float(text)
            # bfloat16 has the range of float32.
            kind = np.dtype("float32" if constant.dtype == "bfloat16" else constant.dtype)
            if math.isfinite(number) and abs(number) <= float(np.finfo(kind).max):
                return number
        else:
            bounds = np.iinfo(constant.dtype)
            if bounds.min <= int(text) <= bounds.max:
                return int(text)
    except (KeyError, ValueError):
        pass
    raise UsageError(
        f"the value of {constant.name} is not of its dtype",
        where="--constant",
        expected=f"a {constant.dtype}",
        received=repr(given),
    )
