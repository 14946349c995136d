"""Training options: everything that a command line or a pipeline can set in addition to the Problem file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.components.train.config import OVERRIDES, TrainConfig, with_overrides
from headrace.components.train.options import Budget, Checkpointing, Distribution, Input, Options, Tracking
from headrace.core.artifacts.model import version_of
from headrace.core.checks import is_finite
from headrace.core.errors import UsageError
from headrace.core.problem import METRICS, Problem, Training
from headrace.core.problem.file import ProblemFile
from headrace.core.steps import identity as lineage

_GROUPS = {
    "distribution": Distribution,
    "input": Input,
    "checkpointing": Checkpointing,
    "budget": Budget,
    "tracking": Tracking,
}
_WARM_START = ("warm_start", "warm_start_version")


@dataclass(frozen=True)
class TrainingRequest:
    """The options of a training, the same in a command line, a pipeline's parameter `training` and the loop.

    Attributes:
        warm_start: a Model with whose weights training starts; "" for new weights.
        warm_start_version: the version that this Model must have, as it was submitted; "" accepts any.
        options: devices, input, checkpoints, budget and tracking.
        overrides: arguments of Training (batch_size, epochs, steps, learning_rate, seed) used instead of the problem's.

    Raises:
        UsageError: an override does not exist, or a value is outside its range.
    """

    warm_start: str = ""
    warm_start_version: str = ""
    options: Options = field(default_factory=Options)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _WARM_START:
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} is wrong", expected="text", received=repr(getattr(self, name)))
        given = {name: value for name, value in self.overrides.items() if value is not None}
        _refuse_unknown(given, OVERRIDES)
        object.__setattr__(self, "overrides", given)
        self.apply_to(Training())

    def to_json(self) -> dict[str, Any]:
        """The options that differ from their defaults, by their names in the command line.

        The folder of the checkpoints is omitted, because it depends on the machine.
        """
        starts = {name: getattr(self, name) for name in _WARM_START if getattr(self, name)}
        groups: dict[str, Any] = {}
        for group in _GROUPS:
            values = getattr(self.options, group)
            changed = _not_default(values)
            groups |= {_option(f): changed[f.name] for f in dataclasses.fields(values) if f.name in changed}
        groups.pop("", None)
        return {**starts, **groups, **self.overrides}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TrainingRequest:
        """The options of a JSON object from `to_json`; an option that is missing or None has its default.

        Raises:
            UsageError: an option does not exist, or a value has another type or is outside its range.
        """
        if not isinstance(plain, Mapping):
            raise UsageError(
                "the options of a training are wrong",
                where="training",
                expected='a JSON object such as {"max_hours": 2}',
                received=repr(plain),
            )
        given = {name: value for name, value in plain.items() if value is not None}
        _refuse_unknown(given, OPTIONS)
        groups: dict[str, Any] = {}
        for group, kind in _GROUPS.items():
            known = {_option(f): f for f in dataclasses.fields(kind)}
            groups[group] = kind(**{known[n].name: _typed(known[n], v) for n, v in given.items() if n in known})
        overridden = [f for f in dataclasses.fields(Training) if f.name in OVERRIDES]
        return cls(
            **{name: given[name] for name in _WARM_START if name in given},
            options=Options(**groups),
            overrides={f.name: _typed(f, given[f.name]) for f in overridden if f.name in given},
        )

    def check(self, problem: Problem) -> None:
        """Checks the options that depend on the problem.

        Raises:
            UsageError: the target's metric does not exist for the problem's task.
        """
        if not self.options.budget.target:
            return
        metric, _ = self.options.budget.target_metric()
        known = METRICS[problem.task]
        if metric not in known:
            raise UsageError(
                "the target is of another task",
                where="--target",
                expected=f"for {problem.task}, one of {', '.join(known)}",
                received=f'"{metric}"',
            )

    def of_trials(self) -> TrainingRequest:
        """The options of each trial of a search: without the budget in hours and money, which limits the whole search.

        Returns:
            The same options without that budget.
        """
        budget = Budget(target=self.options.budget.target)
        return dataclasses.replace(self, options=dataclasses.replace(self.options, budget=budget))

    def check_search(self, space: Mapping[str, Any]) -> None:
        """Refuses an override of a parameter that a search chooses.

        Args:
            space: the search space of the Problem's `tuning`, by parameter.

        Raises:
            UsageError: such a parameter is overridden; the error names the option.
        """
        both = sorted(set(self.overrides) & set(space))
        if both:
            raise UsageError(
                f"the search chooses {both[0]}",
                where=f"--{both[0].replace('_', '-')}",
                expected="an option that Tuning(space=...) does not search",
                received=f"{both[0]} in both",
            )

    def apply_to(self, training: Training) -> Training:
        """Returns `training` with the overrides applied.

        Raises:
            UsageError: an override is outside its range.
        """
        return with_overrides(training, self.overrides)

    def config(
        self, file: ProblemFile, *, examples: str, output: str, checkpoints: str, identity: str = ""
    ) -> TrainConfig:
        """The configuration of the training.

        Args:
            file: the problem.
            examples: the Examples artifact.
            output: the folder in which the Model is published.
            checkpoints: the folder of the checkpoints; "" writes none.
            identity: the Model's version, for a trial; "" computes it from the options.

        Raises:
            UsageError: an override is outside its range, the warm start is not a Model, the target is of another task,
                or the folder contains no Examples.
        """
        self.check(file.problem)
        made_from = lineage.examples_identity_of(examples)
        checkpointing = dataclasses.replace(self.options.checkpointing, folder=checkpoints)
        return TrainConfig(
            examples=examples,
            output=output,
            identity=identity or self.identity(file, made_from),
            run_identity=identity or self.run_identity(file, made_from),
            warm_start=self.warm_start,
            options=dataclasses.replace(self.options, checkpointing=checkpointing),
            **self.overrides,
        )

    def identity(self, file: ProblemFile, examples_identity: str, parameters: Mapping[str, Any] | None = None) -> str:
        """The Model's version: a digest of everything that the weights depend on, including the budget.

        Args:
            file: the problem.
            examples_identity: identity of the Examples.
            parameters: the parameters of a trial, by name.
        """
        return lineage.train_identity(file, examples_identity, {**self.facts(), **(parameters or {})})

    def run_identity(self, file: ProblemFile, examples_identity: str) -> str:
        """The identity by which a run finds its checkpoints.

        It does not contain the budget, because the state after a step does not depend on it: a killed run can
        therefore resume with a larger budget.
        """
        return lineage.train_identity(file, examples_identity, self._facts())

    def facts(self) -> dict[str, Any]:
        """The options that the weights depend on and that differ from their defaults, as JSON values."""
        return {**self._facts(), **_not_default(self.options.budget.effective)}

    def _facts(self) -> dict[str, Any]:
        """The same options without the budget."""
        distribution = _not_default(self.options.distribution)
        sharding = {n: v for n, v in _not_default(self.options.input).items() if n in ("sharding", "deterministic")}
        facts = {**distribution, **sharding, **self.overrides}
        if self.warm_start:
            facts["warm_start"] = self._checked_warm_start()
        return facts

    def _checked_warm_start(self) -> str:
        found = warm_start_version(self.warm_start)
        if self.warm_start_version not in ("", found):
            raise UsageError(
                "the warm start is not the Model that was submitted",
                where=self.warm_start,
                expected=f"version {self.warm_start_version}",
                received=f"version {found}",
                fix="Submit the run again",
            )
        return found


def warm_start_version(model: str) -> str:
    """The version of the Model that training starts from; raises the errors of `model.version_of`."""
    return version_of(model, option="--warm-start")


def _option(of: dataclasses.Field[Any]) -> str:
    """A field's name in the command line and in JSON; "" if the field is not an option."""
    return str(of.metadata.get("option", of.name))


def _not_default(options: Any) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    fields = ((f.name, getattr(options, f.name), f.default) for f in dataclasses.fields(options))
    return {name: value for name, value, default in fields if value != default}


def _refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            raise UsageError(
                f"training has no option {name!r}",
                where="training",
                expected=f"one of {', '.join(known)}",
                received=repr(name),
                fix=f"Perhaps {close[0]!r} is meant" if close else None,
            )


def _typed(of: dataclasses.Field[Any], value: Any) -> Any:
    """A number in its field's type: an engine stores all numbers of a JSON object as floats, so 2 hours are 2.0."""
    if not is_finite(value):
        return value
    if "float" in str(of.type):
        return float(value)
    return int(value) if float(value).is_integer() else value


# All options by name.
OPTIONS: tuple[str, ...] = (
    *_WARM_START,
    *(name for kind in _GROUPS.values() for f in dataclasses.fields(kind) if (name := _option(f))),
    *OVERRIDES,
)
