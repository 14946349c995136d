from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.examples_manifest import without_split

from headrace.components.train.input.examples import open_examples
from headrace.core.errors import DataError, HeadraceError, UsageError
from headrace.core.problem import Numeric, Splits
from headrace.core.problem.file import ProblemFile


@pytest.fixture
def examples(natality_examples: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(natality_examples, tmp_path / "examples"))


def refused(examples: Path, problem: Any) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        open_examples(str(examples), problem)
    return caught.value


def change_manifest(examples: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = examples / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_whole_examples_are_opened(examples: Path, natality: ProblemFile) -> None:
    opened = open_examples(str(examples), natality.problem)
    assert opened.identity == "fedcba9876543210"
    assert opened.statistics["plurality"]["vocabulary"][0][0] == "single"
    assert len(opened.train.files) == 2
    assert opened.train.size == sum(Path(file).stat().st_size for file in opened.train.files)


def test_no_folder_is_a_wrong_option(tmp_path: Path, natality: ProblemFile) -> None:
    error = refused(tmp_path / "nowhere", natality.problem)
    assert isinstance(error, UsageError)
    assert "this folder holds no Examples" in error.paragraph


def test_no_manifest_is_not_whole(examples: Path, natality: ProblemFile) -> None:
    (examples / "manifest.json").unlink()
    error = refused(examples, natality.problem)
    assert isinstance(error, UsageError)
    assert "which `headrace preprocess` writes last. Received: a folder without manifest.json" in error.paragraph


def test_another_format_is_refused(examples: Path, natality: ProblemFile) -> None:
    change_manifest(examples, lambda manifest: manifest.update(format=2))
    assert "Expected format 1. Received: 2" in refused(examples, natality.problem).paragraph


def test_other_columns_are_named(examples: Path, natality: ProblemFile) -> None:
    problem = natality.problem
    more = dataclasses.replace(problem, features=[*problem.features, Numeric("parity")])
    assert (
        'column "parity". Expected numeric feature. Received: no column of this name'
        in refused(examples, more).paragraph
    )
    fewer = dataclasses.replace(problem, features=problem.features[1:-1])
    assert (
        'column "mother_age". Expected no column of this name. Received: numeric feature'
        in refused(examples, fewer).paragraph
    )


def test_another_declaration_of_the_same_columns_is_refused(examples: Path, natality: ProblemFile) -> None:
    problem = dataclasses.replace(natality.problem, splits=Splits(0.6, 0.2, 0.2))
    assert "another declaration of the problem" in refused(examples, problem).paragraph


@pytest.mark.parametrize("split", ["train", "eval"])
def test_an_empty_split_is_refused(examples: Path, natality: ProblemFile, split: str) -> None:
    without_split(examples, split)
    error = refused(examples, natality.problem)
    assert isinstance(error, DataError)
    assert f"the {split} split is empty" in error.paragraph
    assert f"{split}: 0 rows" in error.paragraph


def test_a_shard_that_is_missing_or_cut_short_is_refused(examples: Path, natality: ProblemFile) -> None:
    shard = examples / "train" / "part-00001-of-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "a shard is damaged" in refused(examples, natality.problem).paragraph
    shard.unlink()
    assert "a shard is missing" in refused(examples, natality.problem).paragraph
