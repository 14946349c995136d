"""JSON instances to columns of features, for online and batch use.

Columns are numpy arrays of one length: float32 or float64 for a number, as in the signature (NaN: missing), and object
arrays of str for a category or the key ("": missing). Texts are as in `core.values`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.fault import RuleViolation
from headrace.core.rules.model import ModelRules
from headrace.core.saved_model.json.inputs import InputFeature, encodable
from headrace.core.saved_model.json.messages import kind_of, shown
from headrace.core.saved_model.json.refused_rows import refuse

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Interface:
    """The inputs that a model reads from JSON.

    Args:
        inputs: the features, in the order in which messages name them.
        takes_key: whether the model passes a key through; instances may then have a `key`.
        key_name: the key's column in the user's table, which instances may use instead of `key`.
        rules: the rules of a Model; None for other SavedModels.
    """

    inputs: tuple[InputFeature, ...]
    takes_key: bool = False
    key_name: str | None = None
    rules: ModelRules | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of fields that are read from an instance; others are ignored."""
        keys = ("key", *((self.key_name,) if self.key_name not in (None, "key") else ())) if self.takes_key else ()
        return (*(i.name for i in self.inputs), *(k for k in keys if k is not None))

    @cached_property
    def only(self) -> str | None:
        """The name of the model's only input, whose values TensorFlow Serving also takes without names; else None."""
        names = (*(i.name for i in self.inputs), *(("key",) if self.takes_key else ()))
        return names[0] if len(names) == 1 else None

    def named_rows(self, instances: Sequence[Any]) -> Sequence[Any]:
        """Rows of a request as objects by name; for a model with one input, they may be its bare values."""
        only = self.only
        if only is None or not instances or any(map(self._is_object, instances)):
            return instances
        return [{only: value} for value in instances]

    def named_columns(self, inputs: Any) -> Any:
        """Columns of a request by name; for a model with one input, they may be its bare values, one per row."""
        return {self.only: inputs} if self.only is not None and isinstance(inputs, list) else inputs

    def _is_object(self, instance: Any) -> bool:
        # {"b64": ...} is a value of bytes, unless an input has this name.
        return isinstance(instance, dict) and (set(instance) != {"b64"} or self.only == "b64")


def columns_from_instances(
    instances: Sequence[Any], interface: Interface, tell: Callable[[RuleCounts], None] | None = None
) -> Columns:
    """Converts rows, each an object of features by name, to columns.

    A number or a boolean for a category becomes its text, or the category that spells it: 1 and 1.0 are "1". Fields
    that the model does not read are ignored.

    Args:
        instances: of a request.
        interface: of the model.
        tell: called with the counts of rows that broke a Model's rules.

    Returns:
        A column per feature, and `key` if an instance has one.

    Raises:
        RowsRefused: rows break the rules of the Model.
        DataError: an instance is not an object; for another SavedModel, a feature is missing or has the wrong type. The
            message has the instance's index, the feature, the expected and the received value.
    """
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise DataError(
                "it is not an object",
                where=f"instances[{index}]",
                expected='{"FEATURE": value, ...}',
                received=shown(instance),
            )
    columns: Columns = {}
    faults: list[RuleViolation] = []
    known = set(interface.names)
    for feature in interface.inputs:
        values = [instance.get(feature.name) for instance in instances]
        columns[feature.name] = feature.read(values, _place("instances[{}].{}", feature.name), faults)
    if interface.rules is not None:
        refuse(
            interface.rules,
            columns,
            faults,
            lambda row, name: instances[row].get(name),
            lambda row, name: f"instances[{row}].{name}",
            lambda row: [name for name in instances[row] if name not in known],
            tell,
        )
    if interface.takes_key:
        keys = [_either_key(instance, index, interface) for index, instance in enumerate(instances)]
        if any(key is not None for key in keys):
            columns["key"] = _keys(keys, _place("instances[{}].{}", "key"))
    return columns


def columns_from_inputs(inputs: Any, interface: Interface, tell: Callable[[RuleCounts], None] | None = None) -> Columns:
    """Converts an object of columns by name, TensorFlow Serving's columnar format, to columns.

    Returns:
        A column per feature, and `key` if present.

    Raises:
        RowsRefused, DataError: as `columns_from_instances`, or the columns are not arrays of one length.
    """
    if not isinstance(inputs, dict):
        raise DataError(
            "it is not an object", where="inputs", expected='{"FEATURE": [values], ...}', received=shown(inputs)
        )
    rows: int | None = None
    first = ""
    known = set(interface.names)
    for name, values in inputs.items():
        if name not in known:
            continue
        if not isinstance(values, list):
            raise DataError(
                "it is not an array", where=f"inputs.{name}", expected="one value a row", received=shown(values)
            )
        if rows is not None and len(values) != rows:
            raise DataError(
                "the columns differ in length",
                where=f"inputs.{name}",
                expected=f"{rows} values, as in {first}",
                received=str(len(values)),
            )
        rows, first = len(values), first or name
    columns: Columns = {}
    faults: list[RuleViolation] = []
    given: dict[str, list[Any]] = {}
    if rows is None:
        # Columns that the model does not read still give the number of rows.
        rows = max((len(values) for values in inputs.values() if isinstance(values, list)), default=0)
    for feature in interface.inputs:
        values = inputs.get(feature.name)
        if values is None:
            values = [None] * rows
            if not feature.optional and feature.rule is None:
                raise DataError("the feature is missing", where=f"inputs.{feature.name}", expected="one value a row")
        given[feature.name] = values
        columns[feature.name] = feature.read(values, _place("inputs.{1}[{0}]", feature.name), faults)
    if interface.rules is not None:
        refuse(
            interface.rules,
            columns,
            faults,
            lambda row, name: given[name][row],
            lambda row, name: f"inputs.{name}[{row}]",
            lambda _: [name for name in inputs if name not in known],
            tell,
        )
    named = [name for name in ("key", interface.key_name) if name is not None and name in inputs]
    if interface.takes_key and named:
        columns["key"] = _keys(inputs[named[0]], _place("inputs.{1}[{0}]", named[0]))
    return columns


def _place(pattern: str, name: str) -> Callable[[int], str]:
    return lambda index: pattern.format(index, name)


def _keys(values: list[Any], where: Callable[[int], str]) -> npt.NDArray[np.object_]:
    texts = []
    for index, value in enumerate(values):
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise DataError(
                f"the key is {kind_of(value)}",
                where=where(index),
                expected="a string or an integer",
                received=shown(value),
            )
        texts.append("" if value is None else str(value))
    return encodable(texts, where)


def _either_key(instance: Mapping[str, Any], index: int, interface: Interface) -> Any:
    given = [name for name in ("key", interface.key_name) if name is not None and instance.get(name) is not None]
    if interface.key_name != "key" and len(given) == 2:
        raise DataError(
            "the key is given twice",
            where=f"instances[{index}]",
            expected=f"key or {interface.key_name}",
            received="both",
        )
    return instance[given[0]] if given else None
