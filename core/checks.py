"""Checks of configuration values: counts, numbers, fractions and words, each refused in the same words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from typing import Any

from headrace.core.errors import HeadraceError, UsageError


def is_finite(value: object) -> bool:
    """Whether `value` is an int or a float in the range of float64, not NaN; True and False are not numbers."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_count(
    value: object,
    name: str,
    *,
    minimum: int = 1,
    maximum: int | None = None,
    where: str | None = None,
    error: type[HeadraceError] = UsageError,
) -> None:
    """Checks that a value is a whole number from `minimum` to `maximum`, or to any number where that is None.

    Raises:
        HeadraceError: it is not, as an `error`.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < minimum or (maximum is not None and value > maximum):  # type: ignore[operator]
        bounds = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
        raise error(f"{name} is wrong", where=where, expected=f"a whole number, {bounds}", received=repr(value))


def check_bool(value: object, name: str, *, where: str | None = None, error: type[HeadraceError] = UsageError) -> None:
    """Checks that a value is True or False: 0, "no" and None are neither.

    Raises:
        HeadraceError: it is not, as an `error`.
    """
    if not isinstance(value, bool):
        raise error(f"{name} is wrong", where=where, expected="true or false", received=repr(value))


def check_positive(
    value: object, name: str, *, where: str | None = None, error: type[HeadraceError] = UsageError
) -> None:
    """Checks that a value is a finite number greater than 0.

    Raises:
        HeadraceError: it is not, as an `error`.
    """
    if not is_finite(value) or value <= 0:  # type: ignore[operator]
        raise error(f"{name} is wrong", where=where, expected="a number greater than 0", received=repr(value))


def check_not_negative(
    value: object, name: str, *, where: str | None = None, error: type[HeadraceError] = UsageError
) -> None:
    """Checks that a value is a finite number, 0 or more.

    Raises:
        HeadraceError: it is not, as an `error`.
    """
    if not is_finite(value) or value < 0:  # type: ignore[operator]
        raise error(f"{name} is wrong", where=where, expected="a number, 0 or more", received=repr(value))


def check_fraction(
    value: object, name: str, *, where: str | None = None, error: type[HeadraceError] = UsageError
) -> None:
    """Checks that a value is a number in [0, 1].

    Raises:
        HeadraceError: it is not, as an `error`.
    """
    if not is_finite(value) or not 0 <= value <= 1:  # type: ignore[operator]
        raise error(f"{name} is wrong", where=where, expected="a fraction between 0 and 1", received=repr(value))


def check_list(
    values: object,
    name: str,
    *,
    expected: str,
    where: str | None = None,
    error: type[HeadraceError] = UsageError,
) -> tuple[Any, ...]:
    """The items of a list, a tuple, a range, an array or a Series, as a tuple.

    A set has no order that is the same in each process, and the order of a mapping is easily overlooked.

    Raises:
        HeadraceError: the value is none of these, as an `error`.
    """
    unordered = isinstance(values, str | bytes | bytearray | Mapping | Set)
    if unordered or not isinstance(values, Iterable) or not isinstance(values, Sized):
        raise error(f"{name} is wrong", where=where, expected=expected, received=repr(values))
    return tuple(values)


def check_texts(
    values: object, name: str, *, where: str | None = None, error: type[HeadraceError] = UsageError
) -> tuple[str, ...]:
    """A list of texts, none of them empty and none there twice, as a tuple.

    Raises:
        HeadraceError: it is not, as an `error`.
    """
    texts = tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else None
    if texts is None or not all(isinstance(text, str) and text for text in texts) or len(set(texts)) < len(texts):
        raise error(f"{name} is wrong", where=where, expected="different, non-empty strings", received=repr(values))
    return texts


def check_word(
    value: object,
    name: str,
    words: Sequence[str],
    *,
    where: str | None = None,
    error: type[HeadraceError] = UsageError,
) -> None:
    """Checks that a value is one of some words.

    Raises:
        HeadraceError: it is not, as an `error`.
    """
    if value not in words:
        expected = " or ".join(f'"{word}"' for word in words)
        raise error(f"{name} is wrong", where=where, expected=expected, received=repr(value))
