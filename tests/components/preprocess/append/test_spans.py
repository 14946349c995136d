"""Examples that grow: spans are added without redoing others, corrected rows leave quarantine, kills harm nothing."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.users_files import check_users_files_stay

from headrace.components.preprocess.append.spans import Update, add_span, append, span_name
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.components.train.input import examples as train_examples
from headrace.core import storage
from headrace.core.artifacts.examples import SPLITS, Manifest
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.artifacts.quarantine import read_rows, to_csv
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.storage.edit_folder import exclusive, swapping
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

EXAMPLE = Path(__file__).parents[4] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
HEADER, *ROWS = (EXAMPLE / "births.csv").read_text().splitlines()
# Row 1118 lacks gestation_weeks; it is in the second part.
PARTS = [ROWS[:700], ROWS[700:]]


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def config(data: Path, output: Path) -> PreprocessConfig:
    return PreprocessConfig(str(data), str(output), storage.fingerprint([str(data)])[:16])


def add(folder: Path, span: str, rows: list[str], output: str = "examples", **options: Any) -> Update:
    return add_span(PROBLEM_FILE, config(write(folder / f"{span}.csv", rows), folder / output), span, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def keys(examples: Path) -> dict[str, list[str]]:
    """The keys of each split, by way of the manifest, and every checksum with them."""
    found: dict[str, list[str]] = {}
    for split in SPLITS:
        found[split] = []
        for shard in Manifest.read(str(examples)).splits[split].shards:
            for records in read_records(examples / shard.file, compressed=False):
                found[split] += [key.decode() for key in decode(records, ["record_id"]).column(0).to_pylist()]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    preprocess(PROBLEM_FILE, config(write(folder / "births.csv", ROWS), folder / "examples"))
    return folder / "examples"


@pytest.fixture
def births(whole: Path, tmp_path: Path) -> Path:
    """A copy of the Examples of all births, to be changed."""
    with swapping(tmp_path / "examples", None) as copy:
        for name, content in contents(whole).items():
            storage.write_bytes(str(copy / name), content)
    return tmp_path / "examples"


def test_spans_together_are_the_whole(tmp_path: Path, whole: Path) -> None:
    assert add(tmp_path, "18", PARTS[1]).status == "added"
    untouched = contents(tmp_path / "examples" / "spans" / "18")
    update = add(tmp_path, "7", PARTS[0])
    examples = tmp_path / "examples"
    assert contents(examples / "spans" / "18") == untouched
    assert [span.span for span in update.manifest.spans] == ["7", "18"]
    assert (update.rows, update.manifest.rows_in, update.manifest.rows_quarantined) == (700, 1450, 1)
    assert Manifest.read(str(examples)) == update.manifest
    assert {split: sorted(of) for split, of in keys(examples).items()} == {
        split: sorted(of) for split, of in keys(whole).items()
    }
    ours, all_at_once = (storage.read_json(str(path / "statistics.json")) for path in (examples, whole))
    assert ours["rows"] == all_at_once["rows"] == 1164
    for name, column in all_at_once["columns"].items():
        for measure, value in column.items():
            measured = ours["columns"][name][measure]
            assert measured == (value if isinstance(value, str) or measure == "vocabulary" else pytest.approx(value))
    (row,) = (row for file in quarantine_files(str(examples)) for row in read_rows(file))
    assert row.fault.reason == "missing_value"
    # What trains reads it as it reads any other.
    read = train_examples.open_examples(str(examples), PROBLEM_FILE.problem)
    assert read.train.rows == 1164


def test_the_order_in_which_spans_come_changes_no_byte(tmp_path: Path) -> None:
    for output, order in (("one", (0, 1)), ("other", (1, 0))):
        for part in order:
            add(tmp_path, f"2026-11-2{part}", PARTS[part], output)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_a_span_again(tmp_path: Path) -> None:
    add(tmp_path, "1", PARTS[0])
    before = contents(tmp_path / "examples")
    inode = (tmp_path / "examples").stat().st_ino
    assert add(tmp_path, "1", PARTS[0]).status == "unchanged"
    assert add(tmp_path, "1", PARTS[0], replace=True).status == "unchanged"
    assert (tmp_path / "examples").stat().st_ino == inode
    with pytest.raises(UsageError, match="span 1 exists already, with other data"):
        add(tmp_path, "1", PARTS[1])
    assert contents(tmp_path / "examples") == before
    update = add(tmp_path, "1", PARTS[1], replace=True)
    assert (update.status, update.manifest.rows_in) == ("replaced", 750)
    fresh = add_span(PROBLEM_FILE, config(tmp_path / "1.csv", tmp_path / "fresh"), "1")
    assert contents(tmp_path / "examples") == contents(tmp_path / "fresh")
    assert fresh.status == "added"


def test_spans_that_are_refused(tmp_path: Path, births: Path) -> None:
    with pytest.raises(UsageError, match="have no spans"):
        add(tmp_path, "1", PARTS[0])
    add(tmp_path, "1", PARTS[0], "spanned")
    with pytest.raises(UsageError, match="of two kinds"):
        add(tmp_path, "2026-11-20", PARTS[1], "spanned")
    with pytest.raises(UsageError, match="the span does not exist"):
        append(PROBLEM_FILE, config(tmp_path / "1.csv", tmp_path / "spanned"), span="9")
    with pytest.raises(UsageError, match="have spans"):
        append(PROBLEM_FILE, config(tmp_path / "1.csv", tmp_path / "spanned"))
    with pytest.raises(UsageError, match="the Examples to append to do not exist"):
        append(PROBLEM_FILE, config(tmp_path / "1.csv", tmp_path / "none"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="already holds something else"):
        add(tmp_path, "1", PARTS[0], "other")
    with pytest.raises(UsageError, match="a folder on this machine"):
        add_span(PROBLEM_FILE, PreprocessConfig(str(tmp_path / "1.csv"), "gs://bucket/examples", "0" * 16), "1")


@pytest.mark.parametrize(("text", "name"), [("17", "17"), ("007", "7"), ("2026-11-20", "2026-11-20")])
def test_names_of_spans(text: str, name: str) -> None:
    assert span_name(text) == name


@pytest.mark.parametrize("text", ["", "-1", "1.5", "2026-02-30", "../up", "2026-11", "today", "\u0661\u0667"])
def test_wrong_names_of_spans(text: str) -> None:
    with pytest.raises(UsageError, match="the span is wrong"):
        span_name(text)


def test_a_small_span_need_not_fill_every_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none fell into"):
        add(tmp_path, "1", ROWS[:2])
    assert not (tmp_path / "examples").exists()
    add(tmp_path, "1", PARTS[0])
    assert add(tmp_path, "2", ROWS[700:702]).manifest.rows_out == 702


def corrected(examples: Path, **values: str) -> list[dict[str, str]]:
    rows = [row for file in quarantine_files(str(examples)) for row in read_rows(file)]
    return [{**row, **values} for row in csv.DictReader(io.StringIO(to_csv(rows).decode()))]


def write_dicts(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_corrected_rows_leave_the_quarantine(tmp_path: Path, births: Path) -> None:
    rows = corrected(births, gestation_weeks="39")
    new = {**rows[0], "record_id": "new", "quarantine_id": ""}
    taken = {**new, "record_id": "5"}
    data = write_dicts(tmp_path / "corrected.csv", [*rows, new, taken])
    before = contents(births)
    update = append(PROBLEM_FILE, config(data, births))
    manifest = Manifest.read(str(births))
    assert (update.rows, update.corrected) == (3, 1)
    # 1450 rows, two of them new; the one that was wrong is in, and the one whose key was taken is not.
    assert (manifest.rows_in, manifest.rows_out, manifest.rows_quarantined) == (1452, 1451, 1)
    assert manifest.quarantine.reasons == {"duplicate_key": 1}
    assert [(source.file, source.rows) for source in manifest.source] == [("births.csv", 1450), ("corrected.csv", 2)]
    (row,) = (row for file in quarantine_files(str(births)) for row in read_rows(file))
    assert (row.file, row.row, row.values["record_id"]) == ("corrected.csv", 3, "5")
    assert {"1118", "new"} <= {key for of in keys(births).values() for key in of}
    assert sum(len(of) for of in keys(births).values()) == 1451
    assert storage.read_json(str(births / "statistics.json"))["rows"] == manifest.splits["train"].rows
    assert all(contents(births)[name] == content for name, content in before.items() if name.endswith(".tfrecord"))
    after = contents(births)
    assert append(PROBLEM_FILE, config(data, births)).status == "unchanged"
    assert contents(births) == after


def test_a_row_corrected_wrongly_is_counted_once(tmp_path: Path, births: Path) -> None:
    data = write_dicts(tmp_path / "corrected.csv", corrected(births, mother_age="200"))
    manifest = append(PROBLEM_FILE, config(data, births)).manifest
    assert (manifest.rows_in, manifest.rows_out, manifest.rows_quarantined) == (1450, 1449, 1)
    (row,) = (row for file in quarantine_files(str(births)) for row in read_rows(file))
    assert (row.file, row.fault.reason) == ("corrected.csv", "out_of_range")
    again = write_dicts(tmp_path / "again.csv", corrected(births, mother_age="20", gestation_weeks="39"))
    manifest = append(PROBLEM_FILE, config(again, births)).manifest
    assert (manifest.rows_in, manifest.rows_out, manifest.rows_quarantined) == (1450, 1450, 0)
    assert [added.corrected for added in manifest.appended] == [1, 1]
    assert not quarantine_files(str(births))
    check_users_files_stay(births, EXAMPLES, "train", "quarantine", "sketches", "appended/00002/train")


def test_a_correction_belongs_to_its_span(tmp_path: Path) -> None:
    for span, part in (("1", PARTS[0]), ("2", PARTS[1])):
        add(tmp_path, span, part)
    examples = tmp_path / "examples"
    data = write_dicts(tmp_path / "corrected.csv", corrected(examples, gestation_weeks="39"))
    manifest = append(PROBLEM_FILE, config(data, examples), span="2").manifest
    assert (manifest.rows_in, manifest.rows_out, manifest.rows_quarantined) == (1450, 1450, 0)
    assert [span.rows_quarantined for span in manifest.spans] == [0, 0]
    assert sum(len(of) for of in keys(examples).values()) == 1450
    # The span's own data is still the same.
    assert add(tmp_path, "2", PARTS[1]).status == "unchanged"
    inside = ("spans", "spans/1/train", "spans/2/quarantine", "spans/2/appended/00001/train", "sketches")
    check_users_files_stay(examples, EXAMPLES, *inside)


def test_files_of_the_users_stay_in_examples_that_grow(tmp_path: Path, births: Path) -> None:
    add(tmp_path, "1", PARTS[0], "spanned")
    spanned = tmp_path / "spanned"
    rows = write(tmp_path / "new.csv", [f"n{PARTS[1][0]}"])
    (births / "quarantine" / "corrected.csv").write_text("work")
    (spanned / "spans" / "1" / "thesis.txt").write_text("years")
    before = contents(tmp_path)
    for act in (
        lambda: append(PROBLEM_FILE, config(rows, births)),
        lambda: append(PROBLEM_FILE, config(rows, spanned), span="1"),
        lambda: add_span(PROBLEM_FILE, config(rows, spanned), "1", replace=True),
        lambda: add_span(PROBLEM_FILE, config(rows, spanned), "2"),
    ):
        with pytest.raises(UsageError, match="Nothing was changed"):
            act()
    assert contents(tmp_path) == before


def test_a_file_that_comes_while_examples_grow_stays(tmp_path: Path, births: Path) -> None:
    mine = births / "train" / "thesis.txt"
    rows = write(tmp_path / "new.csv", [f"n{PARTS[1][0]}"])
    before = contents(births)
    with pytest.raises(UsageError, match=r"Received: also train/thesis\.txt\."):
        append(PROBLEM_FILE, config(rows, births), report=lambda *_, **__: mine.write_text("years") and None)
    assert contents(births) == {**before, "train/thesis.txt": b"years"}


def test_the_budget_is_of_all_rows_together(tmp_path: Path, births: Path) -> None:
    wrong = [f"n{place}{row[row.index(',') :]}".replace("single", "") for place, row in enumerate(ROWS[:200])]
    before = contents(births)
    assert append(PROBLEM_FILE, config(write(tmp_path / "few.csv", wrong[:20]), births)).manifest.rows_quarantined > 15
    with pytest.raises(DataError, match="the quarantine budget is spent") as error:
        append(PROBLEM_FILE, config(write(tmp_path / "many.csv", wrong[20:]), births))
    assert error.value.table is not None
    assert error.value.table[-1][0] == "all"
    assert contents(births).keys() > before.keys()


def test_the_same_steps_give_the_same_bytes(tmp_path: Path, whole: Path) -> None:
    made = []
    for name in ("one", "other"):
        for file, content in contents(whole).items():
            storage.write_bytes(str(tmp_path / name / file), content)
        data = write_dicts(tmp_path / "corrected.csv", corrected(whole, gestation_weeks="39"))
        append(PROBLEM_FILE, config(data, tmp_path / name))
        made.append(contents(tmp_path / name))
    assert made[0] == made[1]


_WRITER = """
import sys
from headrace.components.preprocess import pipeline
from headrace.components.preprocess.append import spans
from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.core.storage import durable

