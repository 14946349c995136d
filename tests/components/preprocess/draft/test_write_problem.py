"""The Problem file that is written from a table loads, fits the table, and says what was seen and chosen."""

from __future__ import annotations

import datetime
import json
import math
import random
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.components.preprocess.draft.write_problem import FirstProblem, draft
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Categorical, Gate, Numeric, Splits
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.sources.csv_dialect import CsvDialect

BIRTHS = Path(__file__).parents[4] / "examples" / "natality" / "births.csv"


def load(folder: Path, source: str) -> ProblemFile:
    (folder / "problem.py").write_text(source)
    return load_problem(str(folder / "problem.py"))


def of_table(folder: Path, columns: dict[str, Any], **options: Any) -> tuple[ProblemFile, FirstProblem]:
    pq.write_table(pa.table(columns), folder / "table.parquet")
    found = draft(str(folder / "table.parquet"), **options)
    return load(folder, found.source), found


def of_csv(folder: Path, text: str, **options: Any) -> tuple[ProblemFile, FirstProblem]:
    (folder / "a.csv").write_text(text)
    found = draft(str(folder / "a.csv"), **options)
    return load(folder, found.source), found


@pytest.mark.parametrize("label", ["weight_pounds", "plurality", "is_male", ""])
def test_of_the_births_every_row_passes(tmp_path: Path, label: str) -> None:
    found = draft(str(BIRTHS), label=label)
    file = load(tmp_path, found.source)
    assert (found.key, found.rows, found.complete, found.suspects) == ("record_id", 1450, True, ())
    assert file.problem.label.name == (label or found.label)
    assert len(file.problem.columns) == 8
    result = preprocess(file, PreprocessConfig(str(BIRTHS), str(tmp_path / "examples"), "0" * 16))
    assert (result.rows_in, result.rows_out) == (1450, 1450)
    assert ("CHOSEN" in found.source) == (not label)


