"""The manifest's account, and the schema, written and read back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.core.artifacts.examples import (
    Manifest,
    NewestSpan,
    Quarantine,
    Schema,
    SchemaColumn,
    Shard,
    SourceFile,
    Split,
)
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Crossed, Numeric, Problem


def manifest(**changes: Any) -> Manifest:
    def split(name: str, *rows: int) -> Split:
        shards = (Shard(f"{name}/part-{n:05d}", count, 100, "00000000") for n, count in enumerate(rows))
        return Split(sum(rows), tuple(shards))

    right: dict[str, Any] = {
        "identity": "0123456789abcdef",
        "problem": "natality",
        "schema_digest": "d",
        "data_version": "v",
        "source": (SourceFile("a.csv", 10, 7), SourceFile("b.csv", 20, 5)),
        "rows_in": 12,
        "rows_out": 10,
        "rows_quarantined": 2,
        "splits": {"train": split("train", 4, 3), "eval": split("eval", 2), "test": split("test", 1)},
        "quarantine": Quarantine(0.5, {"missing_value": 1, "duplicate_key": 1}, ("quarantine/part.jsonl",)),
    }
    return Manifest(**(right | changes))


def test_written_and_read_back_it_is_the_same(tmp_path: Path) -> None:
    manifest().write(str(tmp_path))
    assert Manifest.read(str(tmp_path)) == manifest()
    plain = json.loads((tmp_path / "manifest.json").read_text())
    assert plain["format"] == 1
    assert plain["splits"]["train"]["shards"][1] == {
        "file": "train/part-00001",
        "rows": 3,
        "bytes": 100,
        "crc32c": "00000000",
    }


def test_a_window_names_the_folder_of_its_shards_and_its_newest_span(tmp_path: Path) -> None:
    window = manifest(files_in="gs://bucket/spans", newest=NewestSpan("2026-01-02", manifest().splits["test"]))
    window.write(str(tmp_path))
    assert Manifest.read(str(tmp_path)) == window
    assert quarantine_files(str(tmp_path)) == ["gs://bucket/spans/quarantine/part.jsonl"]
    # Other Examples have neither in their manifest.
    assert not {"files_in", "newest"} & set(manifest().to_json())


@pytest.mark.parametrize(
    ("changes", "expected", "received"),
    [
        (
            {"newest": NewestSpan("1", Split(2, (Shard("eval/part-00000", 2, 100, "00000000"),)))},
            "test rows of the newest span among the test rows",
            "eval/part-00000",
        ),
        ({"rows_out": 11}, "rows_in = rows_out + rows_quarantined", "12 = 11 + 2"),
        ({"rows_out": 11, "rows_in": 13}, "rows_in = the rows of all sources", "13 = 12"),
        (
            {"rows_out": 11, "rows_quarantined": 1, "quarantine": Quarantine(0.5, {"missing_value": 1}, ())},
            "rows_out = the rows of all splits",
            "11 = 10",
        ),
        ({"quarantine": Quarantine(0.5, {}, ())}, "rows_quarantined = the rows of all reasons", "2 = 0"),
        ({"splits": {"train": Split(10, ())}}, "the splits train, eval, test", "train"),
        (
            {"splits": manifest().splits | {"test": Split(2, (Shard("t", 1, 1, "0"),))}},
            "rows of test = rows of its shards",
            "2 = 1",
        ),
    ],
)
def test_numbers_that_do_not_add_up_are_refused(changes: dict[str, Any], expected: str, received: str) -> None:
    with pytest.raises(DataError) as error:
        manifest(**changes)
    assert (error.value.what, error.value.expected, error.value.received) == (
        "the manifest contradicts itself",
        expected,
        received,
    )


def test_a_reason_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DataError, match="among missing_value"):
        manifest(quarantine=dataclasses.replace(manifest().quarantine, reasons={"bad_luck": 2}))


@pytest.mark.parametrize("content", ['{"format": 2}', '{"format": 1}', "[]", "{}", "no json"])
def test_another_file_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    (tmp_path / "schema.json").write_text(content)
    for kind, name in ((Manifest, "manifest.json"), (Schema, "schema.json")):
        with pytest.raises(DataError) as error:
            kind.read(str(tmp_path))
        assert error.value.where == f"{tmp_path}/{name}"


def test_a_manifest_that_contradicts_itself_is_refused_when_read(tmp_path: Path) -> None:
    plain = manifest().to_json() | {"rows_in": 13}
    (tmp_path / "manifest.json").write_text(json.dumps(plain))
    with pytest.raises(DataError, match=r"manifest\.json: the manifest contradicts itself"):
        Manifest.read(str(tmp_path))


def test_the_schema_of_a_problem(tmp_path: Path) -> None:
    problem = Problem(
        "p",
        "id",
        Categorical("y", vocabulary=["no", "yes"]),
        [Numeric("x", buckets=[1], optional=True), Categorical("c"), Crossed("x", "c", hash_buckets=4)],
    )
    schema = Schema.of(problem)
    assert schema.columns == (
        SchemaColumn("x", "numeric", "feature", True),
        SchemaColumn("c", "categorical", "feature"),
        SchemaColumn("y", "categorical", "label"),
        SchemaColumn("id", "key", "key"),
    )
    (tmp_path / "schema.json").write_text(json.dumps(schema.to_json()))
    assert Schema.read(str(tmp_path)) == schema
