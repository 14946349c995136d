"""CSV in the dialects that users have, and the options that name them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.errors import DataError, UsageError
from headrace.core.sources.csv import reader
from headrace.core.sources.csv.reader import CsvSource
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.open import data_version, source_of


def rows_of(path: Path, dialect: CsvDialect, columns: list[str]) -> tuple[list[dict[str, str]], list[int], list[int]]:
    """The rows, their numbers, and the numbers of those refused."""
    rows, numbers, refused = [], [], []
    for batch, which, bad in CsvSource(dialect).read(str(path), columns, 100):
        rows += batch.to_pylist()
        numbers += which.tolist()
        refused += [row.row for row in bad]
    return rows, numbers, refused


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("k;a\n1;x,y\n2;\n3\n", ["delimiter=;"]),
        ("k\ta\n1\tx,y\n2\t\n3\n", ["delimiter=tab"]),
        ("k|a\n1|'x,y'\n2|''\n3\n", ["delimiter=|", "quote='"]),
        ("k,a\n1,x\\,y\n2,\n3\n", ["escape=\\", "quote=none"]),
        ("1;x,y\n2;\n3\n", ["delimiter=;", "header=k,a"]),
        ("two lines\nof a title;;;\nk;a\n1;x,y\n2;NULL\n3\n", ["delimiter=;", "skip_rows=2", "null_values=,NULL"]),
        ("one line\n1;x,y\n2;\n3\n", ["delimiter=;", "skip_rows=1", "header=k,a"]),
        ("# made today\nk;a\n1;x,y\n# and, 3;2;1\n2;\n3\n#", ["delimiter=;", "comment=#"]),
    ],
)
def test_dialects(tmp_path: Path, content: str, options: list[str]) -> None:
    (tmp_path / "a.csv").write_text(content)
    dialect = CsvDialect.parse(options)
    assert [name for name, _ in CsvSource(dialect).columns(str(tmp_path / "a.csv"))] == ["k", "a"]
    found = rows_of(tmp_path / "a.csv", dialect, ["k", "a"])
    assert found == ([{"k": "1", "a": "x,y"}, {"k": "2", "a": None}], [1, 2], [3])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("k,ä\n1,é\n".encode(encoding))
    found = rows_of(tmp_path / "a.csv", CsvDialect(encoding=encoding), ["k", "ä"])
    assert found[0] == [{"k": "1", "ä": "é"}]


def test_a_file_in_another_encoding_than_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("k,a\n1,é\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"the file's header cannot be read|the file is not shift-jis"):
        rows_of(tmp_path / "a.csv", CsvDialect(encoding="shift-jis"), ["k"])


def test_files_named_tsv_have_tabs(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("k\ta\n1\tx,y\n")
    (rows, *_) = source_of("a.tsv").read(str(tmp_path / "a.tsv"), ["a"], 10)
    assert rows[0].to_pylist() == [{"a": "x,y"}]


def test_a_comment_within_quotes_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK", 64)
    lines = ["k,a"]
    for number in range(100):
        lines += [f'{number},"x', "# not a comment", 'y"', "# a comment", "#"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    rows, numbers, refused = rows_of(tmp_path / "a.csv", CsvDialect(comment="#"), ["k", "a"])
    assert rows == [{"k": str(number), "a": "x\n# not a comment\ny"} for number in range(100)]
    assert (numbers, refused) == (list(range(1, 101)), [])


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)


@given(rows=st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=30), delimiter=st.sampled_from(",;\t|"))
@max_examples(60)
def test_what_python_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("k", "a"), *rows])
    path.write_bytes(text.getvalue().encode())
    found = rows_of(path, CsvDialect(delimiter=delimiter, null_values=()), ["k", "a"])
    assert found == ([{"k": k, "a": a} for k, a in rows], list(range(1, len(rows) + 1)), [])


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["delimiter"], "the option --csv is wrong"),
        (["separator=;"], "the option --csv is wrong"),
        (["delimiter=;", "delimiter=,"], "the option --csv is wrong"),
        (["delimiter=;;"], "the CSV dialect's delimiter is wrong"),
        (["delimiter=none"], "the CSV dialect's delimiter is wrong"),
        (["quote=,"], "the CSV dialect's delimiter, quote and escape is wrong"),
        (["encoding=utf-9"], "the CSV dialect's encoding is wrong"),
        (["header=a,b,a"], "the CSV dialect's header is wrong"),
        (["skip_rows=-1"], "the CSV dialect's skip_rows is wrong"),
        (["double_quote=maybe"], "the CSV dialect's double_quote is wrong"),
        (["comment=#", "encoding=utf-16"], "the CSV dialect's comment is wrong"),
    ],
)
def test_options_that_are_wrong(options: list[str], what: str) -> None:
    with pytest.raises(UsageError) as error:
        CsvDialect.parse(options)
    assert error.value.what == what


def test_the_dialect_is_part_of_the_version(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,a\n1,2\n")
    paths = [str(tmp_path / "a.csv")]
    assert data_version(paths) == data_version(paths, CsvDialect())
    assert data_version(paths) != data_version(paths, CsvDialect(null_values=("2",)))
