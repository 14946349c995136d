"""Evaluation inputs: opens the artifacts, and refuses those that do not belong to the Problem or to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.core import storage
from headrace.core.artifacts import model
from headrace.core.artifacts.open_examples import ExamplesArtifact, SplitFiles, open_examples
from headrace.core.errors import DataError
from headrace.core.problem import Problem
from headrace.core.statistics.weighted import as_weighted
from headrace.core.storage.local_copy import LocalCopy

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
    shards: SplitFiles
    statistics: Mapping[str, Any]
    label_statistics: Mapping[str, Any]


@dataclass(frozen=True)
class EvaluatedModel:
    """A Model artifact.

    Attributes:
        uri: its folder.
        version: of the Model.
        saved_model: local path of its SavedModel.
        held: the object on whose lifetime a downloaded SavedModel depends.
    """

    uri: str
    version: str
    saved_model: str
    held: object = field(default=None, repr=False, compare=False)


def open_split(uri: str, problem: Problem, name: SplitName) -> EvaluatedSplit:
    """A split of the Examples at `uri`.

    Raises:
        UsageError: the folder contains no Examples.
        DataError: they are damaged or of another declaration, or the split is empty.
    """
    examples = open_examples(uri, problem)
    return _evaluated(examples, problem, name, examples.split(name))


def open_newest(uri: str, problem: Problem) -> EvaluatedSplit | None:
    """The test rows of the newest span of a window; None if it has no test rows. Errors as of `open_split`."""
    examples = open_examples(uri, problem)
    newest = examples.manifest.newest
    if newest is not None and not newest.test.rows:
        return None
    return _evaluated(examples, problem, "test", examples.newest_test())


def _evaluated(examples: ExamplesArtifact, problem: Problem, name: SplitName, shards: SplitFiles) -> EvaluatedSplit:
    uri = examples.uri
    label = examples.statistics.get(problem.label.name)
    if label is None:
        raise DataError(
            f'the statistics do not cover the label "{problem.label.name}"',
            where=storage.join(uri, "statistics.json"),
            fix="Run `headrace preprocess` again with this Problem file",
        )
    weighted = as_weighted(label)
    return EvaluatedSplit(uri, examples.manifest.identity, name, shards, examples.statistics, weighted)


def open_model(uri: str, problem: Problem, *, champion: bool = False) -> EvaluatedModel:
    """The Model at `uri`.

    Raises:
        UsageError: the folder contains no Model.
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
    files = LocalCopy(found.saved_model)
    return EvaluatedModel(uri, found.version, files.path, files)
