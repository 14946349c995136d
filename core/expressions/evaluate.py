"""Evaluation of expressions: the definition of each operation, for all libraries.

In all lowerings:
- Missing values propagate: the result of an operation with a missing operand is missing. Exceptions: `false & missing`
  is false and `true | missing` is true (as in SQL), `is_missing` and `coalesce` accept missing operands, and `if_else`
  depends on the chosen branch only.
- A result that is not a finite number is missing: division by zero, the logarithm of 0, an overflow. NaN is missing.
- Empty text is missing.
- Numbers are float64. Logarithms, exponentials, general powers, sines and distances, whose last digits differ between
  libraries, are rounded to single precision, in which they agree.
- Numbers closer to zero than the smallest normal number are zero, as in TensorFlow's kernels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core.expressions import calendar, zones
from headrace.core.expressions.nodes import EXACT, Call, ColumnReference, Expression, Literal
from headrace.core.expressions.signatures import DATE_PARTS, SINGLE_PRECISION, Kind

SMALLEST_DOUBLE = 2.2250738585072014e-308
SMALLEST_SINGLE = 1.1754943508222875e-38
_MAXIMUM_ANGLE = 1e5
_EARTH_RADIUS = 6371.0088
_LAST_SECOND = 253_402_300_799
_FIRST_SECOND = -62_135_596_800

# Fragments in order; named fragments are captured as whole numbers.
Pattern = Sequence[tuple[str | None, str]]
_ISO: Pattern = (
    ("year", "[0-9]{4}"), (None, "[-/]"), ("month", "[0-9]{2}"), (None, "[-/]"), ("day", "[0-9]{2}"),
    (None, "(?:[T ]"), ("hour", "[0-9]{2}"), (None, ":"), ("minute", "[0-9]{2}"),
    (None, "(?::"), ("second", "[0-9]{2}"), (None, r"(?:\."), ("fraction", "[0-9]{1,9}"), (None, ")?)?"),
    (None, "(?:Z|[+-]"), ("offset_hours", "[0-9]{2}"), (None, ":?"), ("offset_minutes", "(?:[0-9]{2})?"),
    (None, ")?)?"),
)  # fmt: skip
# 2026-05/16 is no date.
_ONE_SEPARATOR = "....-..-.*|..../../.*"
_WEST = ".*:.*-[0-9]{2}:?(?:[0-9]{2})?"
_COUNT: Pattern = ((None, "[+-]?"), ("whole", "[0-9]{1,18}"), (None, r"(?:\."), ("fraction", "[0-9]*"), (None, ")?"))
# The number of digits that all libraries parse equally, and exponents that cannot overflow.
_NUMBER = r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?"
_PER_SECOND = {"s": 1, "ms": 1_000, "us": calendar.MICROSECONDS}
_TRUE, _FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True)
class ExpressionValues:
    """Values of an expression, [rows] each.

    Attributes:
        values: float64 (number, integer), bool, text, or int64 (time); False or "" where missing.
        missing: bool.
    """

    values: Any
    missing: Any


class Evaluator(ABC):
    """Evaluates expressions over columns; subclasses implement the functions that differ between libraries.

    Args:
        columns: the columns that the expressions read, by name: float64 or text.
    """

    def __init__(self, columns: Mapping[str, ExpressionValues]) -> None:
        self._columns = columns
        # With the expression itself, so that its id is not reused for another one.
        self._known: dict[int, tuple[Expression, ExpressionValues]] = {}

    def __call__(self, expression: Expression) -> ExpressionValues:
        """The values of an inlined expression."""
        if id(expression) not in self._known:
            self._known[id(expression)] = (expression, self._evaluate(expression))
        return self._known[id(expression)][1]

    def _evaluate(self, node: Expression) -> ExpressionValues:
        if isinstance(node, ColumnReference):
            column = self._columns[node.name]
            return column if node.kind == "text" else self._number(column.values, column.missing)
        if isinstance(node, Literal):
            value = float(node.value) if node.kind in ("number", "integer") else node.value
            return ExpressionValues(self.filled(value), self.filled(False))
        assert isinstance(node, Call)
        arguments = [self(argument) for argument in node.arguments]
        if node.operation in ("and", "or", "not", "is_missing", "if_else", "coalesce"):
            return self._logic(node.operation, arguments, node.kind)
        missing = arguments[0].missing
        for argument in arguments[1:]:
            missing = missing | argument.missing
        values = [argument.values for argument in arguments]
        if node.operation in ("less", "less_equal", "equal"):
            return ExpressionValues(
                self._compared(node.operation, values, node.arguments[0].kind == "text") & ~missing, missing
            )
        if node.operation in DATE_PARTS or node.operation in ("timestamp", "seconds_between"):
            return self._times(node, values, missing)
        if node.arguments[0].kind == "text" or node.operation in ("text_of_integer", "text_of_boolean"):
            return self._texts(node, values, missing)
        return self._numbers(node, values, missing)

    def _compared(self, operation: str, values: list[Any], textual: bool) -> Any:
        left, right = values
        if operation == "equal":
            return self.equal_texts(left, right) if textual else self.equal(left, right)
        return left < right if operation == "less" else left <= right

    def _logic(self, operation: str, arguments: list[ExpressionValues], kind: Kind | None) -> ExpressionValues:
        first, second, textual = arguments[0], arguments[-1], kind == "text"
        if operation == "not":
            return ExpressionValues(~first.values & ~first.missing, first.missing)
        if operation == "is_missing":
            return ExpressionValues(first.missing, self.filled(False))
        if operation == "or":
            holds = first.values | second.values
            return ExpressionValues(holds, (first.missing | second.missing) & ~holds)
        if operation == "and":
            fails = ~(first.values | first.missing) | ~(second.values | second.missing)
            return ExpressionValues(first.values & second.values, (first.missing | second.missing) & ~fails)
        chosen = self.where_texts if textual else self.where
        if operation == "coalesce":
            return ExpressionValues(chosen(first.missing, second.values, first.values), first.missing & second.missing)
        then = arguments[1]
        missing = first.missing | self.where(first.values, then.missing, second.missing)
        values = chosen(first.values, then.values, second.values)
        if textual:
            # If the condition is missing, the text of the other branch is used as a placeholder.
            return self._text(values, missing)
        return ExpressionValues(values if kind != "boolean" else values & ~missing, missing)

    def _numbers(self, node: Call, values: list[Any], missing: Any) -> ExpressionValues:
        operation, x = node.operation, values[0]
        if operation in SINGLE_PRECISION:
            if operation in ("sin", "cos"):
                missing = missing | (abs(x) > _MAXIMUM_ANGLE)
            return self._single(self.function(operation, x), missing)
        if operation == "power":
            return self._single(self.function(operation, *values), missing)
        if operation == "haversine":
            return self._haversine(values, missing)
        if operation == "bucket":
            return self._number(self.to_double(self.search(node.parameters[0], x)), missing)
        if operation == "number_of_boolean":
            return ExpressionValues(self.to_double(x), missing)
        if operation == "add":
            return self._number(x + values[1], missing)
        if operation == "subtract":
            return self._number(x - values[1], missing)
        if operation == "multiply":
            return self._number(x * values[1], missing)
        if operation == "divide":
            return self._number(x / values[1], missing)
        if operation == "absolute":
            return ExpressionValues(abs(x), missing)
        return self._number(self.function(operation, *values), missing)

    def _number(self, values: Any, missing: Any, smallest: float = SMALLEST_DOUBLE) -> ExpressionValues:
        missing = missing | ~self.finite(values)
        return ExpressionValues(self.where(missing | (abs(values) < smallest), self.filled(0.0), values), missing)

    def _single(self, values: Any, missing: Any) -> ExpressionValues:
        return self._number(self.to_single(values), missing, SMALLEST_SINGLE)

    def _haversine(self, degrees: list[Any], missing: Any) -> ExpressionValues:
        latitude, longitude, to_latitude, to_longitude = degrees
        missing = missing | (abs(latitude) > 90) | (abs(to_latitude) > 90)
        missing = missing | (abs(longitude) > 360) | (abs(to_longitude) > 360)
        half = math.pi / 360
        north = self.function("sin", (to_latitude - latitude) * half)
        east = self.function("sin", (to_longitude - longitude) * half)
        shrunk = self.function("cos", latitude * (2 * half)) * self.function("cos", to_latitude * (2 * half))
        square = self.function("minimum", north * north + shrunk * east * east, self.filled(1.0))
        angle = self.function("asin", self.function("sqrt", square))
        return self._single(angle * (2 * _EARTH_RADIUS), missing)

    def _texts(self, node: Call, values: list[Any], missing: Any) -> ExpressionValues:
        operation, x = node.operation, values[0]
        if operation == "length":
            return ExpressionValues(self.to_double(self.lengths(x)), missing)
        if operation in ("contains", "starts_with", "ends_with"):
            return ExpressionValues(self.finds(operation, x, str(node.parameters[0])) & ~missing, missing)
        if operation == "number":
            x = self.text_function("strip", x)
            proper = self.matches(x, _NUMBER) & ~missing
            return self._number(self.parsed(self.where_texts(proper, x, self.filled("0"))), ~proper)
        if operation == "boolean":
            x = self.text_function("lower", self.text_function("strip", x))
            true, false = (self._either(x, words) for words in (_TRUE, _FALSE))
            return ExpressionValues(true, ~(true | false))
        if operation == "text_of_integer":
            missing = missing | (abs(x) > float(EXACT))
            return self._text(self.digits(self.where(missing, self.filled(0.0), x)), missing)
        if operation == "text_of_boolean":
            return self._text(self.where_texts(x, self.filled("true"), self.filled("false")), missing)
        if operation == "concat":
            return self._text(self.text_function("concat", *values), missing)
        return self._text(self.text_function(operation, x, *node.parameters), missing)

    def _either(self, texts: Any, words: Sequence[str]) -> Any:
        found = self.equal_texts(texts, self.filled(words[0]))
        for word in words[1:]:
            found = found | self.equal_texts(texts, self.filled(word))
        return found

    def _text(self, texts: Any, missing: Any) -> ExpressionValues:
        texts = self.where_texts(missing, self.filled(""), texts)
        return ExpressionValues(texts, self.equal_texts(texts, self.filled("")))

    def _times(self, node: Call, values: list[Any], missing: Any) -> ExpressionValues:
        if node.operation == "timestamp":
            return self._parsed_time(self.text_function("strip", values[0]), missing, str(node.parameters[0]))
        if node.operation == "seconds_between":
            return self._number(self.to_double(values[0] - values[1]) / float(calendar.MICROSECONDS), missing)
        local, name = values[0], str(node.parameters[0])
        if name != "UTC":
            table = zones.zone(name)
            starts = [start * calendar.MICROSECONDS for start in table.starts]
            last = zones.seconds_of(zones.LAST_YEAR + 1) * calendar.MICROSECONDS
            missing = missing | (local < starts[0]) | (local >= last)
            local = self.where(missing, self.filled(0), local)
            offsets = [offset * calendar.MICROSECONDS for offset in table.offsets]
            local = local + self.look_up(offsets, self.search_times(starts, local) - 1)
        part = self.to_double(calendar.part_of(node.operation, local))
        return ExpressionValues(self.where(missing, self.filled(0.0), part), missing)

    def _parsed_time(self, texts: Any, missing: Any, unit: str) -> ExpressionValues:
        if unit:
            proper, found = self.captured(texts, _COUNT)
            # Checked before the multiplication, because so large a number of microseconds would overflow 64 bits.
            per_second = _PER_SECOND[unit]
            proper = proper & (found["whole"] // per_second <= _LAST_SECOND + 1)
            whole = self.where(proper, found["whole"], self.filled(0))
            scale = calendar.MICROSECONDS // per_second
            time = whole * scale + found["fraction"] * scale // calendar.MICROSECONDS
            time = self.where(self.matches(texts, "-.*"), self.filled(0) - time, time)
        else:
            proper, found = self.captured(texts, _ISO)
            time, good = self._calendar_time(found, self.matches(texts, _WEST))
            proper = proper & good & self.matches(texts, _ONE_SEPARATOR)
        proper = proper & ~missing & (time >= _FIRST_SECOND * calendar.MICROSECONDS)
        proper = proper & (time < (_LAST_SECOND + 1) * calendar.MICROSECONDS)
        return ExpressionValues(self.where(proper, time, self.filled(0)), ~proper)

    def _calendar_time(self, found: Mapping[str, Any], west: Any) -> tuple[Any, Any]:
        year, month, day = found["year"], found["month"], found["day"]
        days = calendar.days_of(year, month, day)
        back = calendar.date_of(days)
        # 30 February is converted to another date.
        good = (year >= 1) & (month >= 1) & (month <= 12)
        good = good & self.equal(back[0], year) & self.equal(back[1], month) & self.equal(back[2], day)
        good = good & (found["hour"] < 24) & (found["minute"] < 60) & (found["second"] < 60)
        good = good & (found["offset_hours"] < 24) & (found["offset_minutes"] < 60)
        seconds = found["hour"] * 3600 + found["minute"] * 60 + found["second"]
        offset = found["offset_hours"] * 3600 + found["offset_minutes"] * 60
        seconds = seconds - self.where(west, self.filled(0) - offset, offset)
        return days * calendar.DAY + seconds * calendar.MICROSECONDS + found["fraction"], good

    @abstractmethod
    def filled(self, value: bool | int | float | str) -> Any:
        """[rows] of one value: bool, int64, float64 or text."""

    @abstractmethod
    def where(self, condition: Any, then: Any, otherwise: Any) -> Any:
        """Selects by a condition, for arrays other than text."""

    @abstractmethod
    def where_texts(self, condition: Any, then: Any, otherwise: Any) -> Any:
        """Selects texts by a condition."""

    @abstractmethod
    def equal(self, left: Any, right: Any) -> Any:
        """Compares arrays other than text."""

    @abstractmethod
    def equal_texts(self, left: Any, right: Any) -> Any:
        """Compares texts."""

    @abstractmethod
    def finite(self, values: Any) -> Any:
        """Which float64 are finite."""

    @abstractmethod
    def to_double(self, values: Any) -> Any:
        """bool or int64 as float64."""

    @abstractmethod
    def to_single(self, values: Any) -> Any:
        """float64 rounded to the nearest float32, as float64; infinite beyond."""

    @abstractmethod
    def function(self, name: str, *values: Any) -> Any:
        """A function of float64."""

    @abstractmethod
    def search(self, boundaries: Any, values: Any) -> Any:
        """The number of boundaries that are not above each value, int64."""

    @abstractmethod
    def search_times(self, starts: Sequence[int], values: Any) -> Any:
        """The same for int64."""

    @abstractmethod
    def look_up(self, table: Sequence[int], places: Any) -> Any:
        """The int64 of a table at indices."""

    @abstractmethod
    def text_function(self, name: str, *values: Any) -> Any:
        """lower, strip, cut or concat of text."""

    @abstractmethod
    def lengths(self, texts: Any) -> Any:
        """Code points of text, int64."""

    @abstractmethod
    def finds(self, name: str, texts: Any, part: str) -> Any:
        """contains, starts_with or ends_with."""

    @abstractmethod
    def matches(self, texts: Any, pattern: str) -> Any:
        """Which whole texts match a pattern of RE2, in which a dot is any character."""

    @abstractmethod
    def parsed(self, texts: Any) -> Any:
        """Texts that are numbers as float64."""

    @abstractmethod
    def digits(self, values: Any) -> Any:
        """Whole float64 as text."""

    @abstractmethod
    def captured(self, texts: Any, pattern: Pattern) -> tuple[Any, dict[str, Any]]:
        """Which whole texts match, and the int64 of each named fragment, 0 where there is none.

        A "fraction" is in millionths: its first six digits.
        """
