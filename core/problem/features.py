"""Features of a Problem: numeric, categorical and crossed columns, which validate themselves."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.core.checks import check_bool, check_count, check_fraction, check_list, is_finite
from headrace.core.errors import ProblemError

# Feature names become column names, tf.train.Example keys, arguments of the serving signature and JSON keys.
COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")
# Names that the serving signature and the predictions use for themselves.
RESERVED_NAMES = frozenset({"key", "prediction", "probability", "probabilities"})
# Quantiles of a column with many distinct numbers are accurate to 0.5 % of the rows.
MAX_QUANTILE_BUCKETS = 1000
# The exponents of float64, including its subnormal numbers.
_MAX_EXPONENT = 1074
# Codes of a feature are int32 on accelerators; an embedding longer than this is probably a typing error.
_MAX_CODES, _MAX_EMBEDDING = 2**31 - 1, 2**16


@dataclass(frozen=True)
class Numeric:
    """A number: the feature is normalized by the mean and standard deviation of the train split.

    Args:
        name: the column's name.
        minimum: minimum allowed value, inclusive; a row below it goes to quarantine.
        maximum: maximum allowed value, inclusive.
        buckets: strictly increasing boundaries; the model then also receives the value's bucket, as one-hot. Or the
            number of buckets, 2 to 1,000, with equal numbers of rows: the boundaries are quantiles of the train split,
            see `Problem.measured`.
        optional: whether a missing value is allowed; it is replaced by the mean. Otherwise the row goes to quarantine.
        max_missing: maximum fraction of rows without a value, for an optional column; a run with more is refused.
        column: the column's name in files and tables, if it differs from `name`, such as "Body Mass (g)"; "" is a
            column without a name. Only file readers use it: Examples, models and requests have `name`.
        exponent: Examples hold the numbers divided by 2 ** exponent, as float32. Preprocessing measures it where the
            numbers do not fit float32, see `Problem.measured`; it is not declared.
        double: whether expressions read the column: the model then accepts it as float64, and Examples store the
            number's text, which is exact; it is not declared.

    Raises:
        ProblemError: a bound or boundary is not a finite number, or is out of order; max_missing is set for a column
            that is not optional.
    """

    name: str
    _: dataclasses.KW_ONLY
    minimum: float | None = None
    maximum: float | None = None
    buckets: Sequence[float] | int | None = None
    optional: bool = False
    max_missing: float | None = None
    column: str | None = None
    exponent: int = 0
    double: bool = False

    def __post_init__(self) -> None:
        where = f'Numeric("{self.name}")'
        _check_name(self.name, where)
        _check_column(self.column, where)
        check_bool(self.optional, "optional", where=where, error=ProblemError)
        check_bool(self.double, "double", where=where, error=ProblemError)
        for bound in ("minimum", "maximum"):
            value = getattr(self, bound)
            if value is not None and not is_finite(value):
                raise ProblemError(f"{bound} is wrong", where=where, expected="a finite number", received=repr(value))
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ProblemError(
                "minimum must be below maximum",
                where=where,
                expected=f"minimum < {self.maximum}",
                received=f"minimum={self.minimum}",
            )
        if isinstance(self.buckets, int):
            check_count(
                self.buckets, "buckets", minimum=2, maximum=MAX_QUANTILE_BUCKETS, where=where, error=ProblemError
            )
        elif self.buckets is not None:
            expected = "one or more finite boundaries in strictly increasing order, or how many buckets"
            boundaries = check_list(self.buckets, "buckets", expected=expected, where=where, error=ProblemError)
            ordered = all(is_finite(b) for b in boundaries) and all(a < b for a, b in itertools.pairwise(boundaries))
            if not boundaries or not ordered:
                raise ProblemError("buckets is wrong", where=where, expected=expected, received=repr(list(boundaries)))
            object.__setattr__(self, "buckets", boundaries)
        _check_max_missing(self, where)
        if type(self.exponent) is not int or abs(self.exponent) > _MAX_EXPONENT:
            raise ProblemError(
                "exponent is wrong", where=where, expected="a whole number, or 0", received=repr(self.exponent)
            )

    @property
    def source_column(self) -> str:
        """The column's name in files and tables."""
        return self.name if self.column is None else self.column

    @property
    def boundaries(self) -> tuple[float, ...] | None:
        """The boundaries of its buckets; None without buckets.

        Raises:
            ValueError: the boundaries are quantiles that are not measured yet; see `Problem.measured`.
        """
        if isinstance(self.buckets, int):
            raise ValueError(f'the buckets of "{self.name}" must be measured first')
        return None if self.buckets is None else tuple(self.buckets)

    @property
    def stored(self) -> Numeric:
        """The declaration of the numbers as Examples hold them: bounds and boundaries divided by 2 ** exponent."""
        if not self.exponent:
            return self
        buckets = self.buckets
        if buckets is not None and not isinstance(buckets, int):
            buckets = [_divided(boundary, self.exponent) for boundary in buckets]
        low = None if self.minimum is None else _divided(self.minimum, self.exponent)
        high = None if self.maximum is None else _divided(self.maximum, self.exponent)
        return dataclasses.replace(self, minimum=low, maximum=high, buckets=buckets)


