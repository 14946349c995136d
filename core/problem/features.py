"""Features of a Problem: numeric, categorical and crossed columns, each of which checks itself."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.core.checks import check_count, check_fraction, is_finite
from headrace.core.errors import ProblemError

# Feature names become column names, tf.train.Example keys, arguments of the serving signature and JSON keys.
COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")
# Names that the serving signature and the predictions use for themselves.
RESERVED_NAMES = frozenset({"key", "prediction", "probability", "probabilities"})
# Quantiles of a column of many distinct numbers are known to 0.5 % of the rows.
MAX_QUANTILE_BUCKETS = 1000


@dataclass(frozen=True)
class Numeric:
    """A number: the feature is normalized by the mean and deviation measured on the train split.

    Args:
        name: the column's name.
        minimum: the least value allowed, inclusive; a row below it goes to quarantine.
        maximum: the greatest value allowed, inclusive.
        buckets: strictly increasing boundaries; the model then also gets the bucket of the value, as one-hot. A whole
            number, 2 to 1,000, is how many buckets of equally many rows: their boundaries are quantiles of the train
            split, see `Problem.measured`.
        optional: a missing value is allowed, and stands for the mean; otherwise the row goes to quarantine.
        max_missing: of an optional column, the share of the rows that may lack a value before the run is refused.
        column: the column's name in files and tables, where it is another than `name`, such as "Body Mass (g)"; "" is
            a column without a name. Only what reads files uses it: Examples, models and requests have `name`.

    Raises:
        ProblemError: a bound or boundary that is not a finite number, or is out of order; max_missing of a column
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

    def __post_init__(self) -> None:
        where = f'Numeric("{self.name}")'
        _check_name(self.name, where)
        _check_column(self.column, where)
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
            boundaries = tuple(self.buckets) if isinstance(self.buckets, Iterable) else ()
            ordered = all(is_finite(b) for b in boundaries) and all(a < b for a, b in itertools.pairwise(boundaries))
            if not boundaries or not ordered:
                raise ProblemError(
                    "buckets are wrong",
                    where=where,
                    expected="one or more finite boundaries in strictly increasing order, or how many buckets",
                    received=repr(list(boundaries) or self.buckets),
                )
            object.__setattr__(self, "buckets", boundaries)
        _check_max_missing(self, where)

    @property
    def source_column(self) -> str:
        """The column that files and tables have it in."""
        return self.name if self.column is None else self.column

    @property
    def boundaries(self) -> tuple[float, ...] | None:
        """The boundaries of its buckets; None where it has none.

        Raises:
            ValueError: they are quantiles that have not been measured; see `Problem.measured`.
        """
        if isinstance(self.buckets, int):
            raise ValueError(f'the buckets of "{self.name}" must be measured first')
        return None if self.buckets is None else tuple(self.buckets)


@dataclass(frozen=True)
class Categorical:
    """A category, held as a string; integers and booleans are read as their text ("1", "true").

    Args:
        name: the column's name.
        vocabulary: the values allowed; a row with another goes to quarantine, unless max_unknown allows it. Measured
            on the train split if absent.
        hash_buckets: hash the value into so many buckets instead of a vocabulary (for open or very large sets).
        embedding: length of a learned vector for the deep part; without it, one-hot.
        max_vocabulary: keep so many of the most frequent measured values; the others share one entry.
        optional: a missing value is allowed, and is a category of its own; otherwise the row goes to quarantine.
        max_missing: of an optional column, the share of the rows that may lack a value before the run is refused.
        max_unknown: with a vocabulary, the share of the rows that may hold a value outside it before the run is
            refused; these rows are kept, and the model sees all such values as one.
        column: the column's name in files and tables, where it is another than `name`; see Numeric.

    Raises:
        ProblemError: an empty or repeating vocabulary, both a vocabulary and hash_buckets, a size below 1;
            max_missing of a column that is not optional, or max_unknown without a vocabulary.
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
        if self.vocabulary is not None:
            if isinstance(self.vocabulary, str):
                raise ProblemError(
                    "vocabulary is wrong", where=where, expected="a list of strings", received=repr(self.vocabulary)
                )
            values = tuple(self.vocabulary)
            if not values or not all(isinstance(v, str) and v for v in values) or len(set(values)) != len(values):
                raise ProblemError(
                    "vocabulary is wrong",
                    where=where,
                    expected="one or more different, non-empty strings",
                    received=repr(list(values)),
                )
            if self.hash_buckets is not None:
                raise ProblemError(
                    "a vocabulary and hash_buckets exclude each other",
                    where=where,
                    expected="one of the two",
                    received="both",
                )
            object.__setattr__(self, "vocabulary", values)
        for size in ("hash_buckets", "embedding", "max_vocabulary"):
            if getattr(self, size) is not None:
                check_count(getattr(self, size), size, where=where, error=ProblemError)
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
        """The column that files and tables have it in."""
        return self.name if self.column is None else self.column


@dataclass(frozen=True, init=False)
class Crossed:
    """The combination of two or more features, hashed into buckets, as one-hot for the wide part.

    Args:
        features: names of Categorical features, or of Numeric ones that have buckets.
        hash_buckets: number of buckets, 2 or more.
        embedding: length of a learned vector for the deep part; without it, one-hot in the wide part.

    Raises:
        ProblemError: fewer than two features, a repeated one, or fewer than two buckets.
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
        check_count(hash_buckets, "hash_buckets", minimum=2, where=where, error=ProblemError)
        if embedding is not None:
            check_count(embedding, "embedding", where=where, error=ProblemError)
        object.__setattr__(self, "features", tuple(features))
        object.__setattr__(self, "hash_buckets", hash_buckets)
        object.__setattr__(self, "embedding", embedding)

    @property
    def name(self) -> str:
        """The names of the crossed features, joined by `_x_`."""
        return "_x_".join(self.features)


Feature = Numeric | Categorical | Crossed


def check_cross(cross: Crossed, features: Mapping[str, Feature]) -> None:
    """Checks that a cross is of features that can be crossed.

    Args:
        cross: of a Problem.
        features: of the Problem, by name.

    Raises:
        ProblemError: there is no such feature, or it is a number without buckets.
    """
    where = f"Crossed({', '.join(map(repr, cross.features))})"
    for name in cross.features:
        crossed = features.get(name)
        if crossed is None or isinstance(crossed, Crossed):
            known = sorted(n for n, f in features.items() if not isinstance(f, Crossed))
            raise ProblemError(
                f'there is no feature "{name}" to cross',
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
