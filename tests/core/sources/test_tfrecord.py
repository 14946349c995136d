"""TFRecord files: features that begin late, and records with another number of values than the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.core.sources import tfrecord
from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.sources.source import Rows
from headrace.core.tfrecord.framing import TFRecordWriter
from headrace.core.values.columns import texts
from headrace.core.values.numbers import parse_numbers

TEXTS, BYTES, FLOATS, INTEGERS = map(pa.list_, (pa.string(), pa.binary(), pa.float32(), pa.int64()))


def write(path: Path, *batches: dict[str, pa.Array]) -> None:
    with TFRecordWriter(path) as writer:
        for columns in batches:
            writer.write_examples(pa.record_batch(columns))


def rows_of(path: Path, columns: list[str], batch_rows: int = 4096) -> list[Rows]:
    return [rows for part in list_parts(str(path)) for rows in read_part(part, columns, batch_rows)]


def test_a_feature_may_begin_after_the_first_records(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    count = 3 * tfrecord._SAMPLE // 200
    early = {"id": pa.array([f"{n:0200}" for n in range(count)])}
    write(path, early, {"id": pa.array(["z"]), "late": pa.array([0.1], pa.float32())})
    columns = dict(source_of(str(path)).columns(str(path), ["id", "late"]))
    assert columns == {"id": pa.string(), "late": pa.float32()}
    # It is not looked for where nobody wants it, and not found where it is not.
    assert [name for name, _ in source_of(str(path)).columns(str(path))] == ["id"]
    assert [name for name, _ in source_of(str(path)).columns(str(path), ["other"])] == ["id"]
    found = [value for rows in rows_of(path, ["late"]) for value in texts(rows.batch["late"])[0].to_pylist()]
    assert found == [None] * count + ["0.1"]


@pytest.mark.parametrize("batch_rows", [7, 4096])
@pytest.mark.parametrize(
    ("usual", "odd", "text"),
    [
        (pa.array(["a"] * 60), pa.array([["b"], ["p", 'q"'], [], None], TEXTS), ["b", '["p", "q\\""]', None, None]),
        (pa.array([b"\xfe"] * 60), pa.array([[b"c"], [b"p", b"d"]], BYTES), ["c", '["p", "d"]']),
        (
            pa.array([0.1] * 60, pa.float32()),
            pa.array([[0.1], [0.1, 2], [16777216], [np.nan], [np.inf], []], FLOATS),
            ["0.1", "[0.1, 2.0]", "16777216", None, "inf", None],
        ),
        (pa.array([5] * 60), pa.array([[-(2**63)], [1, 2]], INTEGERS), ["-9223372036854775808", "[1, 2]"]),
        # Without a second value, numbers keep their type.
        (pa.array([0.1] * 60, pa.float32()), pa.array([[0.1], [], None], FLOATS), ["0.1", None, None]),
    ],
    ids=["texts", "bytes", "fractions", "whole numbers", "no value"],
)  # fmt: skip
def test_a_record_with_another_number_of_values_is_one_row(
    tmp_path: Path, usual: pa.Array, odd: pa.Array, text: list[Any], batch_rows: int
) -> None:
    path = tmp_path / "a.tfrecord"
    write(path, {"v": usual}, {"v": odd}, {"v": usual})
    assert source_of(str(path)).columns(str(path), ["v"]) == [("v", usual.type)]
    batches = rows_of(path, ["v"], batch_rows)
    came = [value for rows in batches for value in texts(rows.batch["v"])[0].to_pylist()]
    assert came[60 : 60 + len(odd)] == text
    assert came[:60] == came[60 + len(odd) :]
    if not pa.types.is_binary(usual.type) and not pa.types.is_string(usual.type):
        wrong = np.concatenate([parse_numbers(rows.batch["v"])[2] for rows in batches])[60:-60]
        assert wrong.tolist() == [each is not None and (each[0] == "[" or each == "inf") for each in text]


def test_lists_stay_lists(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    # One of two, and bytes that no text holds.
    for lists in (pa.array([["a"], ["b", "c"]], TEXTS), pa.array([*[[b"a"]] * 30, [b"\xff", b"b"]], BYTES)):
        write(path, {"v": lists})
        (rows,) = rows_of(path, ["v"])
        assert rows.batch["v"].to_pylist() == lists.cast(BYTES).to_pylist()
    lists = pa.array([[float(n)] * (n % 3) for n in range(60)], FLOATS)
    write(path, {"v": lists})
    assert source_of(str(path)).columns(str(path), ["v"]) == [("v", FLOATS)]
    (rows,) = rows_of(path, ["v"])
    assert rows.batch["v"].to_pylist() == lists.to_pylist()
