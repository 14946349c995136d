"""What a user declares, once: key, label, features, splits, training and gate. Every step reads it."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Mapping, Sequence
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
from headrace.core.problem.splits import Splits
from headrace.core.problem.training import Training
from headrace.core.problem.tuning import Choice, Range, Tuning
from headrace.core.problem.weights import check_class_weights, check_weight, weight_column

__all__ = [
    "METRICS",
    "Categorical",
    "Choice",
    "Costs",
    "Crossed",
    "Drift",
    "Feature",
    "Gate",
    "Numeric",
    "Problem",
    "Range",
    "Splits",
    "Task",
    "Training",
    "Tuning",
]

# The problem's name becomes a folder, a pipeline's name and a part of URLs.
_PROBLEM_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}\Z")

DuplicateRows = Literal["allow", "quarantine"]
NoRows = Literal["skip", "refuse"]


@dataclass(frozen=True)
class Problem:
    """A supervised learning problem over a table.

    Args:
        name: lower-case letters, digits, `-` and `_`; it names folders, pipelines and endpoints.
        key: the column that identifies a row; it decides the split, and predictions carry it. None where no column
            does: Examples then number their rows by content, see `rows.numbering`, and predictions by position.
        label: Numeric for regression; Categorical with a vocabulary for classification (two values: binary, of
            which the second is the positive one).
        features: what the model sees.
        splits: which rows are in the train, eval and test splits.
        gate: what a model must do to be blessed: by default, better than the baseline. None blesses every model.
        training: how the model is trained.
        quarantine_budget: the share of rows that may go to quarantine before a run is refused.
        hyperparameters: passed to `build_model` as they are; JSON values only.
        drift: how far columns may have moved from an earlier statistics.json; without it nothing is compared.
        duplicate_rows: "quarantine" sends a row there that equals an earlier one in the label and all features, but has
            another key; "allow" keeps such rows.
        missing: texts that stand for a missing value in columns of text, beside the empty one: "NA", "N/A", "-".
        tuning: what `headrace tune` tries instead of what `training` and `hyperparameters` say.
        derive: expressions by the name of the feature or label that they compute from columns of the table, or of what
            others of them read; see `headrace.expressions`. A weight may be derived too.
        weight: the column of sample weights, by its name or as a Numeric with bounds: numbers of 0 or more. They weigh
            the rows in the loss, in metrics, in the gate and in its baseline; the model does not get them.
            others of them read; see `headrace.expressions`.
        reads: columns of the table, by their names there, that the function `prepare` of the Problem file is given; see
            `rows.prepare`.
        prepared_by: digest of the code of that function, which reading the Problem file fills in.
        threshold: in (0, 1): a binary model predicts the second class from this probability on.
        costs: of the two errors of a binary model, for evaluation's table of thresholds.
        no_rows: "skip" ends a run whose data has no rows with exit status 0 and nothing done; "refuse" is an error.

    Raises:
        ProblemError: with the field, what was expected and what came.
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
        self.splits.check_column(self.label.name, self.derive)
        checks.check_tuning(self.tuning, self.hyperparameters)
        _ = self.derivation

    def __eq__(self, other: object) -> bool:
        # Expressions compare into expressions.
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
                expected="a share between 0 and 1",
                received=repr(self.quarantine_budget),
            )
        check_word(self.duplicate_rows, "duplicate_rows", get_args(DuplicateRows), where="Problem", error=ProblemError)
        check_word(self.no_rows, "no_rows", get_args(NoRows), where="Problem", error=ProblemError)
        try:
            json.dumps(dict(self.hyperparameters))
        except (TypeError, ValueError) as error:
            raise ProblemError(
                "hyperparameters are wrong", where="Problem", expected="JSON values", received=str(error)
            ) from error

    @property
    def task(self) -> Task:
        """What kind of prediction the label asks for."""
        if isinstance(self.label, Numeric):
            return "regression"
        return "binary" if len(self.label.vocabulary or ()) == 2 else "multiclass"

    @property
    def key_name(self) -> str:
        """What Examples call the key: its column's name where that is a plain one, "key" otherwise."""
        return self.key if self.key is not None and COLUMN_NAME.match(self.key) else "key"

    @property
    def columns(self) -> tuple[Numeric | Categorical, ...]:
        """The features that are columns of the table: all but the crosses, in the order declared."""
        return tuple(f for f in self.features if not isinstance(f, Crossed))

    @property
    def weight_column(self) -> Numeric | None:
        """The column of sample weights, or None."""
        return self.weight if isinstance(self.weight, Numeric) else None

    @property
    def targets(self) -> tuple[Numeric | Categorical, ...]:
        """What only training and evaluation read of a row: the label, and the weight if there is one."""
        return (self.label,) if self.weight_column is None else (self.label, self.weight_column)

    @functools.cached_property
    def derivation(self) -> Derivation:
        """What the derived columns are computed from."""
        return Derivation.of(self.derive, self.label, self.columns, self.key, self.weight_column)

    @property
    def quantile_buckets(self) -> dict[str, int]:
        """By column, how many buckets of equally many rows are declared, where no boundaries are."""
        return {c.name: c.buckets for c in self.columns if isinstance(c, Numeric) and isinstance(c.buckets, int)}

    def measured(self, statistics: Mapping[str, Mapping[str, Any]]) -> Problem:
        """The Problem with boundaries in the place of each number of buckets.

        Args:
            statistics: by column, as statistics.json holds them: of Examples that were made for the Problem.
        """
        wanted = self.quantile_buckets
        if not wanted:
            return self
        features = [
            dataclasses.replace(feature, buckets=statistics[feature.name]["buckets"])
            if feature.name in wanted
            else feature
            for feature in self.features
        ]
        return dataclasses.replace(self, features=features)

    @property
    def crosses(self) -> tuple[Crossed, ...]:
        """The crossed features, in the order declared."""
        return tuple(f for f in self.features if isinstance(f, Crossed))

    def to_json(self) -> dict[str, Any]:
        """The declaration as JSON values; each feature says its `kind`."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        plain["label"]["kind"] = type(self.label).__name__
        for feature, declared in zip(plain["features"], self.features, strict=True):
            feature["kind"] = type(declared).__name__
        plain["splits"] = self.splits.to_json()
        plain["derive"] = {name: to_json(expression) for name, expression in self.derive.items()}
        plain["tuning"] = None if self.tuning is None else self.tuning.to_json()
        return plain

    @property
    def schema_digest(self) -> str:
        """Digest of what preprocessing reads of the problem: another gate, batch size or embedding changes nothing."""
        return digests.schema_digest(self.to_json())

    @property
    def training_digest(self) -> str:
        """Digest of what training reads of the problem: another gate or another search changes nothing."""
        return digests.training_digest(self.to_json())

    @property
    def evaluation_digest(self) -> str:
        """Digest of what evaluation reads of the problem: the columns, the gate, the threshold and the costs."""
        return digests.evaluation_digest(self.to_json())

    @property
    def trained(self) -> Problem:
        """The problem as the user's own training code gets it: without what `training_digest` does not cover."""
        return dataclasses.replace(self, gate=None, costs=None, tuning=None, no_rows="skip")
