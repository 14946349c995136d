"""Numbers in another notation never leave a biased sample, wherever in the table they begin."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import headrace

from headrace.core.errors import DataError
from headrace.core.rows.notation import check_notation

PROBLEM = """from headrace import Categorical, Numeric, Problem
problem = Problem(name="p", key=None, label=Numeric("y"), features=[Numeric("x"), Categorical("c")])
"""


def preprocessed(folder: Path, rows: list[str], *options: str) -> tuple[int, str]:
    (folder / "p.py").write_text(PROBLEM)
    (folder / "a.csv").write_text("x;c;y\n" + "".join(f"{row}\n" for row in rows))
    done = headrace("preprocess", "--problem", folder / "p.py", "--data", folder / "a.csv", "--output",
                    folder / "out", "--csv", "delimiter=;", *options)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("written", "option"),
    [
        ("{:,}", "--csv thousands=,"),
        ("{}.5", "--csv decimal=,"),
        ("{:,}.5", "--csv decimal=, --csv thousands=."),
        ("{:_}", "--csv thousands=space"),
    ],
)
def test_they_are_refused_with_the_option_that_reads_them(tmp_path: Path, written: str, option: str) -> None:
    plain = [f"{n % 1000};a;{n % 7}" for n in range(1200)]
    marked = written.format(1234)
    # As the marks of most of Europe; the rows begin after the sample that is looked at before preprocessing.
    text = marked.translate(str.maketrans(",.", ".,")) if ".5" in written else marked.replace("_", " ")
    status, said = preprocessed(tmp_path, [*plain, *[f"{text};a;1"] * 12])
    assert (status, (tmp_path / "out").exists()) == (2, False)
    assert 'the column "x" has numbers in another notation' in said
    assert f"12 rows of 1,212 in quarantine. Give {option}" in said
    options = [f"--csv={part.strip()}" for part in option.split("--csv ") if part]
    status, said = preprocessed(tmp_path, [*plain, *[f"{text};a;1"] * 12], *options)
    assert status == 0
    assert "1,212 rows in = 1,212 out" in said


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_texts_of_other_formats_are_refused_with_what_helps_there(tmp_path: Path, suffix: str) -> None:
    texts = [f"{n % 1500:,}" for n in range(3000)]
    table = pa.table({"x": texts, "c": ["a"] * 3000, "y": [float(n % 7) for n in range(3000)]})
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in table.to_pylist()))
    else:
        pq.write_table(table, path)
    # The budget would allow it: every number above 999, and no other, would be missing.
    budget = PROBLEM.replace("key=None", "key=None, quarantine_budget=0.5")
    (tmp_path / "p.py").write_text(budget)
    done = headrace("preprocess", "--problem", tmp_path / "p.py", "--data", path, "--output", tmp_path / "out")
    said = done.stdout + done.stderr
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False), said
    assert 'the column "x" has numbers in another notation' in said
    assert "1,000 rows of 3,000 in quarantine. Write the column as numbers where the table is written" in said


def test_rows_that_are_added_are_judged_alike(tmp_path: Path) -> None:
    plain = [f"{n % 1000};a;{n % 7}" for n in range(1200)]
    assert preprocessed(tmp_path, plain)[0] == 0
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    status, said = preprocessed(tmp_path, [*plain, *["1,234;a;1"] * 12], "--append")
    assert status == 2
    assert "12 rows of 1,212 in quarantine. Give --csv thousands=," in said
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def test_warnings_of_values_stay_visible(tmp_path: Path) -> None:
    rows = [f"{n};{['n/a', '2', '2.0'][n % 3]};{n % 7}" for n in range(1000)]
    status, said = preprocessed(tmp_path, [*rows, "1,5;2;1"])
    assert status == 0
    for warning in (
        '"x" has 1 of its numbers in quarantine that --csv decimal=, reads',
        '"c" has categories that look like missing values; missing=["n/a"] in the Problem makes them missing',
        '"c" has categories that are one number: "2" and "2.0"; text stays as it is written',
    ):
        assert f"preprocess: warning: {warning}" in said


def test_a_thousandth_of_the_rows_may_be_mistakes() -> None:
    key = "marked --csv decimal=, in a in b"
    assert check_notation("data", 2000, {key: 2, "rows": 2000}) == [
        'warning: "a in b" has 2 of its numbers in quarantine that --csv decimal=, reads'
    ]
    with pytest.raises(DataError, match='"a in b" has numbers in another notation'):
        check_notation("data", 1999, {key: 2})
