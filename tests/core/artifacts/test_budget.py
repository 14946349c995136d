"""The warning for files that are left out: what they are, and what is wrong with the first one."""

from __future__ import annotations

from headrace.core.artifacts.budget import left_out


def test_a_file_that_is_left_out_is_named_with_its_error() -> None:
    files = [("b.avro", "d/b.avro, row 3: the row has no end."), ("a.csv", "d/a.csv: the file is empty.")]
    assert left_out(files[:1]) == (
        "warning: 1 file cannot be read, and its rows are all left out: b.avro. d/b.avro, row 3: the row has no end."
    )
    assert left_out(files) == (
        "warning: 2 files cannot be read, and their rows are all left out: b.avro, a.csv. "
        "The first error: d/b.avro, row 3: the row has no end."
    )


def test_files_of_one_name_in_several_folders_are_all_counted() -> None:
    files = [("part-0.csv", "d/1/part-0.csv: the file is empty."), ("part-0.csv", "d/2/part-0.csv: the file is empty.")]
    assert left_out(files).startswith("warning: 2 files cannot be read, and their rows are all left out: part-0.csv, ")
