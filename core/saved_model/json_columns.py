"""JSON instances to columns of features: one piece for online and batch use.

Columns are numpy arrays of one length: float32 or float64 for a number, as the signature takes it (NaN where it is
missing), object arrays of str for a category or the key ("" where it is missing). Texts are as `core.values` says.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.rules.column import Rule
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.fault import Fault
from headrace.core.rules.model import ModelRules
from headrace.core.saved_model.json_messages import kind_of, shown
from headrace.core.saved_model.json_rules import ruled_column
from headrace.core.saved_model.refused_rows import refuse
from headrace.core.values.scalars import text_of

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Input:
    """A feature that the model takes.

    Args:
        name: its name in the signature and in JSON.
        kind: a number, or a category held as text.
        optional: it may be missing or null.
        dtype: of a number, in the signature.
        spellings: of a category learned from text, how it spells numbers and booleans; see `values.spellings`.
        missing: texts that stand for a missing value, beside the empty one.
        column: where files have it, if that is another name; JSON has `name`.
        rule: which values a Model allows; None for inputs of other SavedModels.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    optional: bool = False
    dtype: str = "float32"
    spellings: Mapping[str, str] = field(default_factory=dict, hash=False)
    missing: tuple[str, ...] = ()
    column: str | None = None
    rule: Rule | None = field(default=None, hash=False)

    def read(
        self, values: Sequence[Any], where: Callable[[int], str], faults: list[Fault] | None = None
    ) -> npt.NDArray[Any]:
        """The values of a feature as a column.

        Args:
            values: of the feature, as JSON has them.
            where: place of a value, for messages.
            faults: extended by the rules of a Model that values break.

        Raises:
            DataError: a value of another SavedModel is missing, or of the wrong type.
        """
        return _column(self, list(values), where, [] if faults is None else faults)


@dataclass(frozen=True)
class Interface:
    """What a model takes.

    Args:
        inputs: the features, in the order in which messages name them.
        takes_key: the model passes a key through; instances may then have a `key`.
        key_name: the key's column in the user's table, which instances may use in place of `key`.
        rules: of a Model; None for other SavedModels.
    """

    inputs: tuple[Input, ...]
    takes_key: bool = False
    key_name: str | None = None
    rules: ModelRules | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names of an instance that are read; others are ignored."""
        keys = ("key", *((self.key_name,) if self.key_name not in (None, "key") else ())) if self.takes_key else ()
        return (*(i.name for i in self.inputs), *(k for k in keys if k is not None))


def columns_from_instances(
    instances: Sequence[Any], interface: Interface, tell: Callable[[RuleCounts], None] | None = None
) -> Columns:
    """Rows, each an object of features by name, as columns.

    A number or a boolean for a category becomes its text, or the category that says it: 1 and 1.0 are "1". Fields that
    the model does not take are ignored.

    Args:
        instances: of a request.
        interface: of the model.
        tell: told how many rows broke a Model's rules.

    Returns:
        A column for each feature, and `key` if any instance has one.

    Raises:
        RowsRefused: rows break the rules of the Model.
        DataError: an instance that is no object, or, of another SavedModel, a missing feature or a value of the wrong
            type; with the instance's index, the feature, what was expected and what came.
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
    faults: list[Fault] = []
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
            lambda row: [name for name in instances[row] if name not in interface.names],
            tell,
        )
    if interface.takes_key:
        keys = [_either_key(instance, index, interface) for index, instance in enumerate(instances)]
        if any(key is not None for key in keys):
            columns["key"] = _keys(keys, _place("instances[{}].{}", "key"))
    return columns


def columns_from_inputs(inputs: Any, interface: Interface, tell: Callable[[RuleCounts], None] | None = None) -> Columns:
    """An object of columns by name - TensorFlow Serving's columnar format - as columns.

    Returns:
        A column for each feature, and `key` if it is there.

    Raises:
        RowsRefused, DataError: as `columns_from_instances`, or columns that are not arrays of one length.
    """
    if not isinstance(inputs, dict):
        raise DataError(
            "it is not an object", where="inputs", expected='{"FEATURE": [values], ...}', received=shown(inputs)
        )
    rows: int | None = None
    first = ""
    for name, values in inputs.items():
        if name not in interface.names:
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
    faults: list[Fault] = []
    given: dict[str, list[Any]] = {}
    if rows is None:
        # What the model does not take still says how many rows there are.
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
            lambda _: [name for name in inputs if name not in interface.names],
            tell,
        )
    named = [name for name in ("key", interface.key_name) if name is not None and name in inputs]
    if interface.takes_key and named:
        columns["key"] = _keys(inputs[named[0]], _place("inputs.{1}[{0}]", named[0]))
    return columns


def _place(pattern: str, name: str) -> Callable[[int], str]:
    return lambda index: pattern.format(index, name)


