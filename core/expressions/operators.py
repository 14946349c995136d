"""Operators and methods of expressions, implemented as calls of operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from headrace.core.errors import ProblemError

E = TypeVar("E", bound="Operators[Any]")

# Powers computed as products: exact, while the general power is rounded to single precision.
_PRODUCTS = 8
_MAXIMUM_VALUES = 100


class Operators(ABC, Generic[E]):
    """Operators and methods of an expression of type E, which has a `kind` and a text."""

    @abstractmethod
    def _call(self, operation: str, *operands: Any, **parameters: Any) -> E:
        """A checked call of an operation; see `nodes.call`."""

    # Without this, numpy would build an array of calls from `array + expression`.
    __array_ufunc__: ClassVar[None] = None

    def __add__(self, other: Any) -> E:
        return self._sum(self, other)

    def __radd__(self, other: Any) -> E:
        return self._sum(other, self)

    def __sub__(self, other: Any) -> E:
        return self._difference(self, other)

    def __rsub__(self, other: Any) -> E:
        return self._difference(other, self)

    def __mul__(self, other: Any) -> E:
        return self._call("multiply", self, other)

    def __rmul__(self, other: Any) -> E:
        return self._call("multiply", other, self)

    def __truediv__(self, other: Any) -> E:
        return self._call("divide", self, other)

    def __rtruediv__(self, other: Any) -> E:
        return self._call("divide", other, self)

    def __floordiv__(self, other: Any) -> E:
        return self._call("floor", self._call("divide", self, other))

    def __rfloordiv__(self, other: Any) -> E:
        return self._call("floor", self._call("divide", other, self))

    def __mod__(self, other: Any) -> E:
        return self._call("remainder", self, other)

    def __rmod__(self, other: Any) -> E:
        return self._call("remainder", other, self)

    def __pow__(self, other: Any) -> E:
        return self._power(other)

    def __rpow__(self, other: Any) -> E:
        return self._call("power", other, self)

    def __neg__(self) -> E:
        return self._call("multiply", -1, self)

    def __abs__(self) -> E:
        return self._call("absolute", self)

    def __lt__(self, other: Any) -> E:
        return self._call("less", self, other)

    def __le__(self, other: Any) -> E:
        return self._call("less_equal", self, other)

    def __gt__(self, other: Any) -> E:
        return self._call("less", other, self)

    def __ge__(self, other: Any) -> E:
        return self._call("less_equal", other, self)

    def __eq__(self, other: object) -> E:  # type: ignore[override]
        return self._call("equal", self, other)

    def __ne__(self, other: object) -> E:  # type: ignore[override]
        return self._call("not", self._call("equal", self, other))

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> E:
        return self._call("and", self, other)

    def __rand__(self, other: Any) -> E:
        return self._call("and", other, self)

    def __or__(self, other: Any) -> E:
        return self._call("or", self, other)

    def __ror__(self, other: Any) -> E:
        return self._call("or", other, self)

    def __invert__(self) -> E:
        return self._call("not", self)

    def __bool__(self) -> bool:
        raise ProblemError(
            "an expression has no truth value, only one per row",
            where=str(self),
            expected="&, | and ~ with parentheses around comparisons, and if_else(condition, a, b)",
            received="and, or, not, if, in, or a comparison of three (0 < x < 1)",
        )

    def __iter__(self) -> Any:
        raise ProblemError("an expression is one value per row, and cannot be iterated", where=str(self))

    def clip(self, minimum: float | None = None, maximum: float | None = None) -> E:
        """The nearest number from `minimum` to `maximum`; None for no bound."""
        low = self._call("multiply", self, 1) if minimum is None else self._call("maximum", self, minimum)
        return low if maximum is None else self._call("minimum", low, maximum)

    def is_missing(self) -> E:
        """Whether the value is missing; the result is never missing."""
        return self._call("is_missing", self)

    def fill_missing(self, value: Any) -> E:
        """Replaces missing values by `value`, which may be another expression."""
        return self._call("coalesce", self, value)

    def isin(self, values: Sequence[bool | int | float | str]) -> E:
        """Whether it is one of up to 100 values."""
        if isinstance(values, str) or not isinstance(values, Sequence) or not 1 <= len(values) <= _MAXIMUM_VALUES:
            raise ProblemError(
                "isin is wrong", where=str(self), expected="a list of 1 to 100 values", received=repr(values)[:80]
            )
        # As a balanced tree: a chain of a hundred would be too deep.
        level: list[E] = [self._call("equal", self, value) for value in values]
        while len(level) > 1:
            pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
            level = [self._call("or", *pair) if len(pair) > 1 else pair[0] for pair in pairs]
        return level[0]

    def lower(self) -> E:
        """Text with the letters A to Z in lower case; other letters are unchanged."""
        return self._call("lower", self)

    def strip(self) -> E:
        """Text without the ASCII white space at both ends."""
        return self._call("strip", self)

    def length(self) -> E:
        """Number of characters (Unicode code points) of text."""
        return self._call("length", self)

    def cut(self, start: int, stop: int) -> E:
        """The characters of text from number `start`, counted from 0, up to and without number `stop`."""
        return self._call("cut", self, start=start, stop=stop)

    def contains(self, part: str) -> E:
        """Whether text contains `part`, case-sensitive."""
        return self._call("contains", self, part=part)

    def startswith(self, part: str) -> E:
        """Whether text begins with `part`."""
        return self._call("starts_with", self, part=part)

    def endswith(self, part: str) -> E:
        """Whether text ends with `part`."""
        return self._call("ends_with", self, part=part)

    def _sum(self, left: Any, right: Any) -> E:
        kinds = {getattr(operand, "kind", "text" if isinstance(operand, str) else None) for operand in (left, right)}
        return self._call("concat" if "text" in kinds else "add", left, right)

    def _difference(self, left: Any, right: Any) -> E:
        kinds = {getattr(operand, "kind", None) for operand in (left, right)}
        return self._call("seconds_between" if "time" in kinds else "subtract", left, right)

    def _power(self, exponent: Any) -> E:
        if type(exponent) is int and 1 <= exponent <= _PRODUCTS:
            product = self._call("multiply", self, 1)
            for _ in range(exponent - 1):
                product = self._call("multiply", product, self)
            return product
        return self._call("sqrt", self) if exponent == 0.5 else self._call("power", self, exponent)