@dataclass(frozen=True)
class Categorical:
    """A category, stored as a string; integers and booleans are read as their text ("1", "true").

    Args:
        name: the column's name.
        vocabulary: the allowed values; a row with another value goes to quarantine, unless max_unknown allows it.
            Measured on the train split if absent.
        hash_buckets: number of buckets to hash values into, instead of a vocabulary (for open or very large sets).
        embedding: length of a learned vector for the deep part; without it, one-hot.
        max_vocabulary: maximum number of measured values, the most frequent ones; the others share one entry.
        optional: whether a missing value is allowed, as a separate category. Otherwise the row goes to quarantine.
        max_missing: maximum fraction of rows without a value, for an optional column; a run with more is refused.
        max_unknown: maximum fraction of rows with a value outside the vocabulary; a run with more is refused. These
            rows are accepted, and the model treats all such values as one.
        column: the column's name in files and tables, if it differs from `name`; see Numeric.

    Raises:
        ProblemError: the vocabulary is empty or repeats a value, both vocabulary and hash_buckets are set, or a size
            is below 1; max_missing is set for a column that is not optional, or max_unknown without a vocabulary.
    """

    name: str
    _: dataclasses.KW_ONLY
    vocabulary: Sequence[str] | None = None
    hash_buckets: int | None = None
    embedding: int | None = None
    max_vocabulary: int = 10_000
    optional: bool = False
    max_missing: float | None = None
    max_unknown: float | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        where = f'Categorical("{self.name}")'
        _check_name(self.name, where)
        _check_column(self.column, where)
        check_bool(self.optional, "optional", where=where, error=ProblemError)
        if self.vocabulary is not None:
            expected = "a list of one or more different, non-empty strings"
            values = check_list(self.vocabulary, "vocabulary", expected=expected, where=where, error=ProblemError)
            if not values or not all(isinstance(v, str) and v for v in values) or len(set(values)) != len(values):
                raise ProblemError("vocabulary is wrong", where=where, expected=expected, received=repr(list(values)))
            if self.hash_buckets is not None:
                raise ProblemError(
                    "a vocabulary and hash_buckets exclude each other",
                    where=where,
                    expected="one of the two",
                    received="both",
                )
            object.__setattr__(self, "vocabulary", values)
        for size, maximum in (("hash_buckets", _MAX_CODES), ("embedding", _MAX_EMBEDDING)):
            if getattr(self, size) is not None:
                check_count(getattr(self, size), size, maximum=maximum, where=where, error=ProblemError)
        check_count(self.max_vocabulary, "max_vocabulary", maximum=_MAX_CODES, where=where, error=ProblemError)
        _check_max_missing(self, where)
        if self.max_unknown is not None:
            check_fraction(self.max_unknown, "max_unknown", where=where, error=ProblemError)
        if self.max_unknown is not None and self.vocabulary is None:
            raise ProblemError(
                "max_unknown needs a vocabulary",
                where=where,
                expected="vocabulary=[...]: without one, every value is known",
                received=f"max_unknown={self.max_unknown}, and no vocabulary",
            )

    @property
    def source_column(self) -> str:
        """The column's name in files and tables."""
        return self.name if self.column is None else self.column


