"""What is asked of a training beyond its Problem file, from a shell or as the text inputs of a pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.components.train.config import TrainConfig, with_overrides
from headrace.components.train.options import Budget, Checkpointing, Distribution, Options
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.problem import METRICS, Problem, Training
from headrace.core.problem.file import ProblemFile
from headrace.core.steps import identity as lineage


@dataclass(frozen=True)
class Inputs:
    """The same as texts, which is what optional inputs of a pipeline are: "" leaves it to the default.

    Attributes:
        warm_start: a Model whose weights training starts from.
        warm_start_version: the version that it must have: what was submitted is what runs. An engine's cache sees by it
            that another Model is in the same place.
        strategy, precision: as in `options.Distribution`.
        max_hours, max_cost, price_per_hour: numbers, as in `options.Budget`.
        target: "metric=value".
        checkpoint_minutes: a number, as in `options.Checkpointing`; it does not change what is trained.
    """

    warm_start: str = ""
    warm_start_version: str = ""
    strategy: str = ""
    precision: str = ""
    max_hours: str = ""
    max_cost: str = ""
    price_per_hour: str = ""
    target: str = ""
    checkpoint_minutes: str = ""

    def request(self) -> Request:
        """What they ask for.

        Raises:
            UsageError: a text that is none of what is expected, or a Model of another version than was submitted.
        """
        words = {name: getattr(self, name) for name in ("strategy", "precision") if getattr(self, name)}
        numbers = {n: _number(n, getattr(self, n)) for n in ("max_hours", "max_cost", "price_per_hour")}
        minutes = _number("checkpoint_minutes", self.checkpoint_minutes)
        options = Options(
            distribution=Distribution(**words),
            checkpointing=Checkpointing() if minutes is None else Checkpointing(minutes=minutes),
            budget=Budget(**numbers, target=self.target),
        )
        if self.warm_start and self.warm_start_version:
            found = warm_start_version(self.warm_start)
            if found != self.warm_start_version:
                raise UsageError(
                    "the warm start is not the Model that was submitted",
                    where=self.warm_start,
                    expected=f"version {self.warm_start_version}",
                    received=f"version {found}",
                    fix="Submit the run again",
                )
        return Request(warm_start=self.warm_start, options=options)


@dataclass(frozen=True)
class Request:
    """What is asked of a training.

    Attributes:
        warm_start: a Model whose weights training starts from; "" starts anew.
        options: devices, input, checkpoints and budget.
        overrides: values by argument of Training, used instead of the problem's.
    """

    warm_start: str = ""
    options: Options = field(default_factory=Options)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def check(self, problem: Problem) -> None:
        """Checks what depends on the problem.

        Raises:
            UsageError: the target's metric is none of the problem's task.
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

    def apply_to(self, training: Training) -> Training:
        """`training` with the overrides in place.

        Raises:
            UsageError: an override outside its range.
        """
        return with_overrides(training, self.overrides)

    def config(self, file: ProblemFile, *, examples: str, output: str, checkpoints: str) -> TrainConfig:
        """The configuration of the training.

        Args:
            file: the problem.
            examples: the Examples artifact.
            output: where the Model is published.
            checkpoints: the folder of checkpoints; "" keeps none.

        Raises:
            UsageError: an override outside its range, a warm start that is no Model, a target of another task.
            DataError: there are no whole Examples.
        """
        self.check(file.problem)
        made_from = lineage.examples_identity_of(examples)
        checkpointing = dataclasses.replace(self.options.checkpointing, folder=checkpoints)
        return TrainConfig(
            examples=examples,
            output=output,
            identity=self.identity(file, made_from),
            run_identity=self.run_identity(file, made_from),
            warm_start=self.warm_start,
            options=dataclasses.replace(self.options, checkpointing=checkpointing),
            **self.overrides,
        )

    def identity(self, file: ProblemFile, examples_identity: str) -> str:
        """The Model's version: it follows from all that the weights depend on, the budget included."""
        return lineage.train_identity(file, examples_identity, self.facts())

    def run_identity(self, file: ProblemFile, examples_identity: str) -> str:
        """What a run resumes by. The state after a step does not depend on when training is to end.

        So a run that was killed goes on where it was with more time as well.
        """
        return lineage.train_identity(file, examples_identity, self._facts())

    def facts(self) -> dict[str, Any]:
        """What was asked for otherwise than by default, as JSON values."""
        budget = _not_default(self.options.budget)
        # A price alone ends nothing.
        return {**self._facts(), **{n: v for n, v in budget.items() if n != "price_per_hour" or "max_cost" in budget}}

    def _facts(self) -> dict[str, Any]:
        """The same without the budget."""
        distribution = _not_default(self.options.distribution)
        sharding = {n: v for n, v in _not_default(self.options.input).items() if n in ("sharding", "deterministic")}
        facts = {**distribution, **sharding, **{n: v for n, v in self.overrides.items() if v is not None}}
        if self.warm_start:
            facts["warm_start"] = warm_start_version(self.warm_start)
        return facts


def warm_start_version(model: str) -> str:
    """The version of the Model that training starts from.

    Raises:
        UsageError: there is no Model.
    """
    if not storage.exists(storage.join(model, "training.json")):
        raise UsageError(
            "the warm start is not a Model",
            where="--warm-start",
            expected="a folder with training.json, which `headrace train` wrote",
            received=model,
        )
    return lineage.model_version_of(model)


def _not_default(options: Any) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    fields = ((f.name, getattr(options, f.name), f.default) for f in dataclasses.fields(options))
    return {name: value for name, value, default in fields if value != default}


def _number(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{name} is wrong", expected="a number", received=repr(text)) from error