@pytest.mark.parametrize(
    ("label", "rows", "expected", "said"),
    [
        ("number", 1000, Gate(), "A model must be better on the test rows"),
        ("number", 400, Gate("r_squared", at_least=0), "Some 40 test rows are too few"),
        ("number", 100, Gate("r_squared", at_least=0), "Some 20 test rows are too few"),
        ("two", 1000, Gate("auc"), "an accuracy of 50.0% and an auc of 0.5"),
        ("two", 60, Gate("auc", at_least=0.5), "Some 12 test rows are too few"),
        ("three", 1000, Gate(), "an accuracy of 33.4%"),
        ("three", 90, Gate("accuracy", at_least=0.22), "refuses one that is worse"),
    ],
)
def test_the_gate_measures_against_the_baseline(
    tmp_path: Path, label: str, rows: int, expected: Gate, said: str
) -> None:
    labels = {"number": noisy(rows), "two": ["a", "b"] * (rows // 2), "three": [f"c{n % 3}" for n in range(rows)]}
    file, found = of_table(tmp_path, {"x": noisy(rows + 1)[1:], "y": labels[label]}, label="y")
    assert file.problem.gate == expected
    assert said in " ".join(line.strip(" #") for line in found.source.splitlines())


def remarks(rows: int, every: int) -> list[str]:
    """Remarks in some rows: one of seven texts is in many of them, the others in one each."""
    texts = ["Adult not sampled", "No blood sample obtained.", "Nest never observed with full clutch."]
    texts += [
        f"{texts[2]} {texts[0]}.",
        f"{texts[0]}; {texts[1]}",
        "Not enough blood for isotopes.",
        "Sexing did not work.",
    ]
    return [texts[min(n // every, 6) if n < 7 * every else 0] if n % every == 0 else "NA" for n in range(rows)]


@pytest.mark.parametrize("missing", ["NA", ""])
def test_free_text_is_left_out_and_named(tmp_path: Path, missing: str) -> None:
    rows = 300
    # Names are categories, however long, where each of them has rows.
    species = [f"Adelie Penguin (Pygoscelis adeliae) {'abc'[n % 3]}" for n in range(rows)]
    # A code of a country beside NA: here it is no missing value, and `missing=` is not set.
    codes = [["NA", *(f"{a}{b}" for a in "ABCD" for b in "XYZ")][n % 13] for n in range(rows)]
    texts = [text if text != "NA" else missing for text in remarks(rows, 6)]
    places = [f"Place number {n % 50} of the list" for n in range(rows)]
    columns = {
        "Comments": texts,
        "Species": species,
        "place": places,
        "country": codes,
        "x": noisy(rows),
        "y": noisy(rows + 1)[1:],
    }
    file, found = of_table(tmp_path, columns, label="y")
    assert [column.source_column for column in file.problem.columns] == ["Species", "place", "country", "x"]
    assert '"Comments" is left out: free text, such as "Adult not sampled": 7 values' in found.source


def test_of_some_rows_it_is_told(tmp_path: Path) -> None:
    found = draft(str(BIRTHS), label="weight_pounds", rows=300)
    assert 'Inferred from the first 300 rows of "births.csv"' in found.source
    assert (found.rows, found.complete) == (300, False)
    load(tmp_path, found.source)


def test_every_kind_of_column(tmp_path: Path) -> None:
    rows = 400
    file, found = of_table(
        tmp_path,
        {
            "order_id": [f"o{place}" for place in range(rows)],
            "other": [f"x{place}" for place in range(rows)],
            "userId": [place % 130 for place in range(rows)],
            "index": range(rows),
            "flag": [place % 2 for place in range(rows)],
            "doors": [3 + place % 3 for place in range(rows)],
            "stars": [1 + place % 3 / 2 for place in range(rows)],
            "amount": [None if place < 8 else place / 7 for place in range(rows)],
            "wealth": [1.0 + place if place < 399 else 1e6 for place in range(rows)],
            "city": [f"city {place % 90}" for place in range(rows)],
            "quoted": ['say "yes"' if place % 3 else "it's\n" for place in range(rows)],
            "day": [datetime.date(2026, 1, 1 + place % 28) for place in range(rows)],
            "text_day": [f"2026-01-{1 + place % 28:02d}" for place in range(rows)],
            "constant": ["same"] * rows,
            "empty": pa.nulls(rows),
            "nearly_empty": [1.5 if place < 4 else None for place in range(rows)],
            "prediction": [place / 3 for place in range(rows)],
            "Größe (m²)": ["a", "b"] * (rows // 2),
            "groe (m)": ["c", "d", "d", "c"] * (rows // 4),
            "AMOUNT": [place % 77 for place in range(rows)],
            "nested": [[1]] * rows,
            "target": ["no", "yes", "yes", "no", "no"] * (rows // 5),
        },
    )
    problem = file.problem
    assert (problem.key, problem.task) == ("order_id", "binary")
    assert problem.label == Categorical("target", vocabulary=["no", "yes"])
    assert problem.columns == (
        Categorical("flag", vocabulary=["0", "1"], max_unknown=0.05),
        Categorical("doors", vocabulary=["3", "4", "5"], max_unknown=0.05),
        Numeric("stars", minimum=0, maximum=3),
        Numeric("amount", minimum=0, maximum=150, optional=True),
        Numeric("wealth", minimum=0, maximum=1e7),
        Categorical("city", hash_buckets=256, embedding=4),
        Categorical("quoted", vocabulary=['say "yes"', "it's\n"], max_unknown=0.05),
        Numeric("prediction_2", column="prediction", minimum=0, maximum=300),
        Categorical("groe_m2", column="Größe (m²)", vocabulary=["a", "b"], max_unknown=0.05),
        Categorical("groe_m", column="groe (m)", vocabulary=["c", "d"], max_unknown=0.05),
        Numeric("AMOUNT_2", column="AMOUNT", minimum=0, maximum=200),
    )
    assert problem.gate == Gate("auc", at_least=0.5)
    for line in (
        '"other" is left out: 400 values',
        '"userId" is left out: an identifier, by its name',
        '"index" is left out: it numbers the rows',
        '"day" is left out: a date',
        '"text_day" is left out: a date',
        'always "same"',
        '"empty" is left out: it has no values',
        '"nearly_empty" is left out: 99.0% of the rows have no value',
        '"nested" is left out: its values have the type list',
        "2.0% missing",
        "accuracy of 60.0% and an auc of 0.5",
    ):
        assert line in found.source


def noisy(rows: int) -> list[float]:
    random_ = random.Random(1)
    return [random_.gauss(0, 1) for _ in range(rows)]


def test_a_column_that_is_the_label_in_other_words_is_commented_out(tmp_path: Path) -> None:
    noise = noisy(600)
    celsius = [20 + 5 * value for value in noise]
    columns = {
        "fahrenheit": [32 + 1.8 * value for value in celsius],
        "hint": [value + other for value, other in zip(celsius, reversed(noise), strict=True)],
        "celsius": celsius,
    }
    file, found = of_table(tmp_path, columns, label="celsius")
    assert [column.name for column in file.problem.columns] == ["hint"]
    assert found.suspects == ("fahrenheit",)
    assert "LEAK? It alone predicts celsius almost perfectly (r_squared 1.0000)" in found.source
    assert '        # Numeric("fahrenheit", minimum=' in found.source

    codes = {"code": [f"k{n % 3}{n % 7}" for n in range(600)], "hint": noise, "kind": [f"k{n % 3}" for n in range(600)]}
    file, found = of_table(tmp_path, codes, label="kind")
    assert found.suspects == ("code",)
    assert "accuracy over the commonest class 1.0000" in found.source
    # Where nothing else is left, it stays, with a word.
    del codes["hint"]
    file, found = of_table(tmp_path, codes, label="kind")
    assert [column.name for column in file.problem.columns] == ["code"]
    assert found.suspects == ()
    assert "and no other column is left" in found.source.replace("\n        # ", " ")


def test_missing_values_as_the_table_writes_them(tmp_path: Path) -> None:
    codes = ["DE", "FR", "NA", "ES", "IT", "PT", "GB", "US", "SE", "NO", "DK"]
    lines = [
        f"{'-' if n % 50 == 0 else n / 3},{'N/A' if n % 9 == 0 else 'abc'[n % 3]},{codes[n % 11]},{n % 4}"
        for n in range(330)
    ]
    file, found = of_csv(tmp_path, "\n".join(["size,sort,country,y", *lines]), label="y")
    assert file.problem.missing == ("-", "N/A")
    optional = {column.name: column.optional for column in file.problem.columns}
    assert optional == {"size": True, "sort": True, "country": False}
    assert "How this table writes a missing value" in found.source
    result = preprocess(file, PreprocessConfig(str(tmp_path / "a.csv"), str(tmp_path / "out"), "0" * 16))
    assert result.rows_out == 330


def test_rows_without_a_label_have_room_in_the_budget(tmp_path: Path) -> None:
    columns = {"x": noisy(300), "y": [None if n % 10 == 0 else n / 7 for n in range(300)]}
    file, found = of_table(tmp_path, columns, label="y")
    assert file.problem.quarantine_budget == 0.15
    assert "10.0% of the rows have no label" in found.source


def test_few_rows_are_split_more_evenly(tmp_path: Path) -> None:
    def split_of(rows: int) -> Splits:
        return of_table(tmp_path, {"x": noisy(rows), "y": noisy(rows + 1)[1:]})[0].problem.splits

    assert [split_of(rows) for rows in (20, 100, 300)] == [Splits(0.5, 0.25, 0.25), Splits(0.6, 0.2, 0.2), Splits()]


def test_types_that_differ_in_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": range(80), "y": range(80), "z": ["1"] * 80}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [n / 2 for n in range(80)], "y": range(80), "w": [1] * 80}), tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("y,x\n" + "".join(f"{n},{n}.25\n" for n in range(80)))
    source = draft(str(tmp_path), label="y").source
    (tmp_path / "out").mkdir()
    problem = load(tmp_path / "out", source).problem
    assert problem.columns == (Numeric("x", minimum=0, maximum=200),)
    assert '"z" is left out: b.parquet does not have it' in source
    assert '"w" is left out: a.parquet does not have it' in source


_TEXTS = ["abc", "def", "ghi"] * 20
_UUIDS = [uuid.UUID(int=0), uuid.UUID(int=1)]
_SMALL = [n * 37 % 61 + 0.5 for n in range(58)]
_NUMBERS = [f"{n * 37 % 61}.5" for n in range(60)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        *((pa.array(_TEXTS, kind), "abc,def,ghi") for kind in (pa.string_view(), pa.large_string(), pa.binary())),
        (pa.array([text.encode() for text in _TEXTS], pa.binary(3)), "abc,def,ghi"),
        (pa.array([text.encode() for text in _TEXTS]).dictionary_encode(), "abc,def,ghi"),
        (pa.array([b"1", b"2", b"3"] * 20), "1,2,3"),
        (pa.array([_UUIDS[n % 2].bytes for n in range(60)], pa.uuid()), ",".join(map(str, _UUIDS))),
        (pa.array([Decimal(n % 3) for n in range(60)], pa.decimal128(38, 9)), "0,1,2"),
        (pa.array([n % 2 == 0 for n in range(60)]), "false,true"),
        *((pa.array(_NUMBERS, kind), "numeric") for kind in (pa.string_view(), pa.large_string())),
        (pa.array(_NUMBERS).dictionary_encode(), "numeric"),
        (pa.array([b"\xff", b"a", b"b"] * 20), "it holds bytes that are not UTF-8 text"),
        (pa.array([b"\xffa", b"bc"] * 30, pa.binary(2)), "it holds bytes that are not UTF-8 text"),
        (pa.array([1e200 * n for n in range(60)]), "numeric"),
        (pa.array([*_SMALL, 1.7e308, 1.7e308]), "a few of its numbers are too large for float32"),
        (pa.array([*_SMALL, math.inf, -math.inf]), '2 of its 60 values are no finite numbers, such as "inf"'),
        (
            pa.array(["n. d.", *_NUMBERS[:57], "tba", "tba"]),
            '3 of its 60 values are no finite numbers, such as "n. d."',
        ),
    ],
)
def test_physical_types_are_inferred_as_what_they_say(tmp_path: Path, values: pa.Array, expected: str) -> None:
    columns = {"id": [f"k{n}" for n in range(60)], "x": noisy(60), "c": values, "y": noisy(61)[1:]}
    file, found = of_table(tmp_path, columns, label="y")
    if expected.startswith(("it", "a few", "2", "3")):
        assert [column.name for column in file.problem.columns] == ["x"]
        assert f'"c" is left out: {expected}' in found.source
        return
    column = file.problem.columns[-1]
    assert (",".join(sorted(column.vocabulary or ())) if isinstance(column, Categorical) else "numeric") == expected
    config = PreprocessConfig(str(tmp_path / "table.parquet"), str(tmp_path / "examples"), "0" * 16)
    assert preprocess(file, config).rows_out == 60


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"id": ["a", "b"] * 6, "b": [2, 3] * 6}, {"key": "none"}, "the column does not exist"),
        ({"id": ["a", "b"] * 6, "b": range(12)}, {"key": "id"}, "row 1 of table.parquet and row 3 of table.parquet"),
        ({"id": [None, *range(11)], "b": range(12)}, {"key": "id"}, "1 rows have no value, the first of them row 1"),
        ({"id": list("abcdefghijkl"), "b": range(12)}, {"label": "id"}, "id cannot be the label"),
        ({"id": list("abcdefghijkl"), "b": [2] * 12}, {}, "no column can be the label.*always"),
        (
            {"x": range(60), "y": [*_NUMBERS[:-2], "bad", "bad"]},
            {"label": "y"},
            'y cannot be the label.*Received: 2 of its 60 values are no finite numbers, such as "bad"',
        ),
        (
            {"id": list("abcdefghijkl"), "b": [1, 2] * 6},
            {},
            'no column can be a feature.*Received: "id": it is the key',
        ),
        ({"y": [1.5, 2] * 6}, {}, "no column can be a feature.*no other columns"),
        (
            {"id": list("abcdefghijkl"), "at": list("mnopqrstuvwx"), "b": [1, 2] * 6},
            {},
            'no column can be a feature.*"id": it is the key; "at": a unique value in every row',
        ),
        ({"id": ["a", "b"], "b": [1, 2]}, {}, "too few rows"),
        ({"id": pa.array([], pa.string())}, {}, "the data has no rows"),
        ({"id": [[1]] * 12}, {}, "no column can be read.*several values per row"),
    ],
)
def test_refusals(tmp_path: Path, columns: dict[str, Any], options: dict[str, str], said: str) -> None:
    with pytest.raises((DataError, UsageError), match=said):
        of_table(tmp_path, columns, **options)


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("a,b", "1,2,3", "the row has 3 fields where the header has 2.*skip_rows=1"),
        ("a;b", "1;2", "--csv delimiter=';'"),
        ("a\tb", "1\t2", "--csv delimiter=tab"),
        ("a b c", "1 2 3", "--csv delimiter=space"),
        ("5.1,3.5,setosa", "4.9,3.0,setosa", "the first line is not a header.*--csv header="),
        ("0,5,13,13,1", "0,0,12,5,0", "the first line is not a header.*--csv header="),
        ("1,2.5,3", "4,5.5,6", "the first line is not a header.*--csv header="),
        ("59,2,32.1,157", "48,1,21.6,183", "the first line is not a header.*--csv header="),
    ],
)
def test_a_file_that_is_written_otherwise_names_the_option(tmp_path: Path, header: str, row: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        of_csv(tmp_path, "\n".join([header, *[row] * 20]))


@pytest.mark.parametrize("header", ["0,1,2", "2019,2020,2021"], ids=["numbers of columns", "years"])
def test_a_header_of_ascending_numbers_is_one(tmp_path: Path, header: str) -> None:
    rows = "".join(f"{n % 7},{n % 5},{n / 8}\n" for n in range(60))
    file, _ = of_csv(tmp_path, f"{header}\n{rows}")
    assert {file.problem.label.source_column, *(c.source_column for c in file.problem.columns)} <= {*header.split(",")}


def test_long_values_with_spaces_stay_whole(tmp_path: Path) -> None:
    places = [f'corner of  Main Street and {n}th "Avenue", it\'s on the left side' for n in range(6)]
    data = {"id": [f"k{n}" for n in range(60)], "place": places * 10, "y": noisy(60)}
    assert of_table(tmp_path, data, label="y")[0].problem.columns == (
        Categorical("place", vocabulary=places, max_unknown=0.05),
    )


def test_columns_of_one_name_are_left_out(tmp_path: Path) -> None:
    rows = "".join(f"k{n},{n % 7 / 8},{n / 8},1,2\n" for n in range(60))
    file, found = of_csv(tmp_path, f"id,x,y,z,z\n{rows}", label="y")
    assert [column.name for column in file.problem.columns] == ["x"]
    assert '"z" is left out' in found.source


@pytest.mark.parametrize(
    ("written", "option"),
    [("{},5", "--csv decimal=,"), ("10{:03},5", "--csv decimal=,"), ("{},250", "--csv thousands=,")],
    ids=["a comma", "without separators", "thousands"],
)
def test_numbers_in_another_notation_name_the_option(tmp_path: Path, written: str, option: str) -> None:
    values = [written.format(n) for n in range(1, 61)]
    rows = "".join(f"{n};{value};{n / 8}\n" for n, value in enumerate(values))
    dialect = CsvDialect.parse(["delimiter=;"])
    with pytest.raises(DataError, match=f'"x": its values look like .* such as "{values[0]}": give {option}'):
        of_csv(tmp_path, f"id;x;y\n{rows}", label="y", csv=dialect)
    problem = of_csv(
        tmp_path, f"id;x;y\n{rows}", label="y", csv=CsvDialect.parse(["delimiter=;", option.removeprefix("--csv ")])
    )[0].problem
    assert [type(column) for column in problem.columns] == [Numeric]


def test_splits_by_group_and_by_time_are_proposed_where_rows_belong_together(tmp_path: Path) -> None:
    rows = 400
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=n // 2) for n in range(rows)]
    common = {"x": noisy(rows), "y": noisy(rows + 1)[1:]}
    columns = {"patient_id": [f"p{n % 90}" for n in range(rows)], "seen": days, **common}
    file, found = of_table(tmp_path, columns, label="y")
    assert file.problem.splits == Splits()
    assert '# "patient_id" has 90 values in 400 rows. To keep all rows of one value in one split:' in found.source
    assert '# Rows have a time, "seen". To test on the newest rows' in found.source
    for line in ('splits=Splits(by="patient_id"),', 'splits=Splits(time="seen"),'):
        used = load(tmp_path, found.source.replace(f"# {line}", line))
        assert used.problem.splits.column in ("patient_id", "seen")
        config = PreprocessConfig(str(tmp_path / "table.parquet"), str(tmp_path / "examples"), "0" * 16)
        assert preprocess(used, config).rows_out == rows
    # A key, a few values and texts that are no times propose nothing.
    other = {"visit_id": [f"v{n}" for n in range(rows)], "site_id": [f"s{n % 3}" for n in range(rows)]}
    _, plain = of_table(
        tmp_path, {**other, "when": [f"{n % 12 + 1}.{n % 28 + 1}.24" for n in range(rows)], **common}, label="y"
    )
    assert "Splits(" not in plain.source


def test_numbers_beside_texts_in_json_are_numbers_with_missing_values(tmp_path: Path) -> None:
    rows = [
        {"id": n, "score": "N/A" if n % 11 == 0 else n % 50 * 1.5, "kind": n % 3 if n % 2 else "a", "y": n % 50}
        for n in range(200)
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    file = load(tmp_path, draft(str(path), label="y").source)
    assert file.problem.missing == ("N/A",)
    score, kind = file.problem.columns
    assert (type(score), score.optional, type(kind)) == (Numeric, True, Categorical)
    result = preprocess(file, PreprocessConfig(str(path), str(tmp_path / "examples"), "0" * 16))
    assert (result.rows_in, result.rows_out) == (200, 200)