@dataclass(frozen=True, init=False)
class Crossed:
    """The combination of two or more features, hashed into buckets, as one-hot for the wide part.

    Args:
        features: names of Categorical features, or of Numeric ones that have buckets.
        hash_buckets: number of buckets, 2 or more.
        embedding: length of a learned vector for the deep part; without it, one-hot in the wide part.

    Raises:
        ProblemError: there are fewer than two features, a repeated feature, or fewer than two buckets.
    """

    features: tuple[str, ...]
    hash_buckets: int
    embedding: int | None

    def __init__(self, *features: str, hash_buckets: int, embedding: int | None = None) -> None:
        where = f"Crossed({', '.join(map(repr, features))})"
        if len(features) < 2 or len(set(features)) != len(features):
            raise ProblemError(
                "a cross needs different features", where=where, expected="two or more", received=str(len(features))
            )
        check_count(hash_buckets, "hash_buckets", minimum=2, maximum=_MAX_CODES, where=where, error=ProblemError)
        if embedding is not None:
            check_count(embedding, "embedding", maximum=_MAX_EMBEDDING, where=where, error=ProblemError)
        object.__setattr__(self, "features", tuple(features))
        object.__setattr__(self, "hash_buckets", hash_buckets)
        object.__setattr__(self, "embedding", embedding)

    @property
    def name(self) -> str:
        """The names of the crossed features, joined by `_x_`."""
        return "_x_".join(self.features)


Feature = Numeric | Categorical | Crossed


def stored_as(column: Numeric | Categorical) -> Literal["float_list", "bytes_list"]:
    """The storage of a column in Examples: a float32 in a float_list, or text in a bytes_list."""
    return "float_list" if isinstance(column, Numeric) and not column.double else "bytes_list"


def check_cross(cross: Crossed, features: Mapping[str, Feature]) -> None:
    """Checks that the features of a cross can be crossed.

    Args:
        cross: the cross.
        features: the Problem's features, by name.

    Raises:
        ProblemError: a feature does not exist, or is a number without buckets.
    """
    where = f"Crossed({', '.join(map(repr, cross.features))})"
    for name in cross.features:
        crossed = features.get(name)
        if crossed is None or isinstance(crossed, Crossed):
            known = sorted(n for n, f in features.items() if not isinstance(f, Crossed))
            raise ProblemError(
                f'the feature "{name}" to cross does not exist',
                where=where,
                expected=f"names among {', '.join(known)}",
                received=f'"{name}"',
            )
        if isinstance(crossed, Numeric) and crossed.buckets is None:
            raise ProblemError(
                f'"{name}" is a number without buckets, and cannot be crossed',
                where=where,
                expected=f'Numeric("{name}", buckets=[...])',
                received="no buckets",
            )


def _divided(value: float, exponent: int) -> float:
    """value / 2 ** exponent, at most float64's largest number."""
    try:
        return math.ldexp(value, -exponent)
    except OverflowError:
        return math.copysign(sys.float_info.max, value)


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not COLUMN_NAME.match(name):
        raise ProblemError(
            "the name is wrong",
            where=where,
            expected="1 to 63 letters, digits and _, starting with a letter",
            received=repr(name),
            fix='Of a column of another name, say so: Numeric("body_mass", column="Body Mass (g)")',
        )
    if name in RESERVED_NAMES:
        raise ProblemError(
            "the name is reserved for predictions",
            where=where,
            expected=f"a name other than {', '.join(sorted(RESERVED_NAMES))}",
            received=repr(name),
        )


def _check_column(column: object, where: str) -> None:
    if column is not None and not isinstance(column, str):
        raise ProblemError("column is wrong", where=where, expected="a column's name", received=repr(column))


def _check_max_missing(declared: Numeric | Categorical, where: str) -> None:
    if declared.max_missing is None:
        return
    check_fraction(declared.max_missing, "max_missing", where=where, error=ProblemError)
    if not declared.optional:
        raise ProblemError(
            "max_missing is for an optional column",
            where=where,
            expected="optional=True: of another column, every row without a value goes to quarantine",
            received=f"max_missing={declared.max_missing}, optional=False",
        )
