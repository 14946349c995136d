"""Text that is damaged in its middle is out whole, or refused with the place: a parser would make few rows of many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core.artifacts.examples import Manifest
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.problem.file import load_problem
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.open import list_parts, read_part

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
HEADER, *ROWS = (EXAMPLE / "births.csv").read_text().splitlines()
FILES = 25
# Longer than a block of the reader, so that rows before the damage have been read.
LONG = "\n".join([HEADER, *(f"{time}x{row}" for time in range(30) for row in ROWS), ""]).encode()
PLACE = LONG.index(b"\n", len(LONG) * 2 // 3) + 20
LINE = LONG.count(b"\n", 0, PLACE) + 1
AFTER_COMMA = LONG.index(b",", PLACE) + 1


def over(content: bytes, place: int, damage: bytes) -> bytes:
    return content[:place] + damage + content[place + len(damage) :]


DAMAGE: dict[str, tuple[bytes, str, str]] = {
    "zero block": (
        over(LONG, PLACE, bytes(4096)),
        "the file contains zero bytes, a sign of a damaged disk or a broken transfer",
        f"byte 0x00 at offset {PLACE}",
    ),
    "one byte": (over(LONG, PLACE, b"\xff"), "the file is not UTF-8", f"byte 0xff at offset {PLACE}"),
    "a character cut in two": (over(LONG, PLACE, b"\xc3"), "the file is not UTF-8", f"byte 0xc3 at offset {PLACE}"),
    "a quote left open": (
        over(LONG, AFTER_COMMA, b'"'),
        "a quote is opened and never closed",
        f"no closing quote in the {LONG.count(bytes([10])) - LINE + 1:,} lines to the file's end",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_the_only_file_is_refused_with_the_place(tmp_path: Path, name: str) -> None:
    content, what, received = DAMAGE[name]
    path = tmp_path / "births.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as error:
        preprocess(PROBLEM_FILE, PreprocessConfig(str(path), str(tmp_path / "out"), "0" * 16))
    assert (error.value.what, error.value.where, error.value.received) == (what, f"{path}, line {LINE}", received)
    assert [entry.name for entry in tmp_path.iterdir()] == ["births.csv"]


@pytest.mark.parametrize("name", DAMAGE)
def test_one_of_many_files_is_out_whole(tmp_path: Path, name: str) -> None:
    content, what, _ = DAMAGE[name]
    data = tmp_path / "data"
    data.mkdir()
    size = len(ROWS) // FILES
    for number in range(FILES):
        rows = ROWS[number * size : (number + 1) * size]
        (data / f"births-{number:02d}.csv").write_text("\n".join([HEADER, *rows, ""]))
    (data / "births-07.csv").write_bytes(content)
    result = preprocess(PROBLEM_FILE, PreprocessConfig(str(data), str(tmp_path / "out"), "0" * 16))
    manifest = Manifest.read(str(tmp_path / "out"))
    assert result.rows_in == manifest.rows_in == (FILES - 1) * size
    (file,) = manifest.files_quarantined
    assert (file.file, file.reason, file.bytes) == ("births-07.csv", "file_unreadable", len(content))
    assert file.message.startswith(f"{data / 'births-07.csv'}, line {LINE}: {what}.")


def rows_of(path: Path, dialect: CsvDialect) -> int:
    (part,) = list_parts(str(path), csv=dialect)
    return sum(rows.count for rows in read_part(part, ["a", "b"], 1000))


@pytest.mark.parametrize(
    ("content", "options", "rows"),
    [
        # Quotes that open nothing: within a field, escaped, of another dialect, in a comment, above the header.
        ('a,b\n5" pipe,2\n', [], 1),
        ('a,b\n"x""y",2\n"\n",3\n5",4\n', [], 3),
        ('a,b\n"x\\"y",2\n', ["escape=\\", "double_quote=false"], 1),
        ('a,b\n"x,2\n', ["quote=none"], 1),
        ('a,b\n# say "hi\n1,2\n', ["comment=#"], 1),
        ('a "note\na,b\n1,2\n', ["skip_rows=1"], 1),
        ("a,b\n1,\0\n", ["null_values=\0"], 1),
    ],
)
def test_what_is_no_damage(tmp_path: Path, content: str, options: list[str], rows: int) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    assert rows_of(path, CsvDialect.parse(options)) == rows


@pytest.mark.parametrize(
    ("content", "options", "line"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n', [], 3),
        ('a,b\n1,2\n"3,4', [], 3),
        ('a;b\n1;2\n3;\'4\\\'\n5;6\n', ["delimiter=;", "quote='", "escape=\\"], 3),
        ('"\na,b\n1,2\n3,"4\n5,6\n', ["skip_rows=1"], 4),
        # An even number, by a quote that opens nothing.
        ('a,b\n5" pipe,2\n3,"4\n5,6\n', [], 3),
        ('a,b\n5" pipe,2\n"3,4\n5,6\n', [], 3),
    ],
)  # fmt: skip
def test_an_open_quote_is_found_in_any_dialect(tmp_path: Path, content: str, options: list[str], line: int) -> None:
    """The last field of a row takes in the rest, so that the number of its fields is right."""
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(UnreadableFile, match="a quote is opened and never closed") as error:
        rows_of(path, CsvDialect.parse(options))
    assert error.value.where == f"{path}, line {line}"


def test_an_open_quote_beside_comments(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('# "\na,b\n1,2\n3,"4\n# a part of the field\n')
    with pytest.raises(UnreadableFile, match="a quote is opened and never closed") as error:
        rows_of(path, CsvDialect.parse(["comment=#"]))
    assert error.value.where == f"{path}, line 3 without the comments"


def test_zero_bytes_of_utf_16_are_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-16")
    assert rows_of(path, CsvDialect.parse(["encoding=utf-16"])) == 1


def test_a_row_over_many_lines_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n1,"2\n3,4\n5",6,7\n')
    (part,) = list_parts(str(path))
    ((row,),) = (rows.refused for rows in read_part(part, ["a", "b"], 1000))
    assert row.fault.message == ("the row has 4 fields where the header has 2, over 3 lines: a quote may be missing")


def test_zero_bytes_in_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(over("".join(json.dumps({"a": n, "b": n}) + "\n" for n in range(99)).encode(), 500, bytes(64)))
    with pytest.raises(UnreadableFile, match="the file contains zero bytes"):
        rows_of(path, CsvDialect())


def test_many_files_in_another_encoding_say_how_to_read_them(tmp_path: Path) -> None:
    content = "\n".join([HEADER.replace("is_male", "is_mâle"), ROWS[0], ""]).encode("latin-1")
    for number in range(3):
        (tmp_path / f"{number}.csv").write_bytes(content)
    with pytest.raises(DataError, match="3 of 3 files cannot be read") as error:
        preprocess(PROBLEM_FILE, PreprocessConfig(str(tmp_path), str(tmp_path / "out"), "0" * 16))
    assert "set its encoding with --csv, such as encoding=latin-1" in str(error.value)
