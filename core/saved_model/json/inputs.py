"""JSON inputs: the values of one feature as a column of numbers, texts, or bytes from {"b64": ...}.

Columns are numpy arrays of one length: float32 or float64 for a number, as in the signature (NaN: missing), and object
arrays of str for a category or the key ("": missing). Texts are as in `core.values`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError
from headrace.core.rules.column import Rule
from headrace.core.rules.fault import RuleViolation
from headrace.core.saved_model.json.messages import kind_of, shown
from headrace.core.saved_model.json.ranges import expected, first_outside
from headrace.core.saved_model.json.rules import bytes_of, ruled_column
from headrace.core.values.scalars import text_of


@dataclass(frozen=True)
class InputFeature:
    """A feature that the model reads.

    Args:
        name: its name in the signature and in JSON.
        kind: a number, or a category held as text.
        optional: whether it may be missing or null.
        dtype: dtype of a number in the signature.
        spellings: the spellings of numbers and booleans, for a category learned from text; see `values.spellings`.
        missing: texts that stand for a missing value, besides the empty text.
        column: its column's name in files, if different; JSON uses `name`.
        rule: the rule of a Model; None for inputs of other SavedModels.
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
        self, values: Sequence[Any], where: Callable[[int], str], faults: list[RuleViolation] | None = None
    ) -> npt.NDArray[Any]:
        """The values of a feature as a column.

        Args:
            values: JSON values of the feature.
            where: returns the place of a value, for messages.
            faults: the rules of a Model that values break are appended to it.

        Raises:
            DataError: a value of another SavedModel is missing, or has the wrong type.
        """
        return _column(self, list(values), where, [] if faults is None else faults)


def _column(
    feature: InputFeature, values: list[Any], where: Callable[[int], str], faults: list[RuleViolation]
) -> npt.NDArray[Any]:
    if feature.missing:
        values = [None if isinstance(value, str) and value.strip() in feature.missing else value for value in values]
    if feature.rule is not None:
        if feature.kind == "numeric":
            return ruled_column(feature.rule, feature.name, values, faults)
        return encodable(ruled_column(feature.rule, feature.name, values, faults, feature.spellings), where)
    if feature.kind == "numeric":
        return _numbers(feature, values, where)
    return _texts(feature, values, where)


def _numbers(feature: InputFeature, values: list[Any], where: Callable[[int], str]) -> npt.NDArray[np.floating[Any]]:
    outside = first_outside(values, feature.dtype)
    if outside is not None:
        value = values[outside]
        raise DataError(
            "the number is too big" if type(value) in (int, float) else f"it is {kind_of(value)}",
            where=where(outside),
            expected=expected(feature.dtype) + (" or null" if feature.optional else ""),
            received=shown(value),
        )
    if None in values:
        if not feature.optional:
            raise _missing(feature, where(values.index(None)))
        values = [float("nan") if value is None else value for value in values]
    # numpy has no bfloat16.
    return np.array(values, np.float64).astype("float32" if feature.dtype == "bfloat16" else feature.dtype)


def _texts(feature: InputFeature, values: list[Any], where: Callable[[int], str]) -> npt.NDArray[np.object_]:
    if set(map(type, values)) != {str}:
        values = [_text(value, feature, where, index) for index, value in enumerate(values)]
    if not feature.optional and "" in values:
        raise _missing(feature, where(values.index("")))
    return encodable(values, where)


def _text(value: Any, feature: InputFeature, where: Callable[[int], str], index: int) -> str:
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
            "the value matches several of the model's categories",
            where=where(index),
            expected="a string",
            received=shown(value),
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
        DataError: it is another object, or is not base64.
    """
    try:
        return bytes_of(value)
    except (TypeError, ValueError):
        raise DataError(
            "it is an object",
            where=where,
            expected='a string, or {"b64": "..."} of bytes in base64',
            received=shown(value),
        ) from None


def texts_or_bytes(
    feature: InputFeature, values: Sequence[Any], where: Callable[[int], str]
) -> npt.NDArray[np.object_]:
    """Texts encoded as UTF-8, and bytes unchanged: [values] of bytes.

    Raises:
        DataError: a value is missing, or has the wrong type.
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


def encodable(texts: Sequence[str] | npt.NDArray[np.object_], where: Callable[[int], str]) -> npt.NDArray[np.object_]:
    """Texts as a column.

    Raises:
        DataError: a text is not valid Unicode.
    """
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        for index, text in enumerate(texts):
            # JSON can hold half of a surrogate pair, which is not a character.
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise DataError(
                    "the text is not valid Unicode",
                    where=where(index),
                    expected="text that can be encoded as UTF-8",
                    received=ascii(text)[:80],
                ) from None
    return column


def _missing(feature: InputFeature, where: str) -> DataError:
    if feature.kind == "numeric":
        return DataError("the feature is missing", where=where, expected="a number", received="null, or nothing")
    return DataError(
        "the feature is missing",
        where=where,
        expected="a string that is not empty",
        received="an empty string, null, or nothing",
    )
