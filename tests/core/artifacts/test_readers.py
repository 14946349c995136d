"""A folder that holds no artifact of the kind that is needed: one error, whatever reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.examples_manifest import write_manifest

from headrace.core.artifacts import model as model_artifact
from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.open_examples import open_examples
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Numeric, Problem
from headrace.core.steps import identity

PROBLEM = Problem("small", "id", Numeric("y"), [Numeric("x")])
READERS: dict[str, tuple[Callable[[str], Any], ...]] = {
    "Examples": (Manifest.read, identity.examples_identity_of, lambda uri: open_examples(uri, PROBLEM)),
    "Model": (model_artifact.open_model, identity.model_version_of, model_artifact.complete_version),
    "Predictions": (PredictionsManifest.read,),
}
CASES = [(kind, reader) for kind, readers in READERS.items() for reader in readers]


@pytest.mark.parametrize(("kind", "read"), CASES)
def test_every_reader_says_so_in_the_same_words(kind: str, read: Callable[[str], Any], tmp_path: Path) -> None:
    command, marker = {
        "Examples": ("preprocess", "manifest.json"),
        "Model": ("train", "training.json"),
        "Predictions": ("score", "manifest.json"),
    }[kind]
    for folder in ("nowhere", "empty"):
        if folder == "empty":
            (tmp_path / folder).mkdir()
        with pytest.raises(UsageError) as caught:
            read(str(tmp_path / folder))
        assert caught.value.what == f"this folder holds no {kind}"
        assert caught.value.where == str(tmp_path / folder)
        assert caught.value.expected == f"a folder with {marker}, which `headrace {command}` writes last"
        assert caught.value.fix is not None


def test_examples_are_no_predictions_and_the_other_way_round(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    with pytest.raises(UsageError, match=r"holds no Predictions\..*Received: Examples"):
        PredictionsManifest.read(str(tmp_path))
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "sink": "parquet"}))
    with pytest.raises(UsageError, match=r"holds no Examples\..*Received: Predictions"):
        Manifest.read(str(tmp_path))


def test_a_model_is_read_once_and_for_all(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = model_artifact.open_model(str(make_model(tmp_path / "model", "v1")))
    assert (model.version, model.problem["name"]) == ("v1", "natality")
    assert model.saved_model == str(tmp_path / "model" / "saved_model")
    assert [column["role"] for column in model.columns()] == ["feature"] * 4 + ["label", "key"]
    golden = model.golden()
    assert golden is not None
    assert len(golden["instances"]) == 3
    (tmp_path / "model" / "golden.json").unlink()
    assert model.golden() is None


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("training.json", "[]", "the Model is damaged"),
        ("training.json", '{"format": 1}', "the Model is damaged"),
        ("training.json", '{"model_version": "../v1"}', "the model version is not valid"),
        ("training.json", '{"model_version": 7}', "the model version is not valid"),
        ("problem.json", "{}", "the Model is damaged"),
        ("saved_model/saved_model.pb", None, "the Model holds no SavedModel"),
    ],
)
def test_a_damaged_model_is_named(
    name: str, content: str | None, what: str, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    folder = make_model(tmp_path / "model", "v1")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(DataError) as caught:
        model_artifact.open_model(str(folder))
    assert caught.value.what == what
    assert str(caught.value.where).startswith(str(folder / name).removesuffix("/saved_model.pb"))
