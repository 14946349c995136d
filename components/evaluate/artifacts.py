"""Opens the artifacts that evaluation reads, and refuses those that do not belong to the problem or to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.core import storage
from headrace.core.artifacts import model
from headrace.core.artifacts.open_examples import Split, open_examples
from headrace.core.errors import DataError
from headrace.core.problem import Problem


@dataclass(frozen=True)
class TestSplit:
    """The test split of Examples.

    Attributes:
        uri: of the Examples.
        identity: of the Examples.
        shards: its rows.
        label_statistics: the label's entry in statistics.json, measured on the train split.
        statistics: by column, likewise.
    """

    uri: str
    identity: str
    shards: Split
    label_statistics: Mapping[str, Any]
    statistics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A Model artifact: its URI, its version, and the local path of its SavedModel."""

    uri: str
    version: str
    saved_model: str


def open_test_split(uri: str, problem: Problem) -> TestSplit:
    """The test split of the Examples at `uri`.

    Raises:
        UsageError: the folder holds no Examples.
        DataError: they are damaged or of another declaration, or their test split is empty.
    """
    examples = open_examples(uri, problem)
    label = examples.statistics.get(problem.label.name)
    if label is None:
        raise DataError(
            f'the statistics do not cover the label "{problem.label.name}"',
            where=storage.join(uri, "statistics.json"),
            fix="Run `headrace preprocess` again with this Problem file",
        )
    return TestSplit(uri, examples.manifest.identity, examples.split("test"), label, examples.statistics)


def open_model(uri: str, problem: Problem, *, champion: bool = False) -> Model:
    """The Model at `uri`.

    Raises:
        UsageError: the folder holds no Model.
        DataError: it is damaged, or predicts another label.
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
    return Model(uri, found.version, str(storage.local_path(found.saved_model)))
