"""What Examples keep for later rows: statistics that merge and fingerprints, so that no other shard is read again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.components.preprocess.append.spans import Update, add_span, append
from headrace.components.preprocess.append_index import KEYS, ROWS, STATISTICS, complete
from headrace.components.preprocess.output_guard import check_replaceable
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError, UsageError
from headrace.core.problem import Categorical, Numeric
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.statistics.sketches import RANK_ERROR
from headrace.core.tfrecord.decoding import decode
from headrace.core.tfrecord.framing import read_records

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM_FILE = load_problem(str(EXAMPLE / "natality.py"))
HEADER, *BIRTHS = (EXAMPLE / "births.csv").read_text().splitlines()
NO_EQUALS = dataclasses.replace(
    PROBLEM_FILE, problem=dataclasses.replace(PROBLEM_FILE.problem, duplicate_rows="quarantine")
)


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def config(data: Path, output: Path) -> PreprocessConfig:
    return PreprocessConfig(str(data), str(output), storage.fingerprint([str(data)])[:16])


def add(folder: Path, span: str, rows: list[str], file: ProblemFile = PROBLEM_FILE, **options: Any) -> Update:
    return add_span(file, config(write(folder / f"{span}.csv", rows), folder / "examples"), span, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def faults(examples: Path) -> list[tuple[str, int, str, str]]:
    rows = [row for file in quarantine_files(str(examples)) for row in read_rows(file)]
    return [(row.file, row.row, row.fault.reason, row.fault.message) for row in rows]


def train_values(examples: Path, column: str) -> list[float]:
    found: list[float] = []
    for shard in Manifest.read(str(examples)).splits["train"].shards:
        for records in read_records(examples / shard.file, compressed=False):
            found += decode(records, [column]).column(0).to_pylist()
    return found


def renamed(row: str, key: str) -> str:
    return f"{key}{row[row.index(',') :]}"


def test_spans_have_the_statistics_of_one_run_over_all_rows(tmp_path: Path) -> None:
    """More distinct numbers than are kept exactly: quantiles within the stated error, all else the same."""
    random = np.random.default_rng(11)
    numbers = random.lognormal(1, 2, 30_000)
    table = [f"k{row},{x!r},{'abc'[row % 3]},{x * 2!r}" for row, x in enumerate(numbers.tolist())]
    features = [Numeric("x"), Categorical("kind")]
    declared: dict[str, Any] = {
        "name": "numbers",
        "key": "id",
        "label": Numeric("y"),
        "features": features,
        "gate": None,
    }
    problem = dataclasses.replace(PROBLEM_FILE.problem, **declared)
    file = dataclasses.replace(PROBLEM_FILE, problem=problem)
    header = "id,x,kind,y"
    preprocess(file, config(write(tmp_path / "all.csv", table, header), tmp_path / "whole"))
    for span in range(3):
        data = write(tmp_path / f"{span}.csv", table[span * 10_000 : (span + 1) * 10_000], header)
        add_span(file, config(data, tmp_path / "spanned"), str(span))
    whole, spanned = (storage.read_json(str(tmp_path / of / "statistics.json")) for of in ("whole", "spanned"))
    assert spanned["rows"] == whole["rows"]
    assert spanned["columns"]["kind"] == whole["columns"]["kind"]
    assert Manifest.read(str(tmp_path / "spanned")).rows_out == 30_000
    for name in ("x", "y"):
        true = np.sort(train_values(tmp_path / "whole", name))
        assert len(true) == whole["rows"]
        one, merged = whole["columns"][name], spanned["columns"][name]
        for exact in ("count", "missing", "minimum", "maximum"):
            assert merged[exact] == one[exact]
        for rounded in ("mean", "standard_deviation"):
            assert merged[rounded] == pytest.approx(one[rounded], rel=1e-9)
        assert one["error"] == merged["error"] == {"quantile_rank": RANK_ERROR}
        for quantiles in (one["quantiles"], merged["quantiles"]):
            ranks = np.searchsorted(true, quantiles) / len(true)
            assert ranks == pytest.approx(np.linspace(0, 1, 21), abs=RANK_ERROR)
            assert (quantiles[0], quantiles[-1]) == (true[0], true[-1])


def test_adding_a_span_reads_no_shard_of_another(tmp_path: Path) -> None:
    add(tmp_path, "1", BIRTHS[:700])
    other = tmp_path / "other"
    other.mkdir()
    for span, rows in (("1", BIRTHS[:700]), ("2", BIRTHS[700:])):
        add(other, span, rows)
    for shard in (tmp_path / "examples").rglob("*.tfrecord"):
        shard.write_bytes(b"")
    manifest = add(tmp_path, "2", BIRTHS[700:]).manifest
    assert (manifest.rows_in, manifest.rows_quarantined) == (1450, 1)
    assert storage.read_bytes(str(tmp_path / "examples" / "statistics.json")) == storage.read_bytes(
        str(other / "examples" / "statistics.json")
    )


def test_the_manifest_lists_what_is_kept(tmp_path: Path) -> None:
    add(tmp_path, "1", BIRTHS[:700])
    add(tmp_path, "2", BIRTHS[700:])
    examples = tmp_path / "examples"
    for place, files in ((examples / "spans" / "1", [KEYS, STATISTICS]), (examples, [STATISTICS])):
        manifest = Manifest.read(str(place))
        assert [sketch.file for sketch in manifest.sketches] == files
        assert [sketch.bytes for sketch in manifest.sketches] == [(place / file).stat().st_size for file in files]
    keys = np.fromfile(examples / "spans" / "1" / KEYS, "<u8")
    assert len(keys) == Manifest.read(str(examples / "spans" / "1")).rows_out == 700
    assert (np.diff(keys.astype(object)) > 0).all()


def test_examples_without_them_are_measured_once(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for folder in (new, old):
        folder.mkdir()
        add(folder, "1", BIRTHS[:700])
    # As an earlier release left them.
    for place in (old / "examples", old / "examples" / "spans" / "1"):
        manifest = json.loads((place / "manifest.json").read_text())
        for sketch in manifest.pop("sketches"):
            (place / sketch["file"]).unlink()
        storage.write_json(str(place / "manifest.json"), manifest)
    for folder in (new, old):
        add(folder, "2", BIRTHS[700:])
    assert contents(old / "examples") == contents(new / "examples")
    span = old / "examples" / "spans" / "1"
    before = (span / STATISTICS).stat().st_ino
    assert complete(PROBLEM_FILE.problem, span) == Manifest.read(str(span))
    assert (span / STATISTICS).stat().st_ino == before


def test_appending_merges_what_is_kept(tmp_path: Path) -> None:
    data = write(tmp_path / "first.csv", BIRTHS[:1400])
    preprocess(PROBLEM_FILE, config(data, tmp_path / "examples"))
    assert [s.file for s in Manifest.read(str(tmp_path / "examples")).sketches] == [STATISTICS]
    for name, rows in (("a", BIRTHS[1400:1425]), ("b", BIRTHS[1425:])):
        append(PROBLEM_FILE, config(write(tmp_path / f"{name}.csv", rows), tmp_path / "examples"))
    preprocess(PROBLEM_FILE, config(write(tmp_path / "all.csv", BIRTHS), tmp_path / "whole"))
    complete(PROBLEM_FILE.problem, tmp_path / "whole")
    assert (tmp_path / "examples" / KEYS).read_bytes() == (tmp_path / "whole" / KEYS).read_bytes()
    ours, whole = (storage.read_json(str(tmp_path / of / "statistics.json")) for of in ("examples", "whole"))
    for name, column in whole["columns"].items():
        got = ours["columns"][name]
        assert (got["count"], got["missing"]) == (column["count"], column["missing"])
        if column["kind"] == "numeric":
            assert (got["minimum"], got["maximum"]) == (column["minimum"], column["maximum"])
            assert got["mean"] == pytest.approx(column["mean"], rel=1e-9)
            assert got["standard_deviation"] == pytest.approx(column["standard_deviation"], rel=1e-9)
            assert got["quantiles"] == pytest.approx(column["quantiles"], rel=1e-12)
        else:
            assert got == column
    assert not list((tmp_path / "examples" / "appended").rglob("sketches"))


@pytest.mark.parametrize("file", [STATISTICS, KEYS])
def test_what_is_damaged_is_said(tmp_path: Path, file: str) -> None:
    add(tmp_path, "1", BIRTHS[:700])
    path = tmp_path / "examples" / "spans" / "1" / file
    path.write_bytes(path.read_bytes()[:-8])
    before = contents(tmp_path / "examples")
    with pytest.raises(DataError, match="the append index is damaged") as error:
        add(tmp_path, "2", BIRTHS[700:])
    assert str(error.value.where).endswith(file)
    assert contents(tmp_path / "examples") == before


def test_a_key_of_another_span_is_a_duplicate(tmp_path: Path) -> None:
    add(tmp_path, "7", BIRTHS[:700])
    add(tmp_path, "8", BIRTHS[700:1300])
    # Keys 3 and 701 are taken, and the new 1301 comes twice.
    update = add(tmp_path, "9", [*BIRTHS[1300:], BIRTHS[2], renamed(BIRTHS[5], "701"), BIRTHS[1300]])
    manifest = update.manifest
    assert (update.rows, manifest.rows_in, manifest.rows_out) == (153, 1453, 1449)
    assert manifest.quarantine.reasons == {"duplicate_key": 3, "missing_value": 1}
    assert [fault for fault in faults(tmp_path / "examples") if fault[2] == "duplicate_key"] == [
        ("9.csv", 151, "duplicate_key", 'record_id is "3", which a row of span 7 has already'),
        ("9.csv", 152, "duplicate_key", 'record_id is "701", which a row of span 8 has already'),
        ("9.csv", 153, "duplicate_key", 'record_id is "1301", which row 1 of 9.csv has already'),
    ]
    # A span that is put in the place of itself meets the others only.
    again = add(tmp_path, "7", [*BIRTHS[:699], BIRTHS[750]], replace=True)
    assert again.manifest.quarantine.reasons == {"duplicate_key": 4, "missing_value": 1}
    appended = append(
        PROBLEM_FILE, config(write(tmp_path / "late.csv", [BIRTHS[800]]), tmp_path / "examples"), span="7"
    )
    assert appended.manifest.quarantine.reasons == {"duplicate_key": 5, "missing_value": 1}
    assert faults(tmp_path / "examples")[1][3] == 'record_id is "801", which a row of span 8 has already'


def test_the_same_data_as_another_span_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "1", BIRTHS[:700])
    before = contents(tmp_path / "examples")
    with pytest.raises(DataError, match='the key column "record_id" is not unique') as error:
        add(tmp_path, "2", BIRTHS[:700])
    assert error.value.table is not None
    assert error.value.table[1:] == [["duplicate_key", "700", "100.00%", ""], ["all", "700", "100.00%", "at most 5 %"]]
    assert contents(tmp_path / "examples") == before


def test_a_row_that_equals_one_of_another_span(tmp_path: Path) -> None:
    rows = list(dict.fromkeys(row[row.index(",") :] for row in BIRTHS if ",," not in row))
    rows = [f"{number}{row}" for number, row in enumerate(rows, 1)]
    add(tmp_path, "1", rows[:700], NO_EQUALS)
    place = tmp_path / "examples" / "spans" / "1"
    assert [sketch.file for sketch in Manifest.read(str(place)).sketches] == [KEYS, ROWS, STATISTICS]
    manifest = add(
        tmp_path, "2", [*rows[700:], renamed(rows[3], "new"), renamed(rows[710], "newer")], NO_EQUALS
    ).manifest
    assert manifest.quarantine.reasons == {"duplicate_row": 2}
    last = len(rows) - 700
    assert faults(tmp_path / "examples") == [
        ("2.csv", last + 1, "duplicate_row", "the row equals one of span 1 in all but its key"),
        ("2.csv", last + 2, "duplicate_row", "the row equals row 11 of 2.csv in all but its key"),
    ]
    late = write(tmp_path / "late.csv", [renamed(rows[20], "late")])
    manifest = append(NO_EQUALS, config(late, tmp_path / "examples"), span="2").manifest
    assert manifest.quarantine.reasons == {"duplicate_row": 3}


def test_what_was_built_up_is_not_replaced_unasked(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    check_replaceable(str(examples))
    for span, rows in (("2026-11-20", BIRTHS[:700]), ("2026-11-21", BIRTHS[700:])):
        add(tmp_path, span, rows)
    with pytest.raises(UsageError) as error:
        check_replaceable(str(examples))
    assert error.value.paragraph == (
        f"{examples}: the Examples there consist of 2 spans, which this would replace. Expected --span to add to "
        "them, or another --output. Received: the spans 2026-11-20, 2026-11-21, 1,450 rows. Give --replace if they "
        "are to go."
    )
    whole = tmp_path / "whole"
    preprocess(PROBLEM_FILE, config(write(tmp_path / "some.csv", BIRTHS[:1400]), whole))
    check_replaceable(str(whole))
    append(PROBLEM_FILE, config(write(tmp_path / "one.csv", BIRTHS[1400:1401]), whole))
    with pytest.raises(UsageError, match="1 row was appended to the Examples there, which this would replace"):
        check_replaceable(str(whole))


def test_a_file_that_was_left_out_stays_on_record(tmp_path: Path) -> None:
    def files(name: str, rows: list[str]) -> PreprocessConfig:
        folder = tmp_path / name
        folder.mkdir()
        size = len(rows) // 24
        for number in range(24):
            write(folder / f"{name}-{number:02d}.csv", rows[number * size : (number + 1) * size])
        (folder / f"{name}-24.csv").write_bytes(f"{HEADER}\n{rows[0]}\n".encode() + bytes(9))
        return PreprocessConfig(str(folder), str(tmp_path / "examples"), "0" * 16)

    add_span(PROBLEM_FILE, files("one", BIRTHS[:720]), "1")
    manifest = append(PROBLEM_FILE, files("late", BIRTHS[720:1440]), span="1").manifest
    assert manifest.rows_in == 1440
    for place in ("examples", "examples/spans/1"):
        left_out = Manifest.read(str(tmp_path / place)).files_quarantined
        assert [(file.file, file.reason) for file in left_out] == [
            ("one-24.csv", "file_unreadable"),
            ("late-24.csv", "file_unreadable"),
        ]
