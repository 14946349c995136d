"""A file that is damaged goes to quarantine whole, or the run is refused: never a crash, never half a file."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest
from headrace.core.errors import DataError, UnreadableFile
from headrace.core.problem.file import load_problem

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
TABLE = pacsv.read_csv(EXAMPLE / "births.csv")
IDENTITY = "0123456789abcdef"
FILES = 25
ROWS = len(TABLE) // FILES


def write_files(folder: Path) -> list[Path]:
    """The births in 25 Parquet files of three row groups."""
    folder.mkdir()
    paths = [folder / f"births-{number:02d}.parquet" for number in range(FILES)]
    for number, path in enumerate(paths):
        piece = TABLE.slice(number * ROWS, ROWS)
        pq.write_table(
            piece, path, row_group_size=20, write_page_checksum=True, compression="none", use_dictionary=False
        )
    return paths


def break_last_row_group(path: Path) -> None:
    """A page of the column read last is damaged, so that rows of the groups before were read already."""
    metadata = pq.read_metadata(path)
    place = metadata.schema.names.index("weight_pounds")
    column = metadata.row_group(metadata.num_row_groups - 1).column(place)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder).rglob("*.tfrecord"))}


def test_a_file_that_breaks_half_way_is_out_whole(tmp_path: Path) -> None:
    paths = write_files(tmp_path / "data")
    broken = paths[7]
    whole = broken.read_bytes()
    break_last_row_group(broken)
    config = PreprocessConfig(str(tmp_path / "data"), str(tmp_path / "out"), IDENTITY, batch_rows=10)
    result = preprocess(PROBLEM_FILE, config)
    manifest = Manifest.read(str(tmp_path / "out"))
    assert result.rows_in == manifest.rows_in == (FILES - 1) * ROWS
    assert [source.rows for source in manifest.source] == [0 if n == 7 else ROWS for n in range(FILES)]
    (file,) = manifest.files_quarantined
    assert (file.file, file.bytes, file.reason) == ("births-07.parquet", len(whole), "file_unreadable")
    assert file.message.startswith(f"{broken}: the file is not Parquet, or is damaged")
    assert not (tmp_path / "out" / ".work").exists()

    # The Examples are those of the other files, byte for byte.
    broken.unlink()
    preprocess(PROBLEM_FILE, PreprocessConfig(str(tmp_path / "data"), str(tmp_path / "without"), IDENTITY))
    assert contents(tmp_path / "out") == contents(tmp_path / "without")
    assert Manifest.read(str(tmp_path / "without")).files_quarantined == ()
    assert "files_quarantined" not in json.loads((tmp_path / "without" / "manifest.json").read_text())


def test_a_file_that_is_damaged_at_its_head(tmp_path: Path) -> None:
    paths = write_files(tmp_path / "data")
    paths[0].write_bytes(paths[0].read_bytes()[:-20])
    preprocess(PROBLEM_FILE, PreprocessConfig(str(tmp_path / "data"), str(tmp_path / "out"), IDENTITY))
    manifest = Manifest.read(str(tmp_path / "out"))
    assert [file.file for file in manifest.files_quarantined] == ["births-00.parquet"]
    assert manifest.rows_in == (FILES - 1) * ROWS


def test_more_damaged_files_than_the_budget_allows(tmp_path: Path) -> None:
    paths = write_files(tmp_path / "data")
    paths[1].write_bytes(b"")
    break_last_row_group(paths[2])
    with pytest.raises(DataError) as error:
        preprocess(PROBLEM_FILE, PreprocessConfig(str(tmp_path / "data"), str(tmp_path / "out"), IDENTITY))
    assert error.value.what == "2 of 25 files cannot be read"
    assert error.value.expected == "at most 5 % of the files (1)"
    assert str(paths[1]) in str(error.value.received)
    assert str(paths[2]) in str(error.value.received)
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("at", ["head", "end"])
def test_one_of_a_few_files_is_out_whole_and_a_warning_names_it(tmp_path: Path, at: str) -> None:
    """Of 2 to 19 files 5 % are less than one."""
    paths = write_files(tmp_path / "data")
    for path in paths[3:]:
        path.unlink()
    if at == "head":
        paths[1].write_bytes(paths[1].read_bytes()[:-20])
    else:
        break_last_row_group(paths[1])
    config = PreprocessConfig(str(tmp_path / "data"), str(tmp_path / "out"), IDENTITY)
    said: list[tuple[str, bool]] = []

    def report(message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False) -> None:
        said.append((message, lasting))

    result = preprocess(PROBLEM_FILE, config, report)
    assert result.rows_in == 2 * ROWS
    (left,) = Manifest.read(str(tmp_path / "out")).files_quarantined
    assert left.file == "births-01.parquet"
    assert left.message.startswith(f"{paths[1]}: ")
    warning = f"warning: 1 file cannot be read, and its rows are all left out: births-01.parquet. {left.message}"
    assert said.count((warning, True)) == 1

    paths[0].write_bytes(b"PAR1")
    with pytest.raises(DataError, match="2 of 3 files cannot be read") as caught:
        preprocess(PROBLEM_FILE, config)
    assert caught.value.expected == "at most 5 % of the files (1)"


def test_a_budget_of_nothing_allows_no_damaged_file(tmp_path: Path) -> None:
    paths = write_files(tmp_path / "data")
    break_last_row_group(paths[1])
    strict = dataclasses.replace(PROBLEM_FILE.problem, quarantine_budget=0.0)
    with pytest.raises(DataError, match="1 of 25 files cannot be read"):
        preprocess(
            dataclasses.replace(PROBLEM_FILE, problem=strict),
            PreprocessConfig(str(tmp_path / "data"), str(tmp_path / "out"), IDENTITY),
        )


@pytest.mark.parametrize("no_rows", ["skip", "refuse"])
def test_without_other_rows_the_damaged_file_is_the_error(tmp_path: Path, no_rows: Literal["skip", "refuse"]) -> None:
    paths = write_files(tmp_path / "data")
    for path in paths[1:]:
        path.unlink()
    paths[0].write_bytes(paths[0].read_bytes()[:-20])
    pq.write_table(TABLE.slice(0, 0), paths[1])
    problem = dataclasses.replace(PROBLEM_FILE.problem, no_rows=no_rows)
    with pytest.raises(UnreadableFile) as caught:
        preprocess(
            dataclasses.replace(PROBLEM_FILE, problem=problem),
            PreprocessConfig(str(tmp_path / "data"), str(tmp_path / "out"), IDENTITY),
        )
    assert caught.value.where == str(paths[0])


@pytest.mark.parametrize("cut", [-4, 5000])
def test_the_only_file(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "births.csv.gz"
    path.write_bytes(gzip.compress((EXAMPLE / "births.csv").read_bytes())[:cut])
    with pytest.raises(UnreadableFile) as error:
        preprocess(PROBLEM_FILE, PreprocessConfig(str(path), str(tmp_path / "out"), IDENTITY))
    assert (error.value.where, error.value.exit_status) == (str(path), 2)
    assert error.value.received == "Truncated compressed stream"
    assert [entry.name for entry in tmp_path.iterdir()] == ["births.csv.gz"]


def test_from_a_bucket_to_a_bucket(put: Callable[[str, bytes], str], bucket: str, tmp_path: Path) -> None:
    data = put("births.csv.gz", gzip.compress((EXAMPLE / "births.csv").read_bytes()))
    output = f"gs://{bucket}/examples"
    result = preprocess(PROBLEM_FILE, PreprocessConfig(data, output, IDENTITY))
    assert (result.rows_in, result.rows_out) == (1450, 1449)
    manifest = Manifest.read(output)
    preprocess(PROBLEM_FILE, PreprocessConfig(str(EXAMPLE / "births.csv"), str(tmp_path / "out"), IDENTITY))
    local = Manifest.read(str(tmp_path / "out"))
    assert [shard for split in manifest.splits.values() for shard in split.shards] == [
        shard for split in local.splits.values() for shard in split.shards
    ]
    assert manifest.source[0].file == "births.csv.gz"
    shard = manifest.splits["train"].shards[0]
    assert len(storage.read_bytes(f"{output}/{shard.file}")) == shard.bytes
