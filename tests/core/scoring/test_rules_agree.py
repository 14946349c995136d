"""Rules of a Problem hold alike wherever rows are read: preprocess, batch scoring and requests refuse the same rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.artifacts.examples import Schema
from headrace.core.errors import DataError
from headrace.core.expressions.functions import col, log
from headrace.core.problem import Categorical, Crossed, Numeric, Problem
from headrace.core.rows.derive import with_derived
from headrace.core.rows.read import as_declared
from headrace.core.rows.validate import validate
from headrace.core.rules.column import NumberRule
from headrace.core.rules.counts import RuleCounts
from headrace.core.saved_model.binding import declared
from headrace.core.saved_model.find import ServableModel, find_source
from headrace.core.saved_model.interface import ModelBinding, ModelInput, ModelOutput
from headrace.core.saved_model.json.columns import columns_from_inputs, columns_from_instances
from headrace.core.saved_model.json.refused_rows import RowsRefused
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.scorer import RowScorer, ScoredBatch
from headrace.core.scoring.to_columns import Answer
from headrace.core.sources.json_values import column_of
from headrace.core.sources.source import Part, Rows

PROBLEM = Problem(
    name="rules",
    key="id",
    label=Numeric("y"),
    features=[
        Numeric("age", minimum=10, maximum=65),
        Numeric("rate", minimum=-0.1, maximum=0.1, optional=True),
        Numeric("free", optional=True, max_missing=1.0),
        Categorical("kind", vocabulary=["a", "True", "2"]),
        Categorical("open", optional=True),
        Categorical("loose", vocabulary=["x", "y"], max_unknown=1.0),
        Numeric("log_fare", maximum=5),
        Categorical("dear", vocabulary=["true"], optional=True),
        Crossed("kind", "open", hash_buckets=8),
    ],
    derive={"log_fare": log(col("fare")), "dear": col("fare") > 2},
    missing=["NA", "-"],
)
LEARNED = ["seen", "seen too"]
NAMES = tuple(column.name for column in PROBLEM.derivation.served)

# By column, the reason, and the message.
Refusal = tuple[str | None, str, str]


def source_at(folder: Path, mode: Any = "enforce") -> ServableModel:
    """The description of a Model of PROBLEM, whose SavedModel is an empty file."""
    (folder / "saved_model").mkdir(parents=True)
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"")
    statistics = {"open": {"kind": "categorical", "vocabulary": [[text, 1] for text in LEARNED]}}
    for name, content in {
        "problem": PROBLEM.to_json(),
        "schema": Schema.of(PROBLEM).to_json(),
        "statistics": {"format": 1, "columns": statistics},
        "training": {"format": 1, "model_version": "v1"},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return find_source(str(folder), rules=mode)


class Ones(RowScorer):
    """Scores every row that keeps the rules as 1."""

    def __init__(self, source: ServableModel) -> None:
        inputs = tuple(
            ModelInput(c.name, NumberRule(c).dtype.__name__ if isinstance(c, Numeric) else "string", None, (c.name,))
            for c in sorted(PROBLEM.derivation.served, key=lambda column: column.name)
        )
        takes = ModelBinding("serving_default", inputs, (ModelOutput("prediction", "float32"),), key_input="key")
        takes = declared(takes, source)
        super().__init__(takes, takes.inputs, "v1")

    def _call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        return {"prediction": np.ones(rows, np.float32)}


@pytest.fixture(scope="module", name="sources")
def sources_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServableModel]:
    return {mode: source_at(tmp_path_factory.mktemp("rules") / mode, mode) for mode in ("enforce", "warn")}


def rows_of(rows: Sequence[dict[str, Any]], *, coded: bool = False) -> Rows:
    """Rows as JSON lines are read; `coded` with dictionaries of text."""
    columns = {"id": pa.array([f"k{at}" for at in range(len(rows))]), "y": pa.array([1.0] * len(rows))}
    columns |= {name: column_of([row.get(name) for row in rows]) for name in NAMES}
    if coded:
        columns = {n: c.dictionary_encode() if pa.types.is_string(c.type) else c for n, c in columns.items()}
    return Rows(Part(0, "rows.jsonl"), pa.RecordBatch.from_pydict(columns), np.arange(1, len(rows) + 1))


def in_preprocess(rows: Sequence[dict[str, Any]]) -> dict[int, list[Refusal]]:
    return refusals(validate(PROBLEM, with_derived(PROBLEM, as_declared(PROBLEM, rows_of(rows)))))


def in_batch(source: ServableModel, rows: Sequence[dict[str, Any]], *, coded: bool = False) -> dict[int, list[Refusal]]:
    return refusals(scored(source, rows, coded=coded))


def scored(source: ServableModel, rows: Sequence[dict[str, Any]], *, coded: bool = False) -> ScoredBatch:
    read = rows_of(rows, coded=coded)
    keep = [at for at, name in enumerate(read.batch.schema.names) if name != "y"]
    return Ones(source).score(Rows(read.part, read.batch.select(keep), read.numbers))


def refusals(found: Any) -> dict[int, list[Refusal]]:
    return {row.row - 1: [(f.column, f.reason, f.message) for f in (row.fault, *row.also)] for row in found.quarantined}


def in_request(
    source: ServableModel, rows: Sequence[dict[str, Any]], *, columnar: bool = False
) -> tuple[dict[int, list[Refusal]], RuleCounts]:
    counts = RuleCounts()

    def tell(more: RuleCounts) -> None:
        nonlocal counts
        counts = counts.merge(more)

    assert source.interface is not None
    try:
        if columnar:
            columns_from_inputs({n: [row.get(n) for row in rows] for n in NAMES}, source.interface, tell)
        else:
            columns_from_instances(rows, source.interface, tell)
    except RowsRefused as error:
        found = {row: [(f.column, f.reason, f.message) for f in faults] for row, faults in error.rows.items()}
        return found, counts
    return {}, counts


def without_messages(found: dict[int, list[Refusal]]) -> dict[int, list[tuple[str | None, str]]]:
    return {row: [(column, reason) for column, reason, _ in faults] for row, faults in found.items()}


SINGLE = float(np.float32(0.1))
_NUMBER = st.one_of(
    st.sampled_from([10, 65, 9, 66, 9.999, 0.1, -0.1, SINGLE, float(np.nextafter(SINGLE, 1)), 0, 1.0, 2, 3, -1, 200.0]),
    st.sampled_from([3.5e38, -3.5e38, 1e300, 2**63, 10**30]),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
)
_TEXT = st.sampled_from(["a", "b", "True", "true", "2", "2.0", "seen", "new", "x", "", " ", "NA", " - ", "007", "ä"])
_NUMBER_TEXT = st.sampled_from(
    [
        "30",
        " 30 ",
        "+30",
        "3e1",
        "1e400",
        "inf",
        "NaN",
        "nan",
        "0x1F",
        "",
        "  ",
        "NA",
        "-",
        "x",
        "1,5",
        "1_0",
        "30.",
        ".1",
    ]
)
# A column that holds values of several kinds is text in a file, in which true is no number and 2 no spelling of "2.0".
_NUMBERS = (st.one_of(_NUMBER, _NUMBER_TEXT), st.booleans())
_CATEGORIES = (_TEXT, st.booleans(), st.integers(-3, 3), st.sampled_from([2.0, 0.5, 1e-05, 7.0]))
_KINDS = {
    **dict.fromkeys(("age", "rate", "free", "fare"), _NUMBERS),
    **dict.fromkeys(("kind", "open", "loose"), _CATEGORIES),
}
_GOOD = {"age": 30, "rate": 0.0, "free": 1.0, "kind": "a", "open": "seen", "loose": "x", "fare": 20}


@st.composite
def _tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = draw(st.integers(1, 12))
    columns = {}
    for name, kinds in _KINDS.items():
        one = draw(st.sampled_from(kinds))
        columns[name] = draw(st.lists(st.one_of(st.none(), one, one), min_size=rows, max_size=rows))
    return [{name: values[row] for name, values in columns.items() if values[row] is not None} for row in range(rows)]


@max_examples(100)
@given(row=st.fixed_dictionaries({}, optional={name: st.one_of(*kinds) for name, kinds in _KINDS.items()}))
def test_one_row_has_one_verdict_and_message_everywhere(sources: dict[str, ServableModel], row: dict[str, Any]) -> None:
    row = {**_GOOD, **row}
    expected = in_preprocess([row])
    assert in_batch(sources["enforce"], [row]) == expected
    found, _ = in_request(sources["enforce"], [row])
    assert without_messages(found) == without_messages(expected)
    # What helps with a file is no help with a request; integers beyond 64 bits are text in a file.
    for column, reason, message in found.get(0, []):
        if (
            reason != "not_a_number"
            and abs(row.get(str(column), 0) if type(row.get(str(column))) is int else 0) < 2**63
        ):
            assert (column, reason, message) in expected[0]


@max_examples(60)
@given(rows=_tables())
def test_the_same_rows_are_refused_for_the_same_column_and_reason(
    sources: dict[str, ServableModel], rows: list[dict[str, Any]]
) -> None:
    enforced = sources["enforce"]
    expected = without_messages(in_preprocess(rows))
    assert without_messages(in_batch(enforced, rows)) == expected
    assert without_messages(in_batch(enforced, rows, coded=True)) == expected
    by_row, counts = in_request(enforced, rows)
    by_column, _ = in_request(enforced, rows, columnar=True)
    assert without_messages(by_row) == expected
    assert by_row == by_column
    assert counts == scored(enforced, rows).counts
    relaxed, counts = in_request(sources["warn"], rows)
    warned = scored(sources["warn"], rows)
    assert without_messages(relaxed) == without_messages(refusals(warned))
    assert counts == warned.counts
    assert relaxed.keys() <= by_row.keys()


def test_warn_predicts_and_counts_what_enforce_refuses(sources: dict[str, ServableModel]) -> None:
    rows = [
        _GOOD,
        {**_GOOD, "age": 500},
        {**_GOOD, "kind": "c", "open": "new", "loose": "z"},
        {**_GOOD, "fare": -1},
        {**_GOOD, "age": "x"},
        {**_GOOD, "fare": 1e30},
    ]
    enforced, warned = scored(sources["enforce"], rows), scored(sources["warn"], rows)
    assert {row.row: (row.fault.column, row.fault.reason) for row in enforced.quarantined} == {
        2: ("age", "out_of_range"),
        3: ("kind", "unknown_value"),
        4: ("log_fare", "missing_value"),
        5: ("age", "not_a_number"),
        6: ("log_fare", "out_of_range"),
    }
    assert enforced.counts.predicted == {}
    assert [row.row for row in warned.quarantined] == [5]
    assert warned.counts.to_json() == {
        "refused": {"not_a_number": {"age": 1}},
        "predicted": {
            "missing_value": {"log_fare": 1},
            "out_of_range": {"age": 1, "log_fare": 1},
            "unknown_value": {"dear": 1, "kind": 1, "loose": 1, "open": 1},
        },
    }


def test_rows_of_another_model_have_no_rules() -> None:
    inputs = (ModelInput("age", "float32", None, ("age",)),)
    takes = ModelBinding("serving_default", inputs, (ModelOutput("prediction", "float32"),))
    scorer = Ones.__new__(Ones)
    RowScorer.__init__(scorer, takes, inputs, "v1")
    found = scorer.score(rows_of([{**_GOOD, "age": 500}]))
    assert (found.quarantined, found.counts) == ((), RuleCounts())


def test_a_model_whose_declaration_is_damaged_is_refused(tmp_path: Path) -> None:
    source_at(tmp_path / "model")
    path = tmp_path / "model" / "problem.json"
    problem = json.loads(path.read_text())
    problem["features"][0]["later"] = 1
    path.write_text(json.dumps(problem))
    with pytest.raises(DataError, match="does not say which values its columns allow") as caught:
        find_source(str(tmp_path / "model"))
    assert "later" in caught.value.paragraph
