"""Sample weights through preprocessing: in records, schema and statistics, and when rows are added later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.components.preprocess.append.spans import add_span, append
from headrace.components.preprocess.append_index import STATISTICS, complete
from headrace.components.preprocess.check import check_data
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest, Schema
from headrace.core.artifacts.open_examples import open_examples
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError
from headrace.core.expressions.functions import col, if_else
from headrace.core.problem import Categorical, Numeric, Problem, Splits
from headrace.core.problem.file import ProblemFile
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

HEADER = "id,x,price,bought,weight of it"
WEIGHT = Numeric("w", column="weight of it")


def file_of(label: str = "class", **declared: Any) -> ProblemFile:
    kinds = {"class": Categorical("bought", vocabulary=["no", "yes"]), "number": Numeric("price")}
    options = {"splits": Splits(0.6, 0.2, 0.2), "quarantine_budget": 0.1, "weight": WEIGHT, **declared}
    return ProblemFile(Problem("shop", "id", kinds[label], [Numeric("x")], **options), "shop.py", "", "", None)


def rows(count: int, start: int = 0) -> list[str]:
    numbers = range(start, start + count)
    return [f"k{n},{n % 5},{n % 11}.5,{'yes' if n % 3 else 'no'},{n % 4}" for n in numbers]


def write(path: Path, lines: list[str]) -> PreprocessConfig:
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return PreprocessConfig(str(path), str(path.parent / f"{path.stem}-examples"), "0" * 16)


def train_rows(examples: Path) -> dict[str, Any]:
    names = ["id", "price", "bought", "w"]
    found: dict[str, list[Any]] = {name: [] for name in names}
    for file in sorted(examples.glob("train/*.tfrecord")):
        for records in read_records(file, compressed=False):
            batch = decode(records, [name for name in names if name in _stored(examples)])
            for name in batch.schema.names:
                found[name] += batch.column(name).to_pylist()
    return found


def _stored(examples: Path) -> list[str]:
    return [column.name for column in Schema.read(str(examples)).columns]


def test_weights_are_checked_stored_and_measured(tmp_path: Path) -> None:
    bad = ["-1", "", "inf", "much"]
    lines = [*rows(100), *(f"bad{n},1,1.5,no,{text}" for n, text in enumerate(bad))]
    result = preprocess(file_of(), write(tmp_path / "data.csv", lines))
    assert (result.rows_in, result.rows_quarantined) == (104, 4)
    assert result.reasons == {"missing_value": 1, "not_a_number": 2, "out_of_range": 1}
    examples = tmp_path / "data-examples"
    (quarantine,) = quarantine_files(str(examples))
    told = [(row.values["id"], row.fault.column, row.fault.message) for row in read_rows(quarantine)]
    assert told[0][:2] == ("bad0", "weight of it")
    assert told[0][2].startswith('weight of it is "-1", which is not between 0 and ')
    assert told[1][2] == "weight of it is missing, and is not optional"
    roles = {column.name: column.role for column in Schema.read(str(examples)).columns}
    assert roles == {"x": "feature", "bought": "label", "w": "weight", "id": "key"}
    stored = train_rows(examples)
    assert stored["w"] == [int(key[1:]) % 4 for key in stored["id"]]
    statistics = storage.read_json(str(examples / "statistics.json"))["columns"]
    assert statistics["w"]["mean"] == pytest.approx(np.mean(stored["w"]))
    by_class = {
        name: sum(w for w, y in zip(stored["w"], stored["bought"], strict=True) if y == name.encode())
        for name in ("no", "yes")
    }
    assert statistics["bought"]["weighted"]["weight"] == sum(stored["w"])
    assert dict(statistics["bought"]["weighted"]["vocabulary"]) == by_class


def test_a_weight_that_the_label_decides_is_one_of_classes_in_metrics_too(tmp_path: Path) -> None:
    file = file_of(weight="w", derive={"w": if_else(col("bought") == "yes", 5, 1)})
    preprocess(file, write(tmp_path / "data.csv", rows(100)))
    stored = train_rows(tmp_path / "data-examples")
    assert stored["w"] == [5.0 if label == b"yes" else 1.0 for label in stored["bought"]]
    label = storage.read_json(str(tmp_path / "data-examples" / "statistics.json"))["columns"]["bought"]
    counts = {name: sum(label == name.encode() for label in stored["bought"]) for name in ("no", "yes")}
    assert dict(label["weighted"]["vocabulary"]) == {"no": counts["no"], "yes": 5 * counts["yes"]}


def test_the_mean_of_the_label_by_weight_whatever_the_rows_came_in(tmp_path: Path) -> None:
    """At once, in two spans, and appended: of parts and of their sketches, or measured again where there are none."""
    file, lines = file_of("number"), rows(200)
    preprocess(file, write(tmp_path / "whole.csv", lines))
    stored = train_rows(tmp_path / "whole-examples")
    expected = {"weight": sum(stored["w"]), "mean": pytest.approx(np.average(stored["price"], weights=stored["w"]))}
    for name in ("spanned", "appended"):
        place = str(tmp_path / name)
        for span, part in enumerate((lines[:120], lines[120:])):
            config = write(tmp_path / f"{name}-{span}.csv", part)
            added = PreprocessConfig(config.data, place, storage.fingerprint([config.data])[:16])
            if name == "spanned":
                add_span(file, added, str(span))
            elif not span:
                preprocess(file, added)
                _without_sketches(Path(place))
            else:
                append(file, added)
    for name in ("whole-examples", "spanned", "appended"):
        columns = storage.read_json(str(tmp_path / name / "statistics.json"))["columns"]
        assert columns["price"]["weighted"] == expected, name
        assert open_examples(str(tmp_path / name), file.problem).manifest.rows_out == 200


def _without_sketches(examples: Path) -> None:
    path = examples / "manifest.json"
    plain = json.loads(path.read_text())
    del plain["sketches"]
    path.write_text(json.dumps(plain))
    (examples / STATISTICS).unlink()


def test_rows_that_differ_in_weight_are_not_equal(tmp_path: Path) -> None:
    lines = [*rows(60), "a,7,1.5,no,1", "b,7,1.5,no,1", "c,7,1.5,no,2"]
    result = preprocess(file_of("number", duplicate_rows="quarantine"), write(tmp_path / "data.csv", lines))
    assert result.reasons == {"duplicate_row": 1}
    again = complete(file_of("number", duplicate_rows="quarantine").problem, tmp_path / "data-examples")
    assert again.rows_out == 62


def test_a_table_without_the_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("id,x,bought,weight\nk,1,no,2\n")
    with pytest.raises(DataError) as caught:
        check_data(file_of().problem, str(tmp_path / "data.csv"))
    assert caught.value.what == 'the column "weight of it", which is the weight, does not exist'
    assert caught.value.fix == 'Perhaps the column "weight" is meant'


def test_examples_of_another_weight_are_refused(tmp_path: Path) -> None:
    preprocess(file_of(weight=None), write(tmp_path / "data.csv", rows(60)))
    assert Manifest.read(str(tmp_path / "data-examples")).schema_digest == file_of(weight=None).problem.schema_digest
    with pytest.raises(DataError) as caught:
        open_examples(str(tmp_path / "data-examples"), file_of().problem)
    assert caught.value.what == 'the Examples do not fit the problem: column "w"'