def _column(feature: Input, values: list[Any], where: Callable[[int], str], faults: list[Fault]) -> npt.NDArray[Any]:
    if feature.missing:
        values = [None if isinstance(value, str) and value.strip() in feature.missing else value for value in values]
    if feature.rule is not None:
        if feature.kind == "numeric":
            return ruled_column(feature.rule, feature.name, values, faults)
        return _encodable(ruled_column(feature.rule, feature.name, values, faults, feature.spellings), where)
    if feature.kind == "numeric":
        return _numbers(feature, values, where)
    return _texts(feature, values, where)


def _numbers(feature: Input, values: list[Any], where: Callable[[int], str]) -> npt.NDArray[np.floating[Any]]:
    kinds = set(map(type, values))
    if not kinds <= {int, float, type(None)}:
        index = next(i for i, v in enumerate(values) if type(v) not in (int, float, type(None)))
        raise DataError(
            f"it is {kind_of(values[index])}",
            where=where(index),
            expected=_number(feature),
            received=shown(values[index]),
        )
    if type(None) in kinds:
        if not feature.optional:
            raise _missing(feature, where(values.index(None)))
        values = [float("nan") if value is None else value for value in values]
    maximum = float(np.finfo(feature.dtype).max)
    try:
        wide = np.array(values, dtype=np.float64)
        too_big = np.abs(wide) > maximum
    except OverflowError:
        too_big = np.array([abs(value) > maximum for value in values])
    if too_big.any():
        index = int(too_big.argmax())
        raise DataError(
            "the number is too big", where=where(index), expected=_number(feature), received=shown(values[index])
        )
    return wide.astype(feature.dtype)


def _texts(feature: Input, values: list[Any], where: Callable[[int], str]) -> npt.NDArray[np.object_]:
    if set(map(type, values)) != {str}:
        values = [_text(value, feature, where, index) for index, value in enumerate(values)]
    if not feature.optional and "" in values:
        raise _missing(feature, where(values.index("")))
    return _encodable(values, where)


def _text(value: Any, feature: Input, where: Callable[[int], str], index: int) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict):
        return _decoded(value, where(index)).decode("utf-8", "surrogateescape")
    if isinstance(value, bool | int | float):
        text = text_of(value)
        spelled = feature.spellings.get(text, text)
        if spelled:
            return spelled
        raise DataError(
            "it is several of the model's categories", where=where(index), expected="a string", received=shown(value)
        )
    raise DataError(
        f"it is {kind_of(value)}",
        where=where(index),
        expected="a string" + (" or null" if feature.optional else ""),
        received=shown(value),
    )


def _decoded(value: Mapping[str, Any], where: str) -> bytes:
    """The bytes of {"b64": "..."}.

    Raises:
        DataError: it is another object, or not base64.
    """
    try:
        if set(value) != {"b64"}:
            raise ValueError
        return base64.b64decode(value["b64"], validate=True)
    except (TypeError, ValueError):
        raise DataError(
            "it is an object",
            where=where,
            expected='a string, or {"b64": "..."} of bytes in base64',
            received=shown(value),
        ) from None


def texts_or_bytes(feature: Input, values: Sequence[Any], where: Callable[[int], str]) -> npt.NDArray[np.object_]:
    """Texts in UTF-8, and bytes as they are: [values] of bytes.

    Raises:
        DataError: a value is missing, or of the wrong type.
    """
    column = np.empty(len(values), dtype=object)
    given = [index for index, value in enumerate(values) if not isinstance(value, dict)]
    texts = _texts(feature, [values[index] for index in given], lambda at: where(given[at]))
    for index, text in zip(given, texts, strict=True):
        column[index] = text.encode()
    for index, value in enumerate(values):
        if isinstance(value, dict):
            column[index] = _decoded(value, where(index))
    return column


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
    return _encodable(texts, where)


def _either_key(instance: Mapping[str, Any], index: int, interface: Interface) -> Any:
    given = [name for name in ("key", interface.key_name) if name is not None and instance.get(name) is not None]
    if interface.key_name != "key" and len(given) == 2:
        raise DataError(
            "the key is there twice",
            where=f"instances[{index}]",
            expected=f"key or {interface.key_name}",
            received="both",
        )
    return instance[given[0]] if given else None


def _encodable(texts: Sequence[str] | npt.NDArray[np.object_], where: Callable[[int], str]) -> npt.NDArray[np.object_]:
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        for index, text in enumerate(texts):
            # Half of a surrogate pair can be written in JSON, and is no character.
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise DataError(
                    "the text is not Unicode",
                    where=where(index),
                    expected="whole characters",
                    received=ascii(text)[:80],
                ) from None
    return column


def _missing(feature: Input, where: str) -> DataError:
    if feature.kind == "numeric":
        return DataError("the feature is missing", where=where, expected="a number", received="null, or nothing")
    return DataError(
        "the feature is missing",
        where=where,
        expected="a string that is not empty",
        received="an empty string, null, or nothing",
    )


def _number(feature: Input) -> str:
    return f"a number of at most {np.finfo(feature.dtype).max:.2g}".replace("+", "") + (
        " or null" if feature.optional else ""
    )
