"""Problem declaration: key, label, features, splits, training and gate, declared once and read by every step."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from headrace.core.checks import check_texts, check_word, is_finite
from headrace.core.errors import ProblemError
from headrace.core.expressions.json_form import to_json
from headrace.core.expressions.nodes import Expression
from headrace.core.problem import checks, digests
from headrace.core.problem.derivation import Derivation
from headrace.core.problem.features import COLUMN_NAME, Categorical, Crossed, Feature, Numeric
from headrace.core.problem.gate import METRICS, Costs, Drift, Gate, Task
from headrace.core.problem.monitor import Monitor
from headrace.core.problem.splits import Splits
from headrace.core.problem.training import Training
from headrace.core.problem.tuning import Choice, Range, Tuning
from headrace.core.problem.weights import check_class_weights, check_weight, weight_column
from headrace.core.serving_mode import Serving

__all__ = [
    "METRICS",
    "Categorical",
    "Choice",
    "Costs",
    "Crossed",
    "Drift",
    "Feature",
    "Gate",
    "Monitor",
    "Numeric",
    "Problem",
    "Range",
    "Splits",
    "Task",
    "Training",
    "Tuning",
]

# The problem's name becomes a folder, a pipeline's name and part of URLs.
_PROBLEM_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}\Z")

DuplicateRows = Literal["allow", "quarantine"]
NoRows = Literal["skip", "refuse"]


@dataclass(frozen=True)
class Problem:
    """A supervised learning problem over a table.

    Args:
        name: lower-case letters, digits, `-` and `_`; it names folders, pipelines and endpoints.
        key: the column that identifies a row; it decides the split, and predictions contain it. None without such a
        column: rows are then numbered by content in Examples (see `rows.numbering`), and by position in predictions.
        label: Numeric for regression; Categorical with a vocabulary for classification (two values: binary; the
            second one is the positive class).
        features: the columns from which the model predicts.
        splits: which rows are in the train, eval and test splits.
        gate: conditions for a blessed model: by default, better than the baseline. None blesses every model.
        training: how the model is trained.
        quarantine_budget: maximum fraction of rows in quarantine; a run with more is refused.
        hyperparameters: passed to `build_model` unchanged; JSON values only.
        drift: maximum distances of columns from an earlier statistics.json; None compares nothing.
        duplicate_rows: "quarantine" quarantines a row that equals an earlier one in the label and all features, but has
            another key; "allow" accepts such rows.
        missing: texts that represent a missing value in text columns, in addition to the empty text: "NA", "N/A", "-".
        tuning: the search space of `headrace tune`, which overrides `training` and `hyperparameters`.
        derive: expressions by the name of the feature or label that they compute, from columns of the table or from
            columns that other expressions read; see `headrace.expressions`. A weight may be derived too.
        weight: the column of sample weights, by its name or as a Numeric with bounds: numbers of 0 or more. They weight
            the rows in the loss, in metrics, in the gate and in its baseline; the model does not receive them.
        reads: columns of the table, by their names there, that are passed to the function `prepare` of the Problem
            file; see `rows.prepare`.
        prepared_by: digest of the code of that function, set when the Problem file is loaded.
        threshold: in (0, 1): a binary model predicts the second class at this probability or above.
        costs: costs of the two errors of a binary model, for evaluation's table of thresholds.
        monitor: thresholds of `headrace monitor`; None for those of `Monitor()`.
        serving: how the models are served unless an option overrides it; None leaves it to the options and the
            endpoint. It is a part of each Model, so a change starts a new training.
        no_rows: for data without rows: "skip" ends a run with exit status 0 and no output; "refuse" is an error.

    Raises:
        ProblemError: with the field, the expected and the received value.
    """

    name: str
    key: str | None
    label: Numeric | Categorical
    features: Sequence[Feature]
    _: dataclasses.KW_ONLY
    splits: Splits = field(default_factory=Splits)
    gate: Gate | None = field(default_factory=Gate)
    training: Training = field(default_factory=Training)
    quarantine_budget: float = 0.05
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    drift: Drift | None = None
    duplicate_rows: DuplicateRows = "allow"
    missing: Sequence[str] = ()
    tuning: Tuning | None = None
    derive: Mapping[str, Expression] = field(default_factory=dict)
    weight: Numeric | str | None = None
    reads: Sequence[str] = ()
    prepared_by: str = ""
    threshold: float = 0.5
    costs: Costs | None = None
    monitor: Monitor | None = None
    serving: Serving | None = None
    no_rows: NoRows = "skip"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features) if isinstance(self.features, Sequence) else ())
        object.__setattr__(self, "missing", check_texts(self.missing, "missing", where="Problem", error=ProblemError))
        object.__setattr__(self, "weight", weight_column(self.weight))
        object.__setattr__(self, "reads", check_texts(self.reads, "reads", where="Problem", error=ProblemError))
        self._check_fields()
        checks.check_label(self.label)
        checks.check_features(self.features, self.label, self.key, self.key_name)
        check_weight(self.weight_column, self.label, self.columns, self.key)
        check_class_weights(self.training.class_weights, self.label)
        checks.check_gate(self.gate, self.task, self.columns)
        checks.check_decision(self.threshold, self.costs, self.task)
        checks.check_drift(self.drift, (*self.columns, self.label))
        checks.check_monitor(self.monitor, self.columns)
        if self.serving is not None and not isinstance(self.serving, Serving):
            raise ProblemError(
                "serving is wrong", where="Problem", expected="a Serving, or None", received=repr(self.serving)
            )
        self.splits.check_column(self.label.name)
        checks.check_tuning(self.tuning, self.hyperparameters)
        _ = self.derivation
        checks.check_encodable(self.to_json())

    def __eq__(self, other: object) -> bool:
        # Comparing expressions returns an expression.
        return self.to_json() == other.to_json() if isinstance(other, Problem) else NotImplemented

    def _check_fields(self) -> None:
        if not isinstance(self.name, str) or not _PROBLEM_NAME.match(self.name):
            raise ProblemError(
                "name is wrong",
                where="Problem",
                expected="1 to 48 lower-case letters, digits, - and _, starting with a letter",
                received=repr(self.name),
            )
        if self.key is not None and not isinstance(self.key, str):
            raise ProblemError(
                "key is wrong", where="Problem", expected="a column's name, or None", received=repr(self.key)
            )
        for name, kind in (("splits", Splits), ("training", Training)):
            if not isinstance(getattr(self, name), kind):
                raise ProblemError(
                    f"{name} is wrong",
                    where="Problem",
                    expected=f"a {kind.__name__}",
                    received=repr(getattr(self, name)),
                )
        if not is_finite(self.quarantine_budget) or not 0 <= self.quarantine_budget <= 1:
            raise ProblemError(
                "quarantine_budget is wrong",
                where="Problem",
                expected="a fraction between 0 and 1",
                received=repr(self.quarantine_budget),
            )
        check_word(self.duplicate_rows, "duplicate_rows", get_args(DuplicateRows), where="Problem", error=ProblemError)
        check_word(self.no_rows, "no_rows", get_args(NoRows), where="Problem", error=ProblemError)
        try:
            # In JSON a name that is an integer becomes a text.
            given = self.hyperparameters
            if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
                raise TypeError(repr(given))
            json.dumps(dict(given), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ProblemError(
                "hyperparameters is wrong",
                where="Problem",
                expected="JSON values by name: finite numbers, texts, True, False, None, lists and dictionaries",
                received=str(error),
            ) from error

    @property
    def task(self) -> Task:
        """The task, which follows from the label."""
        if isinstance(self.label, Numeric):
            return "regression"
        return "binary" if len(self.label.vocabulary or ()) == 2 else "multiclass"

    @property
    def key_name(self) -> str:
        """The key's name in Examples: its column's name if that is a plain name, else "key"."""
        return self.key if self.key is not None and COLUMN_NAME.match(self.key) else "key"

    @property
    def columns(self) -> tuple[Numeric | Categorical, ...]:
        """The features without the crosses, in the order declared."""
        return tuple(f for f in self.features if not isinstance(f, Crossed))

    @property
    def weight_column(self) -> Numeric | None:
        """The column of sample weights, or None."""
        return self.weight if isinstance(self.weight, Numeric) else None

    @property
    def targets(self) -> tuple[Numeric | Categorical, ...]:
        """The columns that only training and evaluation read: the label, and the weight if declared."""
        return (self.label,) if self.weight_column is None else (self.label, self.weight_column)

    @functools.cached_property
    def derivation(self) -> Derivation:
        """The derived columns and their inputs."""
        return Derivation.of(self.derive, self.label, self.columns, self.key, self.weight_column, self.splits.column)

    @property
    def quantile_buckets(self) -> dict[str, int]:
        """The number of quantile buckets of each column that declares a number instead of boundaries."""
        return {c.name: c.buckets for c in self.columns if isinstance(c, Numeric) and isinstance(c.buckets, int)}

    def measured(self, statistics: Mapping[str, Mapping[str, Any]]) -> Problem:
        """The Problem with boundaries instead of numbers of buckets, and with the exponents of numbers.

        Args:
            statistics: by column, as in statistics.json of Examples that were made for the Problem.
        """
        exponents = {name: measured["exponent"] for name, measured in statistics.items() if measured.get("exponent")}
        problem = self.with_exponents(exponents)
        wanted = self.quantile_buckets
        if not wanted:
            return problem
        features = [
            dataclasses.replace(feature, buckets=statistics[feature.name]["buckets"])
            if feature.name in wanted
            else feature
            for feature in problem.features
        ]
        return dataclasses.replace(problem, features=features)

    def with_exponents(self, exponents: Mapping[str, int]) -> Problem:
        """The Problem with other exponents of numbers, by name; see `exponents` and `Numeric`."""
        if not exponents:
            return self
        return self._replaced(
            lambda column: dataclasses.replace(column, exponent=exponents.get(column.name, column.exponent))
        )

    @property
    def exponents(self) -> dict[str, int]:
        """The exponents of features, label and weight by name, where they are not 0."""
        columns = (c for c in (*self.columns, *self.targets) if isinstance(c, Numeric))
        return {column.name: column.exponent for column in columns if column.exponent}

    @property
    def stored(self) -> Problem:
        """The Problem of the numbers as Examples hold them; see `Numeric.stored`."""
        return self._replaced(lambda column: column.stored) if self.exponents else self

    def _replaced(self, replaced: Callable[[Numeric], Numeric]) -> Problem:
        features = [replaced(feature) if isinstance(feature, Numeric) else feature for feature in self.features]
        label = replaced(self.label) if isinstance(self.label, Numeric) else self.label
        weight = None if self.weight_column is None else replaced(self.weight_column)
        return dataclasses.replace(self, features=features, label=label, weight=weight)

    @property
    def crosses(self) -> tuple[Crossed, ...]:
        """The crossed features, in the order declared."""
        return tuple(f for f in self.features if isinstance(f, Crossed))

    def to_json(self) -> dict[str, Any]:
        """The declaration as JSON values; each feature has its `kind`."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        plain["label"]["kind"] = type(self.label).__name__
        for feature, declared in zip(plain["features"], self.features, strict=True):
            feature["kind"] = type(declared).__name__
        for column in (plain["label"], plain["weight"] or {}, *plain["features"]):
            for name in ("exponent", "double"):
                if not column.get(name):
                    column.pop(name, None)
        plain["splits"] = self.splits.to_json()
        plain["derive"] = {name: to_json(expression) for name, expression in self.derive.items()}
        for name in ("monitor", "serving"):
            if plain[name] is None:
                # Omitted by default, so that a Model's problem.json equals that of versions without this field.
                del plain[name]
        plain["tuning"] = None if self.tuning is None else self.tuning.to_json()
        return plain

    @property
    def schema_digest(self) -> str:
        """Digest of the fields that preprocessing reads; changes of gate, batch size or embeddings do not change it."""
        return digests.schema_digest(self.to_json())

    @property
    def training_digest(self) -> str:
        """Digest of the fields that training reads; changes of the gate or the search do not change it."""
        return digests.training_digest(self.to_json())

    @property
    def evaluation_digest(self) -> str:
        """Digest of the fields that evaluation reads: the columns, the gate, the threshold and the costs."""
        return digests.evaluation_digest(self.to_json())

    @property
    def trained(self) -> Problem:
        """The Problem for the user's training code: without the fields that `training_digest` does not cover."""
        return dataclasses.replace(self, gate=None, costs=None, monitor=None, tuning=None, no_rows="skip")
