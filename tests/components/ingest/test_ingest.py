"""Ingest: windows over spans, corrections, withdrawals, quarantine by row and as a whole, and what is never redone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import headrace
from support.day_spans import PROBLEM, Days, contents, day, keys_of, rows_of
from support.fuzzing import max_examples
from support.users_files import check_users_files_stay

from headrace.components.ingest import spans as ingest_spans
from headrace.components.ingest.catalog import Catalog
from headrace.components.ingest.config import IngestConfig
from headrace.components.preprocess.append.spans import add_span
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.components.train.input import examples as train_examples
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest, Schema
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.artifacts.open_examples import open_examples
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.errors import DataError, UsageError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Days:
    """A root with six days in two revisions each; the second revision of day 4 is bad."""
    days = Days(tmp_path_factory.mktemp("made"))
    days.ingest(*(arrival for span in range(6) for arrival in versions_of(days, span)))
    return days


def versions_of(days: Days, span: int) -> list:  # type: ignore[type-arg]
    name = day(span)
    bad = span == 4
    return [
        days.arrival(name, rows_of(name), at=span),
        days.arrival(name, rows_of(name, 1), at=10 + span, header="id,wrong,c,y" if bad else "id,x,c,y"),
    ]


def test_days_come_and_go(tmp_path: Path) -> None:
    days = Days(tmp_path)
    for number in range(3):
        result = days.ingest(days.arrival(day(number), rows_of(day(number)), at=number), last_spans=2)
        assert (result.trainable, result.added, result.newest) == (True, (day(number),), day(number))
        rows = 40 * min(number + 1, 2)
        assert (result.rows_in, result.rows_out, result.rows_quarantined) == (rows, rows, 0)
    assert result.spans == (day(1), day(2))
    manifest = Manifest.read(days.output)
    assert [span.span for span in manifest.spans] == [day(1), day(2)]
    # No row of the first day is left, neither in the shards nor in the statistics.
    keys = keys_of(days.output)
    assert {key[:10] for of in keys.values() for key in of} == {day(1), day(2)}
    statistics = storage.read_json(f"{days.output}/statistics.json")
    both = [rows_of(day(1)), rows_of(day(2))]
    train = {row.split(",")[0]: float(row.split(",")[1]) for rows in both for row in rows}
    xs = sorted(train[key] for key in keys["train"])
    x = statistics["columns"]["x"]
    assert (x["count"], x["minimum"], x["maximum"]) == (len(xs), xs[0], xs[-1])
    assert x["mean"] == pytest.approx(sum(xs) / len(xs))
    # Nothing is copied: the window is three files.
    assert sorted(contents(Path(days.output))) == ["manifest.json", "schema.json", "statistics.json"]
    check_users_files_stay(Path(days.output), EXAMPLES)


def test_training_reads_a_window_as_any_examples(made: Days, tmp_path: Path) -> None:
    days = Days(tmp_path)
    both = [rows_of(day(0)), rows_of(day(1))]
    days.ingest(*(days.arrival(day(number), rows, at=number) for number, rows in enumerate(both)))
    (tmp_path / "all.csv").write_text("\n".join(["id,x,c,y", *both[0], *both[1]]) + "\n")
    preprocess(days.file, PreprocessConfig(str(tmp_path / "all.csv"), str(tmp_path / "whole"), "0" * 16))
    window = train_examples.open_examples(days.output, days.file.problem)
    whole = train_examples.open_examples(str(tmp_path / "whole"), days.file.problem)
    assert (window.train.rows, window.eval.rows) == (whole.train.rows, whole.eval.rows)
    assert keys_of(days.output) == keys_of(str(tmp_path / "whole"))
    for name, column in whole.statistics.items():
        for measure, value in column.items():
            same = value if isinstance(value, str) or measure == "vocabulary" else pytest.approx(value)
            assert window.statistics[name][measure] == same
    # The newest span's test rows are told apart.
    newest = open_examples(days.output, days.file.problem).newest_test()
    of_newest = [key for key in keys_of(days.output)["test"] if key.startswith(day(1))]
    assert newest.rows == len(of_newest) > 0
    assert all(f"/{day(1)}/" in file for file in newest.files)
    with pytest.raises(DataError, match="have no newest span"):
        open_examples(str(tmp_path / "whole"), days.file.problem).newest_test()
    # What adds to Examples in place does not touch a window.
    with pytest.raises(UsageError, match=r"a window of `headrace ingest`"):
        add_span(days.file, PreprocessConfig(str(tmp_path / "all.csv"), days.output, "0" * 16), "2026-01-09")


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "correct"]), st.integers(0, 5)),
        st.tuples(st.sampled_from(["withdraw", "restore"]), st.integers(0, 5)),
    ),
    min_size=1,
    max_size=9,
)


@max_examples(30)
@given(
    steps=STEPS, last=st.sampled_from([{}, {"last_spans": 3}, {"last_days": 3}, {"half_life": 2}]), burst=st.booleans()
)
def test_any_history_gives_the_window_of_its_last_spans(
    made: Days, steps: list[Step], last: dict[str, int], burst: bool
) -> None:
    made.forget_catalog()
    arrived: dict[int, set[int]] = {}
    withdrawn: set[int] = set()
    waiting = []
    for place, (what, span) in enumerate(steps):
        if what in ("add", "correct"):
            arrived.setdefault(span, set()).add(int(what == "correct"))
            waiting.append(versions_of(made, span)[what == "correct"])
        elif what == "withdraw" and span in arrived:
            withdrawn.add(span)
        elif what == "restore":
            withdrawn.discard(span)
        if not burst or place == len(steps) - 1:
            left_out = tuple(day(span) for span in sorted(withdrawn))
            result = made.ingest(*waiting, withdrawn=left_out, **last)
            waiting = []
    # Day 4 has a bad correction: what it was before stays.
    good = {span: {*of} - {1} if span == 4 else of for span, of in arrived.items() if span not in withdrawn}
    newest = {span: max(of) for span, of in sorted(good.items()) if of}
    if "last_spans" in last:
        newest = dict(list(newest.items())[-3:])
    if "last_days" in last:
        newest = {span: of for span, of in newest.items() if span > max(newest) - 3}
    assert result.spans == tuple(map(day, newest))
    assert result.rows_in == result.rows_out + result.rows_quarantined == 40 * len(newest)
    window = made.window()
    made.forget_catalog()
    if not newest:
        assert (window, result.trainable, result.identity) == ({}, False, "")
        return
    arrivals = [versions_of(made, span)[revision] for span, revision in newest.items()]
    from_nothing = made.ingest(*arrivals, half_life=last.get("half_life", 0))
    assert made.window() == window
    assert from_nothing.spans == result.spans


def test_nothing_is_preprocessed_twice(made: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    made.forget_catalog()
    monkeypatch.setattr(ingest_spans.pipeline, "preprocess", None)
    result = made.ingest(versions_of(made, 0)[0], versions_of(made, 2)[1])
    assert result.spans == (day(0), day(2))
    again = made.window()
    # An event that comes again, or a call that was killed after its work.
    assert made.ingest(versions_of(made, 0)[0]).added == (day(0),)
    assert made.window() == again
    # Data of a span that is there may be gone.
    arrival = versions_of(made, 2)[1]
    Path(arrival.data).unlink()
    assert made.ingest(arrival, last_spans=1).spans == (day(2),)


def test_a_span_whose_examples_are_gone_is_made_again(tmp_path: Path) -> None:
    days = Days(tmp_path)
    arrivals = [days.arrival(day(number), rows_of(day(number)), number) for number in range(2)]
    days.ingest(*arrivals)
    before = contents(tmp_path)
    (version,) = (each for each in Catalog(f"{days.root}/spans/days").read().values() if each.span == day(0))
    place = Path(days.root, "spans", "days", version.folder)
    (place / "train" / "part-00000-of-00001.tfrecord").unlink()
    with pytest.raises(DataError, match="a shard is missing") as caught:
        train_examples.open_examples(days.output, days.file.problem)
    assert caught.value.fix == f"Remove {place}, and run `headrace ingest` again with the data of this span"
    shutil.rmtree(place)
    days.ingest(arrivals[0])
    assert contents(tmp_path) == before


def test_rows_that_break_a_rule_go_to_quarantine_by_row(tmp_path: Path) -> None:
    days = Days(tmp_path)
    rows = rows_of(day(0))
    rows[3], rows[7] = "a,-1,a,1", "b,1,a,"
    result = days.ingest(days.arrival(day(0), rows))
    assert (result.rows_in, result.rows_out, result.rows_quarantined, result.others) == (40, 38, 2, {})
    (file,) = quarantine_files(days.output)
    assert [(row.row, row.fault.reason) for row in read_rows(file)] == [(4, "out_of_range"), (8, "missing_value")]
    shown = json.loads(headrace("quarantine", "show", days.output, "--json").stdout)
    assert shown["reasons"] == {"out_of_range": 1, "missing_value": 1}


def spoiled(span: str, count: int) -> list[str]:
    return [f"{row.split(',')[0]},-1,a,1" if number < count else row for number, row in enumerate(rows_of(span))]


def test_a_bad_span_is_quarantined_whole(tmp_path: Path) -> None:
    days = Days(tmp_path)
    days.ingest(days.arrival(day(0), rows_of(day(0))))
    before = days.window()
    arrivals = {
        'the column "x" does not exist': days.arrival(day(1), rows_of(day(1)), 1, "id,speed,c,y"),
        "the quarantine budget is spent": days.arrival(day(2), spoiled(day(2), 5), 2),
        'the column "x" has drifted': days.arrival(day(3), rows_of(day(3), scale=9), 3),
        "no file, folder or match": dataclasses.replace(days.arrival(day(4), rows_of(day(4)), 4), data="gone.csv"),
    }
    champion = str(shutil.copytree(days.output, tmp_path / "champion"))
    result = days.ingest(*arrivals.values(), baseline=champion)
    assert (result.trainable, result.added, result.spans) == (False, (), (day(0),))
    assert result.others == dict.fromkeys((arrival.version for arrival in arrivals.values()), "quarantined")
    assert days.window() == before
    assert [bad.span for bad in result.quarantined] == [day(number) for number in (1, 2, 3, 4)]
    for bad, (why, rows) in zip(result.quarantined, zip(arrivals, (40, 40, 40, 0), strict=True), strict=True):
        assert why in bad.why
        assert bad.rows == rows
    column, budget, drift, _ = (bad.quarantine for bad in result.quarantined)
    for place, reasons in (
        (column, {"bad_span": 40}),
        (budget, {"bad_span": 35, "out_of_range": 5}),
        (drift, {"bad_span": 40}),
    ):
        shown = headrace("quarantine", "show", place, "--limit", "0", "--json")
        assert (shown.returncode, json.loads(shown.stdout)["reasons"]) == (0, reasons)
        assert [row["row"] for row in json.loads(shown.stdout)["rows"]] == list(range(1, 41))
    # The same again is the same, and a corrected span takes its place.
    left = contents(tmp_path / "root")
    assert days.ingest(*arrivals.values(), baseline=champion) == result
    assert contents(tmp_path / "root") == left
    assert days.ingest(days.arrival(day(1), rows_of(day(1)), 9)).spans == (day(0), day(1))
    # What could not be read is tried again when it arrives again.
    (tmp_path / "gone.csv").write_bytes(Path(tmp_path / "data" / f"{day(4)}-4.csv").read_bytes())
    back = dataclasses.replace(arrivals["no file, folder or match"], data=str(tmp_path / "gone.csv"))
    assert days.ingest(back, baseline=champion).added == (day(4),)
    # With other limits to compare with, a version is judged again, and not preprocessed again.
    assert days.ingest(arrivals['the column "x" has drifted']).spans == (day(0), day(1), day(3), day(4))
    assert (Path(column).exists(), Path(drift).exists()) == (True, False)


def test_a_bad_correction_leaves_the_span_as_it_was(tmp_path: Path) -> None:
    days = Days(tmp_path)
    first = days.arrival(day(0), rows_of(day(0)), 0)
    days.ingest(first)
    before = days.window()
    bad = days.arrival(day(0), rows_of(day(0), 1), 1, "id,speed,c,y")
    result = days.ingest(bad)
    assert (result.trainable, result.others) == (False, {bad.version: "quarantined"})
    assert days.window() == before
    # An announcement that was delayed is older than the one that came first.
    days.ingest(days.arrival(day(0), rows_of(day(0), 3), 3))
    assert days.ingest(days.arrival(day(0), rows_of(day(0), 2), 2)).added == ()
    assert {key.split("/")[1] for of in keys_of(days.output).values() for key in of} == {"3"}
    # The data that was there first comes back: its announcement is the newest.
    assert days.ingest(dataclasses.replace(first, at="2026-02-02T00:00:00+00:00")).added == (day(0),)
    assert days.window() == before


def test_withdrawn_spans(tmp_path: Path) -> None:
    days = Days(tmp_path)
    first, second = (days.arrival(day(number), rows_of(day(number)), number) for number in (0, 1))
    days.ingest(first, second)
    result = days.ingest(withdrawn=(day(0),))
    assert (result.trainable, result.spans, result.withdrawn, result.others) == (True, (day(1),), (day(0),), {})
    # By its version, also before it was ever read.
    third = days.arrival(day(2), rows_of(day(2)), 2)
    result = days.ingest(third, withdrawn=(third.version,))
    assert (result.trainable, result.spans, result.others) == (False, (day(0), day(1)), {third.version: "withdrawn"})
    assert not (tmp_path / "root" / "spans" / "days" / day(2)).exists()
    assert days.ingest().spans == (day(0), day(1), day(2))
    # Nothing is left to train on, and nobody trains on what was there before.
    assert days.window()
    assert days.ingest(withdrawn=(day(0), day(1), day(2))).spans == ()
    assert not days.window()
    with pytest.raises(UsageError, match="the withdrawn span is not known"):
        days.ingest(withdrawn=(day(3),))


def test_a_day_without_rows(tmp_path: Path) -> None:
    days = Days(tmp_path)
    days.ingest(days.arrival(day(0), rows_of(day(0)), 0), days.arrival(day(1), rows_of(day(1)), 1))
    result = days.ingest(days.arrival(day(2), [], 2), last_days=2)
    assert (result.trainable, result.spans, result.others, result.newest) == (False, (day(1),), {}, day(1))
    # As a correction it empties the span.
    assert days.ingest(days.arrival(day(1), [], 3)).spans == (day(0),)


def test_another_declaration_preprocesses_the_window_again(tmp_path: Path) -> None:
    days = Days(tmp_path)
    days.ingest(*(days.arrival(day(number), rows_of(day(number)), number) for number in range(3)), last_spans=2)
    before = days.window()
    wider = Days(tmp_path, problem=PROBLEM.replace("maximum=1000", "maximum=2000"))
    result = wider.ingest(days.arrival(day(3), rows_of(day(3)), 3), last_spans=2)
    assert result.spans == (day(2), day(3))
    assert Manifest.read(days.output).schema_digest == wider.file.problem.schema_digest
    # Data that changed since is not taken for what it was.
    Path(days.folder / "data" / f"{day(1)}-1.csv").write_text("id,x,c,y\nother,1,a,1\n")
    result = wider.ingest(last_spans=3)
    assert result.spans == (day(0), day(2), day(3))
    assert "the data of the span changed since it was preprocessed first" in result.quarantined[0].why
    # Back to the first declaration, everything is there.
    assert days.ingest(last_spans=2, withdrawn=(day(3),)).spans == (day(1), day(2))
    assert days.window() == before


def test_a_baseline_of_another_schema_is_compared_in_what_is_the_same(tmp_path: Path) -> None:
    narrow = PROBLEM.replace(', Categorical("c")', "")
    first = Days(tmp_path / "first", problem=narrow)
    first.ingest(first.arrival(day(0), rows_of(day(0))))
    days = Days(tmp_path / "second")
    good = days.ingest(days.arrival(day(0), rows_of(day(0))), baseline=first.output)
    assert (good.spans, good.not_compared) == ((day(0),), ("c",))
    drifted = days.ingest(days.arrival(day(1), rows_of(day(1), scale=9), 1), baseline=first.output)
    assert (drifted.spans, list(drifted.others.values())) == ((day(0),), ["quarantined"])


def test_a_span_that_is_stored_in_another_form_is_not_mixed_with_others(tmp_path: Path) -> None:
    days = Days(tmp_path)
    first = days.arrival(day(0), rows_of(day(0)), 0)
    days.ingest(first, withdrawn=(day(0),))
    (version,) = Catalog(f"{days.root}/spans/days").read().values()
    place = f"{days.root}/spans/days/{version.folder}"
    preprocess(days.file, PreprocessConfig(first.data, place, version.key, version.data_version, addition="span"))
    schema = storage.read_json(f"{place}/schema.json")
    schema["columns"][0]["optional"] = True
    storage.write_json(f"{place}/schema.json", schema)
    result = days.ingest(first)
    assert (result.spans, result.others) == ((), {first.version: "quarantined"})
    assert "stored in another form" in result.quarantined[0].why


def scaled_rows(name: str, power: int) -> list[str]:
    rows = (row.split(",") for row in rows_of(name))
    return [f"{key},{int(x) + 1}e{power},{c},{y}" for key, x, c, y in rows]


def test_spans_have_one_scale_whatever_each_would_have(tmp_path: Path) -> None:
    wide = PROBLEM.replace(", minimum=0, maximum=1000", "").replace("    drift=Drift(jensen_shannon=0.5),\n", "")
    days = Days(tmp_path, problem=wide)
    for number, power in enumerate((-60, -64, -58)):
        result = days.ingest(days.arrival(day(number), scaled_rows(day(number), power), number))
        assert (result.quarantined, result.added) == ((), (day(number),))
    opened = open_examples(days.output, days.file.problem)
    exponents = [Schema.read(str(path.parent)).exponents for path in Path(days.root).rglob("20*/*/schema.json")]
    scale = Schema.read(days.output).exponents
    assert exponents == [scale] * 3
    assert -230 < scale["x"] < -180
    statistics = opened.statistics["x"]
    assert statistics["maximum"] == pytest.approx(97e-58, rel=0.1)
    assert statistics["minimum"] == pytest.approx(1e-64, rel=10)
    # Numbers beyond the scale break a rule, as numbers beyond float32 do.
    result = days.ingest(days.arrival(day(3), scaled_rows(day(3), 3), 3))
    assert result.spans == (day(0), day(1), day(2))
    assert "out_of_range" in result.quarantined[0].why


def test_a_span_in_another_scale_is_made_again(tmp_path: Path) -> None:
    """As by two calls at once, of which each makes the first span."""
    wide = PROBLEM.replace(", minimum=0, maximum=1000", "").replace("    drift=Drift(jensen_shannon=0.5),\n", "")
    days = Days(tmp_path, problem=wide)
    first = days.arrival(day(0), scaled_rows(day(0), -60), 0)
    days.ingest(first, withdrawn=(day(0),))
    catalog = Catalog(f"{days.root}/spans/days")
    (version,) = catalog.read().values()
    place = f"{days.root}/spans/days/{version.folder}"
    preprocess(days.file, PreprocessConfig(first.data, place, version.key, version.data_version, addition="span"))
    own = Schema.read(place).exponents
    decided = catalog.decide_scale(version.schema, {"x": own["x"] + 5})
    assert catalog.decide_scale(version.schema, own) == decided == catalog.scale(version.schema)
    assert days.ingest(first).spans == (day(0),)
    assert Schema.read(place).exponents == decided == Schema.read(days.output).exponents


def test_fractions_in_time_are_those_of_each_span(tmp_path: Path) -> None:
    timed = PROBLEM.replace("Splits(", 'Splits(time="at", ')
    days = Days(tmp_path, problem=timed)
    for number in range(2):
        rows = [f"{row},{day(number)} {minute % 24:02d}:00" for minute, row in enumerate(rows_of(day(number)))]
        days.ingest(days.arrival(day(number), rows, number, "id,x,c,y,at"))
    keys = keys_of(days.output)
    assert [sum(key.startswith(day(1)) for key in of) for of in keys.values()] == [20, 10, 10]
    assert Manifest.read(days.output).boundaries == {}


def test_what_is_refused(tmp_path: Path) -> None:
    days = Days(tmp_path)
    arrival = days.arrival(day(0), rows_of(day(0)))
    for wrong, options in {
        "the arrival has no span": {"arrivals": (dataclasses.replace(arrival, span=""),)},
        "the arrival has no data version": {"arrivals": (dataclasses.replace(arrival, data_version=""),)},
        "the root is empty": {"root": ""},
        "half_life is wrong": {"half_life": float("nan")},
    }.items():
        with pytest.raises(UsageError, match=wrong):
            dataclasses.replace(IngestConfig((arrival,), days.root, days.output), **options)
    with pytest.raises(UsageError, match="the span has no day"):
        days.ingest(dataclasses.replace(arrival, span="monday"), last_days=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    days.output = str(tmp_path / "mine")
    with pytest.raises(UsageError, match="already holds something else"):
        days.ingest(arrival)
    days.output = str(tmp_path / "spanned")
    add_span(days.file, PreprocessConfig(arrival.data, days.output, "0" * 16), "2026-01-01")
    with pytest.raises(UsageError, match="consist of 1 span, which this would replace"):
        days.ingest(arrival)
    days.output = str(tmp_path / "window")
    with pytest.raises(DataError, match="none fell into"):
        days.ingest(days.arrival(day(1), rows_of(day(1), rows=2), 1))