problem, data, output, place = sys.argv[1:]
module, name = {
    "copied": (spans, "completed"),
    "half written": (storage, "write_json"),
    "written": (pipeline, "preprocess"),
    "merged": (spans, "merge_spans"),
    "swapped": (durable, "swap_folders"),
}[place]
work = getattr(module, name)

def stopping(*given, **options):
    work(*given, **options)
    print("there", flush=True)
    sys.stdin.read()

setattr(module, name, stopping)
spans.add_span(load_problem(problem), pipeline.PreprocessConfig(data, output, "1" * 16), "2")
"""


@pytest.mark.parametrize("place", ["copied", "half written", "written", "merged", "swapped"])
def test_a_killed_writer_leaves_what_was_there(tmp_path: Path, place: str) -> None:
    add(tmp_path, "1", PARTS[0])
    examples = tmp_path / "examples"
    before = contents(examples)
    data = write(tmp_path / "2.csv", PARTS[1])
    command = [sys.executable, "-c", _WRITER, str(EXAMPLE / "natality.py"), str(data), str(examples), place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        process.kill()
    assert list(tmp_path.glob(".examples.edit-*"))
    if place == "swapped":
        now = Manifest.read(str(examples))
        assert [span.span for span in now.spans] == ["1", "2"]
        assert sum(len(of) for of in keys(examples).values()) == now.rows_out
    else:
        assert contents(examples) == before
    add(tmp_path, "2", PARTS[1])
    assert Manifest.read(str(examples)).rows_in == 1450
    assert not list(tmp_path.glob(".examples.edit-*"))


def test_a_folder_that_was_put_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".examples.edit-aside").mkdir()
    (tmp_path / ".examples.edit-aside" / "kept").write_text("here")
    (tmp_path / ".examples.edit-x").mkdir()
    with exclusive(str(tmp_path / "examples")) as folder:
        assert (folder / "kept").read_text() == "here"
    assert not list(tmp_path.glob(".examples.edit-*"))


def test_what_fails_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("1")
    with pytest.raises(ValueError, match="stop"), swapping(tmp_path / "folder", None) as copy:
        storage.write_bytes(str(copy / "a"), b"2")
        raise ValueError("stop")
    assert contents(tmp_path) == {"folder/a": b"1"}
    with swapping(tmp_path / "folder", None) as copy:
        storage.write_bytes(str(copy / "a"), b"2")
    assert contents(tmp_path) == {"folder/a": b"2"}
