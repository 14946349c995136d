"""Record scoring: predictions and rejections of a batch, each as if its record had been alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_model import INSTANCES, NAN_AGE, expected_weight

from headrace.components.stream.models.load import LoadedModel
from headrace.components.stream.records.codec import ArrowCodec, JsonCodec, codec_of
from headrace.components.stream.records.score import RecordResult, no_model, score_records
from headrace.core.errors import UsageError
from headrace.core.rules.counts import RuleCounts

ROW = {"mother_age": 30, "gestation_weeks": 40, "plurality": "1", "mother_smokes": "true"}
BAD: list[tuple[bytes | None, str]] = [
    (None, "malformed_row"),
    (b"", "malformed_row"),
    (b"{", "malformed_row"),
    (b"[1]", "malformed_row"),
    (b'"text"', "malformed_row"),
    (b"\xff\xfe", "malformed_row"),
    (b"{}", "missing_value"),
    (json.dumps({**ROW, "mother_age": "old"}).encode(), "not_a_number"),
    (json.dumps({**ROW, "mother_age": 1e40}).encode(), "out_of_range"),
    (json.dumps({**ROW, "plurality": [1]}).encode(), "malformed_row"),
    (json.dumps({**ROW, "key": {"a": 1}}).encode(), "malformed_row"),
    (json.dumps({**ROW, "key": "a", "record_id": "b"}).encode(), "malformed_row"),
    (json.dumps({**ROW, "plurality": "\ud800"}).encode(), "malformed_row"),
    (json.dumps({**ROW, "mother_age": NAN_AGE}).encode(), "not_finite"),
]


def encoded(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode()


def prediction_of(result: RecordResult) -> dict[str, Any]:
    assert result.prediction is not None
    found: dict[str, Any] = json.loads(result.prediction)
    return found


def test_predictions_name_their_key_version_and_epoch(loaded: LoadedModel) -> None:
    results = score_records([encoded(row) for row in INSTANCES], loaded, JsonCodec())
    for row, result in zip(INSTANCES, results, strict=True):
        assert result.rejected is None
        found = prediction_of(result)
        assert found["prediction"] == pytest.approx(expected_weight(row))
        expected = {"key": row["key"], "model_version": "loaded", "model_epoch": 3}
        assert {name: found[name] for name in expected} == expected
        assert set(found) == {*expected, "prediction"}


@pytest.mark.parametrize(("value", "reason"), BAD)
def test_a_bad_record_has_a_reason_and_changes_no_other(value: bytes | None, reason: str, loaded: LoadedModel) -> None:
    good = [encoded(row) for row in INSTANCES]
    alone = score_records(good, loaded, JsonCodec())
    first, bad, *rest = score_records([good[0], value, *good[1:]], loaded, JsonCodec())
    assert bad.prediction is None
    assert bad.rejected is not None
    assert bad.rejected.reason == reason
    assert 0 < len(bad.rejected.message) <= 1000
    assert "instances[" not in bad.rejected.message
    assert [first, *rest] == alone


def test_records_without_a_key_have_none_beside_others(loaded: LoadedModel) -> None:
    values = [encoded(ROW), encoded({**ROW, "key": "k"}), encoded({**ROW, "record_id": 7}), encoded({**ROW, "key": ""})]
    found = [prediction_of(result) for result in score_records(values, loaded, JsonCodec())]
    assert [row.get("key") for row in found] == [None, "k", "7", ""]
    assert "key" not in found[0]


def test_more_refused_rows_than_are_listed_are_all_rejected(loaded: LoadedModel) -> None:
    counts: list[RuleCounts] = []
    values = [encoded({**ROW, "mother_age": None} if at % 3 else ROW) for at in range(2000)]
    results = score_records(values, loaded, JsonCodec(), counts.append)
    assert [result.rejected is None for result in results] == [at % 3 == 0 for at in range(2000)]
    # Counted once, in however many rounds they were found.
    assert [count.to_json()["refused"] for count in counts] == [{"missing_value": {"mother_age": 1333}}]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.sampled_from([encoded(row) for row in INSTANCES] + [value for value, _ in BAD]), min_size=1, max_size=60
    )
)
def test_a_record_has_the_same_result_alone_and_in_any_batch(loaded: LoadedModel, values: list[bytes | None]) -> None:
    alone = {value: score_records([value], loaded, JsonCodec())[0] for value in set(values)}
    assert score_records(values, loaded, JsonCodec()) == [alone[value] for value in values]


def test_while_there_is_no_model_records_are_rejected() -> None:
    results = no_model([b"{}", None], "births")
    assert [result.rejected.reason for result in results if result.rejected] == ["no_model", "no_model"]


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def test_arrow_records_of_several_rows(loaded: LoadedModel) -> None:
    table = pa.table(
        {
            "key": ["a", "b", "c"],
            "mother_age": pa.array([30, None, 41.5], pa.float32()),
            "gestation_weeks": pa.array([40.0, 40.0, float("nan")], pa.float64()),
            "plurality": pa.array([1, 1, 2], pa.int64()),
            "mother_smokes": pa.array([True, False, None]),
        }
    )
    whole, rejected = score_records([arrow(table.slice(2)), arrow(table)], loaded, ArrowCodec())
    assert whole.rejected is None
    found = pa.ipc.open_stream(rejected.prediction).read_all().to_pylist()
    assert [row["key"] for row in found] == ["a", "c"]
    rows = [
        {"mother_age": 30.0, "gestation_weeks": 40.0, "plurality": "1", "mother_smokes": "true"},
        {"mother_age": 41.5, "gestation_weeks": None, "plurality": "2"},
    ]
    assert [row["prediction"] for row in found] == pytest.approx([expected_weight(row) for row in rows])
    assert {(row["model_version"], row["model_epoch"]) for row in found} == {("loaded", 3)}
    assert rejected.rejected is not None
    assert (rejected.rejected.reason, rejected.rejected.rows, rejected.rows) == ("missing_value", (1,), 2)
    assert pa.ipc.open_stream(whole.prediction).read_all().to_pylist() == found[1:]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        arrow(pa.table({"mother_age": pa.array([], pa.float32())})),
        arrow(pa.table({"mother_age": [1.0]}))[:-20],
        arrow(pa.table([[1.0], [2.0]], names=["mother_age", "mother_age"])),
    ],
)
def test_a_damaged_arrow_record_is_rejected(value: bytes, loaded: LoadedModel) -> None:
    good = arrow(pa.table({"mother_age": [30.0], "plurality": ["1"]}))
    bad, fine = score_records([value, good], loaded, ArrowCodec())
    assert bad.rejected is not None
    assert bad.rejected.reason == "malformed_row"
    assert fine.rejected is None


@pytest.mark.parametrize(
    "column",
    [
        pa.nulls(2_000_000),
        pa.ListArray.from_arrays([0, 2_000_000], pa.nulls(2_000_000)),
        pa.ListArray.from_arrays([0, 1], pa.ListArray.from_arrays([0, 2_000_000], pa.nulls(2_000_000))),
        pa.FixedSizeListArray.from_arrays(pa.nulls(2_000_000), 2_000_000),
    ],
)
def test_an_arrow_record_of_few_bytes_and_many_values_is_rejected(column: pa.Array, loaded: LoadedModel) -> None:
    value = arrow(pa.table({"mother_age": column}))
    assert len(value) < 2000
    (bad,) = score_records([value], loaded, ArrowCodec())
    assert bad.rejected is not None
    assert "too many values" in bad.rejected.message


def test_arrow_and_json_records_have_the_same_predictions(loaded: LoadedModel) -> None:
    ages = np.random.default_rng(1).uniform(15, 45, 50).astype(np.float32)
    table = pa.table({"mother_age": ages, "plurality": ["1"] * 50})
    (scored,) = score_records([arrow(table)], loaded, ArrowCodec())
    rows = [encoded({"mother_age": float(age), "plurality": "1"}) for age in ages]
    by_json = [prediction_of(result)["prediction"] for result in score_records(rows, loaded, JsonCodec())]
    assert pa.ipc.open_stream(scored.prediction).read_all()["prediction"].to_pylist() == by_json


def test_codecs_by_name() -> None:
    assert isinstance(codec_of("json"), JsonCodec)
    assert isinstance(codec_of("arrow"), ArrowCodec)
    with pytest.raises(UsageError, match="format of records is wrong"):
        codec_of("avro")


def test_a_category_may_be_base64(loaded: LoadedModel) -> None:
    value = {"b64": base64.b64encode(b"1").decode()}
    (result,) = score_records([encoded({**ROW, "plurality": value})], loaded, JsonCodec())
    assert prediction_of(result)["prediction"] == pytest.approx(expected_weight({**ROW, "plurality": "1"}))
