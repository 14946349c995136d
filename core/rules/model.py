"""Model rules: the rules of the Problem that a Model was trained for, by the Model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from headrace.core.errors import DataError, ProblemError
from headrace.core.expressions import lower_numpy
from headrace.core.expressions.json_form import from_json
from headrace.core.expressions.nodes import Expression
from headrace.core.problem import Categorical, Numeric
from headrace.core.problem.derivation import Derivation
from headrace.core.rules.column import CategoryRule, NumberRule, Rule
from headrace.core.rules.fault import RuleViolation
from headrace.core.rules.mode import Mode, check_mode


@dataclass(frozen=True)
class ModelRules:
    """The rules of a Model's inputs and of the columns that it derives from them.

    Attributes:
        inputs: rule by input of the model.
        derived: rules of the derived features, by name.
        expressions: of the derived features, over inputs.
        order: names of inputs and features in the order in which a row's faults are reported, as preprocess does.
        mode: whether rules are enforced.
    """

    inputs: Mapping[str, Rule] = field(hash=False)
    derived: Mapping[str, Rule] = field(hash=False)
    expressions: Mapping[str, Expression] = field(hash=False, compare=False, repr=False)
    order: tuple[str, ...]
    mode: Mode = "enforce"

    @classmethod
    def of(cls, problem: Mapping[str, Any], categories: Mapping[str, Sequence[str]], mode: Mode = "enforce") -> Self:
        """The rules of a Model.

        Args:
            problem: content of its problem.json.
            categories: the known categories, by column.
            mode: "enforce" or "warn".

        Raises:
            UsageError: the mode is not valid.
            DataError: problem.json is damaged.
        """
        check_mode(mode)
        try:
            columns = [_column(plain) for plain in problem["features"] if plain["kind"] != "Crossed"]
            derive = {str(name): from_json(plain) for name, plain in problem.get("derive", {}).items()}
            derivation = Derivation.of(derive, _column(problem["label"]), columns, problem.get("key"))
        except (KeyError, TypeError, AttributeError, ProblemError) as error:
            raise DataError(
                "the Model does not say which values its columns allow",
                expected="the declaration of its Problem, by this release or an earlier one",
                received=f"{type(error).__name__}: {error}",
                fix="Copy the Model again, or train again",
            ) from error

        def rule(column: Numeric | Categorical, *, derived: bool) -> Rule:
            if isinstance(column, Numeric):
                return NumberRule(column, mode, derived, feature=column.name in derivation.exact)
            named = column.vocabulary is not None or column.hash_buckets is not None
            learned = () if named else categories.get(column.name, ())
            return CategoryRule(column, tuple(learned[: column.max_vocabulary]), mode, derived)

        derived = {c.name: rule(c, derived=True) for c in columns if c.name in derivation.features}
        breakable = {name: of for name, of in derived.items() if _can_break(of)}
        return cls(
            inputs={column.name: rule(column, derived=False) for column in derivation.served},
            derived=breakable,
            expressions={name: derivation.features[name] for name in breakable},
            order=tuple(column.name for column in (*derivation.inputs, *columns)),
            mode=mode,
        )

    def position(self, column: str | None) -> int:
        """The index of a column in `order`; columns that are not inputs, such as a key, come first."""
        return self.order.index(column) if column in self.order else -1

    def derived_faults(self, columns: Mapping[str, npt.NDArray[Any]]) -> tuple[list[RuleViolation], Mapping[str, Any]]:
        """The rules that derived features break.

        Args:
            columns: by input, [rows] of float32, float64 or str objects; NaN or "" where missing or at fault.

        Returns:
            The faults, and the derived columns by name.
        """
        if not self.derived:
            return [], {}
        made = lower_numpy.derive(self.expressions, columns)
        found: list[RuleViolation] = []
        for name, rule in self.derived.items():
            found += faults_of(rule, name, made[name])
        return found, made


def faults_of(rule: Rule, name: str, column: npt.NDArray[Any]) -> list[RuleViolation]:
    """The rules that a column of typed values breaks: floats (NaN: missing), or objects of str ("": missing)."""
    if isinstance(rule, NumberRule):
        if rule.hold(column):
            return []
        return rule.faults(name, column.astype(np.float64), np.isnan(column), np.zeros(len(column), np.bool_))
    missing = np.asarray(column == "", np.bool_)
    unknown = np.zeros(len(column), np.bool_)
    if rule.known:
        known = rule.known
        unknown = ~missing & np.fromiter((text not in known for text in column), np.bool_, len(column))
    return rule.faults(name, missing, unknown)


def _column(plain: Mapping[str, Any]) -> Numeric | Categorical:
    fields = {name: value for name, value in plain.items() if name != "kind"}
    return Numeric(**fields) if plain["kind"] == "Numeric" else Categorical(**fields)


def _can_break(rule: Rule) -> bool:
    declared = rule.declared
    if isinstance(rule, NumberRule):
        return True
    return not declared.optional or declared.max_missing is not None or bool(rule.known)
