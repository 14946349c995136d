"""Numbers of CSV as much of the world writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.errors import UsageError
from headrace.core.sources.csv.numbers import reading_option
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.open import list_parts, read_part


def column(path: Path, *options: str) -> list[str | None]:
    dialect = CsvDialect.parse(options)
    return [
        value
        for part in list_parts(str(path), csv=dialect)
        for rows in read_part(part, ["x"], 2)
        for value in rows.batch.column("x").to_pylist()
    ]


def test_decimal_comma_and_points_between_thousands(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k;x\n1;0,5\n2;1.234,5\n3;-1.234.567\n4;007\n5;a,b\n6;\n7;1,5e3\n8;12.34,5\n")
    read = column(tmp_path, "delimiter=;", "decimal=,", "thousands=.")
    assert read == ["0.5", "1234.5", "-1234567", "007", "a,b", None, "1.5e3", "12.34,5"]
    assert column(tmp_path, "delimiter=;") == ["0,5", "1.234,5", "-1.234.567", "007", "a,b", None, "1,5e3", "12.34,5"]


def test_commas_between_thousands(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('k,x\n1,"1,234"\n2,"1,234,567.5"\n3,"1,23"\n4,0.5\n')
    assert column(tmp_path, "thousands=,") == ["1234", "1234567.5", "1,23", "0.5"]


def test_spaces_of_spreadsheets_between_thousands(tmp_path: Path) -> None:
    written = ["1\u00a0234,5", "1\u202f234\u202f567", "1\u2009234", "1 234", "1\u00a023", "a\u00a0b", "0,5", "7"]
    (tmp_path / "a.csv").write_text("k;x\n" + "".join(f"1;{text}\n" for text in written))
    read = column(tmp_path, "delimiter=;", "decimal=,", "thousands=space")
    assert read == ["1234.5", "1234567", "1234", "1234", "1\u00a023", "a\u00a0b", "0.5", "7"]


def test_a_line_that_states_the_separator_is_no_header(tmp_path: Path) -> None:
    for begin in ("sep=;\n", "\ufeffsep=;\r\n", '"sep=;"\n'):
        (tmp_path / "a.csv").write_text(begin + "k;x\n1;2\n\n3;4\n5;6;7\n", newline="")
        (part,) = list_parts(str(tmp_path))
        batches = list(read_part(part, ["k", "x"], 10))
        assert [row for rows in batches for row in rows.batch.to_pylist()] == [
            {"k": "1", "x": "2"},
            {"k": "3", "x": "4"},
        ]
        assert [row.row for rows in batches for row in rows.refused] == [3]


@pytest.mark.parametrize("options", [["decimal=5"], ["decimal="], ["thousands=.,"], ["decimal=,", "thousands=,"]])
def test_marks_that_cannot_be(options: list[str]) -> None:
    with pytest.raises(UsageError, match=r"decimal|thousands"):
        CsvDialect.parse(options)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("0,5", "decimal=,"),
        ("1.234,5", "decimal=, --csv thousands=."),
        ("1 234,5", "decimal=, --csv thousands=space"),
        ("1\u202f234,5", "decimal=, --csv thousands=space"),
        ("1\u00a0234", "thousands=space"),
        ("1,234", "thousands=,"),
        ("1 234", "thousands=space"),
        ("x,y", ""),
        ("5", ""),
    ],
)
def test_the_option_that_reads_a_number(text: str, option: str) -> None:
    assert option in (reading_option(text) or "")
    assert bool(reading_option(text)) == bool(option)
