"""The parts of a Problem: features, splits, gate and training, each of which checks itself."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headrace.core.errors import ProblemError

Task = Literal["regression", "binary", "multiclass"]
ModelKind = Literal["linear", "deep", "wide_and_deep", "deep_and_cross"]
LearningRateScaling = Literal["none", "linear", "sqrt"]

# The metrics that `evaluate` computes for each task, and whether more of it is better.
METRICS: Mapping[Task, Mapping[str, bool]] = {
    "regression": {
        "root_mean_squared_error": False,
        "mean_squared_error": False,
        "mean_absolute_error": False,
        "mean_bias": False,
        "r_squared": True,
    },
    "binary": {
        "accuracy": True,
        "auc": True,
        "auc_pr": True,
        "log_loss": False,
        "brier_score": False,
        "precision": True,
        "recall": True,
        "f1_score": True,
    },
    "multiclass": {
        "accuracy": True,
        "log_loss": False,
        "macro_precision": True,
        "macro_recall": True,
        "macro_f1_score": True,
    },
}

# Feature names become column names, tf.train.Example keys, arguments of the serving signature and JSON keys.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")
# Names that the serving signature and the predictions use for themselves.
_RESERVED = frozenset({"key", "prediction", "probability", "probabilities"})


@dataclass(frozen=True)
class Numeric:
    """A number: the feature is normalized by the mean and deviation measured on the train split.

    Args:
        name: the column's name.
        minimum: the least value allowed, inclusive; a row below it goes to quarantine.
        maximum: the greatest value allowed, inclusive.
        buckets: strictly increasing boundaries; the model then also gets the bucket of the value, as one-hot.
        optional: a missing value is allowed, and stands for the mean; otherwise the row goes to quarantine.
        max_missing: of an optional column, the share of the rows that may lack a value before the run is refused.

    Raises:
        ProblemError: a bound or boundary that is not a finite number, or is out of order; max_missing of a column
            that is not optional.
    """

    name: str
    _: dataclasses.KW_ONLY
    minimum: float | None = None
    maximum: float | None = None
    buckets: Sequence[float] | None = None
    optional: bool = False
    max_missing: float | None = None

    def __post_init__(self) -> None:
        where = f'Numeric("{self.name}")'
        _check_name(self.name, where)
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
        if self.buckets is not None:
            boundaries = tuple(self.buckets)
            ordered = all(is_finite(b) for b in boundaries) and all(a < b for a, b in itertools.pairwise(boundaries))
            if not boundaries or not ordered:
                raise ProblemError(
                    "buckets are wrong",
                    where=where,
                    expected="one or more finite boundaries in strictly increasing order",
                    received=repr(list(boundaries)),
                )
            object.__setattr__(self, "buckets", boundaries)
        _check_max_missing(self, where)


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

    def __post_init__(self) -> None:
        where = f'Categorical("{self.name}")'
        _check_name(self.name, where)
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
            _check_count(getattr(self, size), size, where)
        _check_max_missing(self, where)
        _check_share(self.max_unknown, "max_unknown", where)
        if self.max_unknown is not None and self.vocabulary is None:
            raise ProblemError(
                "max_unknown needs a vocabulary",
                where=where,
                expected="vocabulary=[...]: without one, every value is known",
                received=f"max_unknown={self.max_unknown}, and no vocabulary",
            )


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
        _check_count(hash_buckets, "hash_buckets", where, least=2)
        _check_count(embedding, "embedding", where)
        object.__setattr__(self, "features", tuple(features))
        object.__setattr__(self, "hash_buckets", hash_buckets)
        object.__setattr__(self, "embedding", embedding)

    @property
    def name(self) -> str:
        """The names of the crossed features, joined by `_x_`."""
        return "_x_".join(self.features)


Feature = Numeric | Categorical | Crossed


@dataclass(frozen=True)
class Splits:
    """Which share of the rows trains, tunes and tests, chosen by a fingerprint of the key.

    Raises:
        ProblemError: a share outside (0, 1), or shares that do not sum to 1.
    """

    train: float = 0.8
    eval: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        shares = dataclasses.asdict(self)
        for name, share in shares.items():
            if not is_finite(share) or not 0 < share < 1:
                raise ProblemError(
                    f"{name} is wrong", where="Splits", expected="a share between 0 and 1", received=repr(share)
                )
        total = math.fsum(shares.values())
        if abs(total - 1) > 1e-9:
            raise ProblemError(
                "the fractions do not sum to 1",
                where="Splits",
                expected="train + eval + test = 1",
                received=f"{' + '.join(str(s) for s in shares.values())} = {total:g}",
            )


@dataclass(frozen=True)
class Drift:
    """How far columns may have moved from an earlier statistics.json before preprocessing is refused.

    It is judged where `headrace preprocess --baseline` gives that file; the distances are those of `preprocess.drift`.

    Args:
        jensen_shannon: the greatest Jensen-Shannon divergence allowed, in [0, 1], of every column.
        l_infinity: the greatest change of any value's share allowed, in [0, 1], of every categorical column.
        columns: thresholds of single columns, which take the place of these; `Drift()` there judges nothing.

    Raises:
        ProblemError: a threshold outside [0, 1], or columns that are not Drifts by name.
    """

    jensen_shannon: float | None = None
    l_infinity: float | None = None
    columns: Mapping[str, Drift] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_share(self.jensen_shannon, "jensen_shannon", "Drift")
        _check_share(self.l_infinity, "l_infinity", "Drift")
        right = isinstance(self.columns, Mapping) and all(
            isinstance(name, str) and isinstance(own, Drift) and not own.columns for name, own in self.columns.items()
        )
        if not right:
            raise ProblemError(
                "columns are wrong",
                where="Drift",
                expected='{"mother_age": Drift(jensen_shannon=0.2)}',
                received=repr(self.columns),
            )
        object.__setattr__(self, "columns", dict(self.columns))

    def of(self, column: str) -> Drift:
        """The thresholds of one column."""
        return self.columns.get(column, self)


@dataclass(frozen=True)
class Gate:
    """What a model must do on the test split to be blessed.

    Args:
        metric: one of METRICS for the problem's task.
        at_most: the greatest value allowed. For a metric of which more is better, use at_least.
        at_least: the least value allowed.
        slices: features; the bounds hold for each of their values too.
        minimum_slice_size: slices of fewer test rows are reported, and not judged.
        champion_tolerance: how much worse than the champion, as a share of the champion's value, still passes;
            it is judged only where a champion is given.

    Raises:
        ProblemError: no bound at all, a bound that is not finite, or bounds that exclude each other.
    """

    metric: str
    _: dataclasses.KW_ONLY
    at_most: float | None = None
    at_least: float | None = None
    slices: Sequence[str] = ()
    minimum_slice_size: int = 20
    champion_tolerance: float | None = None

    def __post_init__(self) -> None:
        where = f'Gate("{self.metric}")'
        for bound in ("at_most", "at_least", "champion_tolerance"):
            value = getattr(self, bound)
            if value is not None and not is_finite(value):
                raise ProblemError(f"{bound} is wrong", where=where, expected="a finite number", received=repr(value))
        if self.at_most is None and self.at_least is None and self.champion_tolerance is None:
            raise ProblemError(
                "the gate judges nothing",
                where=where,
                expected="at_most, at_least or champion_tolerance",
                received="none of them",
            )
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise ProblemError(
                "no value can pass",
                where=where,
                expected="at_least <= at_most",
                received=f"at_least={self.at_least}, at_most={self.at_most}",
            )
        if self.champion_tolerance is not None and self.champion_tolerance < 0:
            raise ProblemError(
                "champion_tolerance is wrong", where=where, expected="0 or more", received=repr(self.champion_tolerance)
            )
        _check_count(self.minimum_slice_size, "minimum_slice_size", where)
        if isinstance(self.slices, str):
            raise ProblemError(
                "slices are wrong", where=where, expected="a list of feature names", received=repr(self.slices)
            )
        object.__setattr__(self, "slices", tuple(self.slices))


@dataclass(frozen=True)
class Training:
    """How the model is trained.

    Args:
        batch_size: rows a step, over all replicas.
        epochs: passes over the train split at most; early stopping may end sooner.
        steps: steps at most; None leaves the end to epochs.
        learning_rate: of Adam, in (0, 1].
        patience: epochs without a better loss on the eval split after which training stops.
        model: the model to train, where the Problem file has no build_model.
        hidden_units: widths of the deep part's layers; without any, a wide and deep model is linear.
        cross_layers: of a deep and cross model.
        dropout: share of each hidden layer dropped while training, in [0, 1).
        learning_rate_scaling: how the rate grows with the number of replicas, over which batch_size is divided.
        seed: the same input, seed and version give the same weights on the same hardware.

    Raises:
        ProblemError: a value outside its range.
    """

    batch_size: int = 64
    epochs: int = 30
    steps: int | None = None
    learning_rate: float = 0.001
    patience: int = 5
    model: ModelKind = "wide_and_deep"
    hidden_units: Sequence[int] = (64, 32)
    cross_layers: int = 2
    dropout: float = 0.0
    learning_rate_scaling: LearningRateScaling = "none"
    seed: int = 1

    def __post_init__(self) -> None:
        for count in ("batch_size", "epochs", "steps", "patience"):
            _check_count(getattr(self, count), count, "Training")
        _check_count(self.cross_layers, "cross_layers", "Training")
        _check_count(self.seed, "seed", "Training", least=0)
        _check_word(self.model, "model", get_args(ModelKind))
        _check_word(self.learning_rate_scaling, "learning_rate_scaling", get_args(LearningRateScaling))
        units = tuple(self.hidden_units)
        for unit in units:
            _check_count(unit, "hidden_units", "Training")
        if self.model == "deep" and not units:
            raise ProblemError(
                "a deep model has hidden layers",
                where="Training",
                expected='hidden_units=[...], or model="linear"',
                received="hidden_units=[]",
            )
        object.__setattr__(self, "hidden_units", units)
        if not is_finite(self.learning_rate) or not 0 < self.learning_rate <= 1:
            raise ProblemError(
                "learning_rate is wrong", where="Training", expected="in (0, 1]", received=repr(self.learning_rate)
            )
        if not is_finite(self.dropout) or not 0 <= self.dropout < 1:
            raise ProblemError("dropout is wrong", where="Training", expected="in [0, 1)", received=repr(self.dropout))


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not _NAME.match(name):
        raise ProblemError(
            "the name is wrong",
            where=where,
            expected="1 to 63 letters, digits and _, starting with a letter",
            received=repr(name),
        )
    if name in _RESERVED:
        raise ProblemError(
            "the name is reserved for predictions",
            where=where,
            expected=f"a name other than {', '.join(sorted(_RESERVED))}",
            received=repr(name),
        )


def _check_share(value: object, name: str, where: str) -> None:
    if value is not None and (not is_finite(value) or not 0 <= value <= 1):  # type: ignore[operator]
        raise ProblemError(f"{name} is wrong", where=where, expected="a share between 0 and 1", received=repr(value))


def _check_max_missing(declared: Numeric | Categorical, where: str) -> None:
    _check_share(declared.max_missing, "max_missing", where)
    if declared.max_missing is not None and not declared.optional:
        raise ProblemError(
            "max_missing is for an optional column",
            where=where,
            expected="optional=True: of another column, every row without a value goes to quarantine",
            received=f"max_missing={declared.max_missing}, optional=False",
        )


def _check_word(value: object, name: str, words: tuple[str, ...]) -> None:
    if value not in words:
        expected = " or ".join(f'"{word}"' for word in words)
        raise ProblemError(f"{name} is wrong", where="Training", expected=expected, received=repr(value))


def _check_count(value: object, name: str, where: str, *, least: int = 1) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ProblemError(
            f"{name} is wrong", where=where, expected=f"a whole number, {least} or more", received=repr(value)
        )


def is_finite(value: object) -> bool:
    """Whether `value` is a number, and neither NaN nor infinite; True and False are no numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
