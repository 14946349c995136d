"""Evaluation inputs: opens the artifacts, and refuses those that do not belong to the Problem or to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.core import storage
from headrace.core.artifacts import model
from headrace.core.artifacts.open_examples import Split, open_examples
from headrace.core.errors import DataError
from headrace.core.problem import Problem
from headrace.core.statistics.weighted import as_weighted

SplitName = Literal["eval", "test"]


@dataclass(frozen=True)
class EvaluatedSplit:
    """A split of Examples, eval or test.

    Attributes:
        uri: of the Examples.
        identity: of the Examples.
        name: eval or test.
        shards: its rows.
        statistics: by column, of statistics.json, measured on the train split.
        label_statistics: the label's entry there, see `as_weighted`.
    """

    uri: str
    identity: str
    name: SplitName
    shards: Split
    statistics: Mapping[str, Any]
    label_statistics: Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """A Model artifact: its URI, its version, and the local path of its SavedModel."""

    uri: str
    version: str
    saved_model: str


def open_split(uri: str, problem: Problem, name: SplitName) -> EvaluatedSplit:
    """A split of the Examples at `uri`.

    Raises:
        UsageError: the folder holds no Examples.
        DataError: they are damaged or made for another declaration, or the split is empty.
    """
    examples = open_examples(uri, problem)
    label = examples.statistics.get(problem.label.name)
    if label is None:
        raise DataError(
            f'the statistics do not cover the label "{problem.label.name}"',
            where=storage.join(uri, "statistics.json"),
            fix="Run `headrace preprocess` again with this Problem file",
        )
    weighted = as_weighted(label)
    return EvaluatedSplit(uri, examples.manifest.identity, name, examples.split(name), examples.statistics, weighted)


def open_model(uri: str, problem: Problem, *, champion: bool = False) -> Model:
    """The Model at `uri`.

    Raises:
        UsageError: the folder holds no Model.
        DataError: it is damaged, predicts another label, or was exported with another threshold.
    """
    role = "champion" if champion else "Model"
    found = model.open_model(uri, option="champion" if champion else "")
    label, wanted = found.problem["label"], problem.to_json()["label"]
    for fact in ("kind", "name", "vocabulary"):
        if label.get(fact) != wanted.get(fact):
            raise DataError(
                f"the {role} predicts another label than the problem declares",
                where=storage.join(uri, "problem.json"),
                expected=f"{fact} {wanted.get(fact)!r}",
                received=f"{fact} {label.get(fact)!r}",
                fix="Leave the champion out" if champion else "Train again with this Problem file",
            )
    if not champion and found.problem.get("threshold", 0.5) != problem.threshold:
        raise DataError(
            "the Model predicts at another threshold than the problem declares",
            where=storage.join(uri, "problem.json"),
            expected=f"threshold {problem.threshold}",
            received=f"threshold {found.problem.get('threshold', 0.5)}",
            fix="Train again with this Problem file",
        )
    return Model(uri, found.version, str(storage.local_path(found.saved_model)))
