"""Column rules: check whole columns, which Arrow or JSON code has parsed, against their declarations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.problem import Categorical, Numeric
from headrace.core.rules.fault import Mask, RuleViolation, listed
from headrace.core.rules.mode import Mode
from headrace.core.values.scaling import maximum


@dataclass(frozen=True)
class NumberRule:
    """The rules of a Numeric: a finite number within its bounds, missing only where it is optional.

    A number must also fit the Model's float32, in the column's own unit or divided by 2 ** exponent, or its float64.

    Attributes:
        declared: the column's declaration.
        mode: "warn" lets values out of the declared bounds through.
        derived: whether the model computes the column itself, so that "warn" lets every value through.
        feature: whether a column that expressions read is also a feature, which fits float32 like the others.
    """

    declared: Numeric
    mode: Mode = "enforce"
    derived: bool = False
    feature: bool = False

    @property
    def dtype(self) -> type[np.float32 | np.float64]:
        """The dtype of the model's input: float64 where the model divides it by 2 ** exponent, or derives from it."""
        return np.float64 if self.declared.exponent or self.declared.double else np.float32

    @property
    def _is_wide(self) -> bool:
        return bool(self.declared.exponent) or (self.declared.double and not self.feature)

    @cached_property
    def _largest(self) -> float:
        is_double = self.declared.double and not self.feature
        return float(np.finfo(np.float64).max) if is_double else maximum(self.declared.exponent)

    def bounds(self, bits: int = 64) -> tuple[float, float]:
        """Minimum and maximum allowed, inclusive, of floats of 16, 32 or 64 bits."""
        declared = self.declared
        low = max(-self._largest, -np.inf if declared.minimum is None else declared.minimum)
        high = min(self._largest, np.inf if declared.maximum is None else declared.maximum)
        if bits < 64 and not self._is_wide:
            # The bound 0.1 includes the float32 0.1, which is slightly greater.
            narrow = np.float32 if bits == 32 else np.float16
            with np.errstate(over="ignore"):
                low, high = min(low, float(narrow(low))), max(high, float(narrow(high)))
        return low, high

    def hold(self, values: npt.NDArray[Any]) -> bool:
        """Whether all numbers satisfy every rule: a quick check that avoids counting faults.

        Args:
            values: [rows] of any float type, NaN for missing, or of integers.
        """
        if values.dtype.kind != "f" or values.dtype.itemsize == 2:
            values = values.astype(np.float64)
        low, high = self.bounds(8 * values.dtype.itemsize)
        if self.declared.optional and self.declared.max_missing is None:
            return not ((values < low) | (values > high)).any()
        return bool(((values >= low) & (values <= high)).all())

    def faults(
        self,
        name: str,
        values: npt.NDArray[np.float64],
        missing: Mask,
        wrong: Mask,
        bits: int = 64,
        hint: Callable[[str], str] = lambda _: "",
    ) -> list[RuleViolation]:
        """The rules that rows break.

        Args:
            name: of the column, for messages.
            values: [rows], any number where a mask is true.
            missing: mask of missing values.
            wrong: mask of values that are not finite numbers.
            bits: width of the column's floats; 64 for other types.
            hint: appended to the message for a value that is not a number.
        """
        found: list[RuleViolation] = []
        if wrong.any():
            found.append(
                RuleViolation(
                    name, "not_a_number", wrong, lambda v: f"{name} is {v}, which is not a finite number{hint(v)}"
                )
            )
        found += _missing(name, self.declared, missing, enforced=self.mode == "enforce" or not self.derived)
        low, high = self.bounds(bits)
        outside = ~missing & ~wrong & ((values < low) | (values > high))
        if bits == 64 and not self._is_wide and outside.any():
            # A bound that was rounded to float32, as in requests, still satisfies the rule.
            outside &= ~np.isin(values, np.array([low, high], np.float32).astype(np.float64))
        if outside.any():
            enforced = np.full(len(outside), self.mode == "enforce")
            if not self.derived:
                # They overflow the model's float32.
                enforced |= np.abs(values) > self._largest
            for refuses, rows in ((True, outside & enforced), (False, outside & ~enforced)):
                if rows.any():
                    found.append(
                        RuleViolation(name, "out_of_range", rows, lambda v: _outside(name, v, low, high), refuses)
                    )
        return found


@dataclass(frozen=True)
class CategoryRule:
    """The rules of a Categorical: text, in its vocabulary if it has one, missing only where it is optional.

    Attributes:
        declared: the column's declaration.
        learned: the categories that the model learned, where no vocabulary is declared; others are counted.
        mode: "warn" lets values outside the declared vocabulary through.
        derived: whether the model computes the column itself.
    """

    declared: Categorical
    learned: tuple[str, ...] = ()
    mode: Mode = "enforce"
    derived: bool = False

    @cached_property
    def known(self) -> frozenset[str]:
        """The known categories; empty where every text is a category."""
        return frozenset(self.learned if self.declared.vocabulary is None else self.declared.vocabulary)

    def faults(self, name: str, missing: Mask, unknown: Mask, not_utf8: Mask | None = None) -> list[RuleViolation]:
        """The rules that rows break; arguments are masks of rows, [rows].

        Args:
            name: of the column, for messages.
            missing: mask of missing values.
            unknown: mask of present values that are not in `known`.
            not_utf8: mask of bytes that are not UTF-8.
        """
        found: list[RuleViolation] = []
        declared = self.declared
        if not_utf8 is not None and not_utf8.any():
            found.append(bytes_fault(name, not_utf8))
        found += _missing(name, declared, missing, enforced=self.mode == "enforce" or not self.derived)
        if self.known and unknown.any():
            refuses = declared.vocabulary is not None and declared.max_unknown is None and self.mode == "enforce"
            allowed = listed(declared.vocabulary) if declared.vocabulary else "the categories of the training data"
            found.append(
                RuleViolation(
                    name, "unknown_value", unknown, lambda v: f"{name} is {v}, which is not one of {allowed}", refuses
                )
            )
        return found


Rule = NumberRule | CategoryRule


def bytes_fault(name: str, rows: Mask) -> RuleViolation:
    """The fault of bytes that are not UTF-8."""
    return RuleViolation(name, "not_utf8", rows, lambda value: f"{name} is {value}: these bytes are not UTF-8 text")


def key_fault(name: str, rows: Mask) -> RuleViolation:
    """The fault of a missing key."""
    return RuleViolation(name, "missing_key", rows, lambda _: f"{name} is empty, and is the key")


def _missing(name: str, declared: Numeric | Categorical, missing: Mask, *, enforced: bool) -> list[RuleViolation]:
    counted = declared.optional and declared.max_missing is not None
    if (declared.optional and not counted) or not missing.any():
        return []
    refuses = enforced and not declared.optional
    return [RuleViolation(name, "missing_value", missing, lambda _: f"{name} is missing, and is not optional", refuses)]


def _outside(name: str, value: str, low: float, high: float) -> str:
    return f"{name} is {value}, which is not between {low:g} and {high:g}"
