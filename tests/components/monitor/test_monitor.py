"""Monitoring from rows to alarms: what is found, where, and that it is the same again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.monitored import DAY, START, requests, write, write_problem
from support.users_files import check_users_files_stay

from headrace.components.monitor import step
from headrace.components.monitor.config import MonitorConfig, period, seconds_of
from headrace.components.monitor.monitor import MonitorResult, identified, monitor
from headrace.core.artifacts.kinds import MONITORING
from headrace.core.errors import DataError, UsageError
from headrace.core.problem.file import load_problem

ROWS, DAYS = 8000, 4
NOW = float(START + DAYS * DAY)


@pytest.fixture
def reference(tmp_path: Path) -> str:
    return write(tmp_path / "reference.parquet", requests(1, 20_000, 7))


def measured(
    tmp_path: Path, reference: str, data: pa.Table | str, thresholds: str = "", **options: Any
) -> tuple[MonitorResult, dict[str, Any]]:
    path = data if isinstance(data, str) else write(tmp_path / "data.parquet", data)
    given = {"time": "time", "now": NOW, **options}
    config = MonitorConfig(reference, path, str(tmp_path / "monitoring"), **given)
    result = monitor(load_problem(str(write_problem(tmp_path, thresholds))), config)
    return result, json.loads((tmp_path / "monitoring" / "monitoring.json").read_text())


def kinds(result: MonitorResult) -> set[tuple[str, str, str | None]]:
    return {(alarm.kind, alarm.feature, alarm.window[0][:10] if alarm.window else None) for alarm in result.alarms}


def after(day: int, rows: int = ROWS) -> np.ndarray[Any, Any]:
    return np.arange(rows) >= day * rows // DAYS


def test_without_drift_there_is_no_alarm(tmp_path: Path, reference: str) -> None:
    result, document = measured(tmp_path, reference, requests(2, ROWS, DAYS), "0.0, missing=0, unknown=0, invalid=0")
    assert result.alarms == ()
    assert (result.rows, result.windows) == (ROWS, DAYS)
    assert [window["rows"] for window in document["windows"]] == [ROWS // DAYS] * DAYS
    assert document["windows"][0]["begin"] == "2026-03-01T00:00:00Z"
    assert document["windows"][-1]["end"] == "2026-03-05T00:00:00Z"
    assert "drift" not in document["windows"][0]["columns"]["age"]
    assert document["windows"][1]["columns"]["age"]["drift"]["value"] < 0.01
    assert (tmp_path / "monitoring" / "alarms.jsonl").read_bytes() == b""
    assert set(document["columns"]) == {"age", "plurality", "weeks", "prediction"}
    assert sum(document["columns"]["age"]["cells"]) == ROWS
    (tmp_path / "monitoring" / "monitoring.html").write_text("what --report renders")
    check_users_files_stay(tmp_path / "monitoring", MONITORING)


def test_each_change_is_an_alarm_of_its_kind_on_its_day(tmp_path: Path, reference: str) -> None:
    live = requests(3, ROWS, DAYS)
    age, weeks = live["age"].to_numpy().copy(), live["weeks"].to_numpy().copy()
    plurality, prediction = live["plurality"].to_numpy().copy(), live["prediction"].to_numpy().copy()
    weeks[after(2)] += 4
    plurality[after(3) & (np.arange(ROWS) % 5 == 0)] = "many"
    prediction[after(2)] += 3
    age[after(3) & (np.arange(ROWS) % 20 == 0)] = 1e300
    gone = after(1) & ~after(2) & (np.arange(ROWS) % 4 == 0)
    changed = {"age": pa.array(age, mask=gone), "plurality": plurality, "weeks": weeks, "prediction": prediction}
    result, document = measured(tmp_path, reference, requests(3, ROWS, DAYS, **changed))
    assert kinds(result) == {
        ("missing", "age", "2026-03-02"),
        ("skew", "weeks", "2026-03-03"),
        ("skew", "weeks", "2026-03-04"),
        ("drift", "weeks", "2026-03-03"),
        ("prediction_drift", "prediction", "2026-03-03"),
        ("prediction_drift", "prediction", "2026-03-04"),
        ("unknown", "plurality", "2026-03-04"),
        ("drift", "plurality", "2026-03-04"),
        ("skew", "plurality", "2026-03-04"),
        ("invalid", "age", "2026-03-04"),
    }
    last = document["windows"][-1]["columns"]
    assert last["plurality"]["new_categories"] == [["many", 400]]
    assert last["plurality"]["unknown"]["value"] == pytest.approx(0.2)
    assert last["age"]["invalid"]["value"] == pytest.approx(0.05)
    missing = next(alarm for alarm in result.alarms if alarm.kind == "missing")
    assert missing.value == pytest.approx(0.25)
    assert missing.at == missing.window[1] == "2026-03-03T00:00:00Z"  # type: ignore[index]


def test_a_category_that_is_gone_is_named(tmp_path: Path, reference: str) -> None:
    live = requests(4, ROWS, DAYS)
    plurality = live["plurality"].to_numpy().copy()
    plurality[after(2) & (plurality == "2")] = "1"
    _, document = measured(tmp_path, reference, requests(4, ROWS, DAYS, plurality=plurality))
    assert document["windows"][1]["columns"]["plurality"]["missing_categories"] == []
    assert document["windows"][2]["columns"]["plurality"]["missing_categories"] == ["2"]


def test_the_same_alarm_has_the_same_id_whenever_it_is_measured(tmp_path: Path, reference: str) -> None:
    live = requests(5, ROWS, DAYS)
    weeks = live["weeks"].to_numpy().copy()
    weeks[after(1)] += 4
    data = requests(5, ROWS, DAYS, weeks=weeks)
    first, _ = measured(tmp_path, reference, data)
    lines = (tmp_path / "monitoring" / "alarms.jsonl").read_bytes()
    again, _ = measured(tmp_path, reference, data, now=NOW + 12_345)
    assert again.alarms == first.alarms != ()
    assert (tmp_path / "monitoring" / "alarms.jsonl").read_bytes() == lines
    # A day later its last window has more rows.
    part, _ = measured(tmp_path, reference, data.slice(0, ROWS // 2 - 100))
    assert {alarm.id for alarm in part.alarms} < {alarm.id for alarm in first.alarms}
    assert len({alarm.id for alarm in first.alarms}) == len(first.alarms)
    assert [json.loads(line)["id"] for line in lines.splitlines()] == [alarm.id for alarm in first.alarms]


@pytest.mark.parametrize("form", ["parts", "shuffled", "jsonl", "csv"])
def test_files_order_and_format_change_nothing(tmp_path: Path, reference: str, form: str) -> None:
    live = requests(6, 2000, DAYS)
    _, expected = measured(tmp_path, reference, live)
    folder = tmp_path / "parts"
    folder.mkdir()
    if form == "parts":
        for part in range(3):
            write(folder / f"{part}.parquet", live.slice(part * 667, 667))
    elif form == "shuffled":
        write(folder / "rows.parquet", live.take(np.random.default_rng(1).permutation(2000)))
    else:
        rows = [{**row, "time": row["time"].isoformat() + "Z"} for row in live.to_pylist()]
        if form == "jsonl":
            (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            names = live.schema.names
            lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
            (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    _, found = measured(tmp_path, reference, str(folder))
    assert found == expected


def test_a_request_log_has_its_columns_in_structs(tmp_path: Path, reference: str) -> None:
    live = requests(7, 2000, DAYS)
    _, expected = measured(tmp_path, reference, live)
    inputs = ["age", "plurality", "weeks"]
    log = pa.table(
        {
            "time": live["time"].cast(pa.timestamp("us", "UTC")),
            "version": ["v1"] * 2000,
            "columns": pa.StructArray.from_arrays([live[name].combine_chunks() for name in inputs], inputs),
            "predictions": pa.StructArray.from_arrays(
                [live[name].combine_chunks() for name in ("id", "prediction")], ["key", "prediction"]
            ),
        }
    )
    _, found = measured(tmp_path, reference, log, time="")
    assert found == expected


@pytest.mark.parametrize("name", ["version", "model_version"])
def test_the_rows_of_one_version_are_measured(tmp_path: Path, reference: str, name: str) -> None:
    live = requests(21, ROWS, DAYS)
    _, expected = measured(tmp_path, reference, live.take(np.arange(0, ROWS, 2)))
    both = live.append_column(name, pa.array(np.where(np.arange(ROWS) % 2, "v2", "v1")))
    _, found = measured(tmp_path, reference, both, version="v1")
    assert found == {**expected, "version": "v1"}
    _, every = measured(tmp_path, reference, both)
    assert (every["rows"], every["version"]) == (ROWS, None)
    with pytest.raises(DataError, match="no rows to measure") as caught:
        measured(tmp_path, reference, both, version="v3")
    assert caught.value.fix == "Check the version v3"
    with pytest.raises(DataError, match="the data has no versions"):
        measured(tmp_path, reference, live, version="v1")


def test_rows_without_a_time_are_counted_and_are_in_no_window(tmp_path: Path, reference: str) -> None:
    live = requests(8, ROWS, DAYS)
    time = pa.array(live["time"].to_pylist(), pa.timestamp("us"), mask=np.arange(ROWS) % 10 == 0)
    result, document = measured(tmp_path, reference, requests(8, ROWS, DAYS, time=time))
    assert document["rows_without_time"] == ROWS // 10
    assert sum(window["rows"] for window in document["windows"]) == ROWS - ROWS // 10
    assert result.rows == ROWS


def test_a_plain_table_is_one_window(tmp_path: Path, reference: str) -> None:
    live = requests(9, ROWS, DAYS, weeks=np.full(ROWS, 30.0)).drop_columns(["time", "prediction"])
    result, document = measured(tmp_path, reference, live, time="")
    assert [window["begin"] for window in document["windows"]] == [None]
    assert document["window_seconds"] is None
    assert kinds(result) == {("skew", "weeks", None)}


def test_windows_with_few_rows_are_measured_and_raise_no_alarm(tmp_path: Path, reference: str) -> None:
    live = requests(10, 120, DAYS, weeks=np.full(120, 30.0))
    result, document = measured(tmp_path, reference, live)
    assert result.alarms == ()
    assert document["windows"][0]["columns"]["weeks"]["skew"]["value"] > 0.4
    result, _ = measured(tmp_path, reference, live, "minimum_rows=20")
    assert ("skew", "weeks", "2026-03-01") in kinds(result)


def test_an_earlier_monitoring_is_a_reference_also_of_predictions(tmp_path: Path, reference: str) -> None:
    measured(tmp_path, reference, requests(11, ROWS, DAYS))
    earlier = str(tmp_path / "earlier")
    (tmp_path / "monitoring").rename(earlier)
    result, document = measured(tmp_path, earlier, requests(12, ROWS, DAYS), "0.0")
    assert result.alarms == ()
    assert document["reference"]["kind"] == "Monitoring"
    assert document["windows"][0]["columns"]["prediction"]["skew"]["value"] < 0.01
    shifted = requests(13, ROWS, DAYS, prediction=np.random.default_rng(1).normal(9, 1, ROWS))
    result, _ = measured(tmp_path, earlier, shifted)
    assert kinds(result) == {("prediction_drift", "prediction", f"2026-03-0{day}") for day in range(1, DAYS + 1)}


def test_old_data_and_an_old_model_are_alarms(tmp_path: Path, reference: str) -> None:
    limits = "data_age_hours=24, model_age_days=30"
    fresh, _ = measured(tmp_path, reference, requests(14, ROWS, DAYS), limits, trained=NOW - 29 * DAY)
    assert fresh.alarms == ()
    old, document = measured(
        tmp_path, reference, requests(14, ROWS, DAYS), limits, now=NOW + 2 * DAY, trained=NOW - 29 * DAY
    )
    assert [(alarm.kind, alarm.threshold, alarm.window) for alarm in old.alarms] == [
        ("data_age", 24, None),
        ("model_age", 30, None),
    ]
    assert old.alarms[1].value == 31.0
    assert document["staleness"]["data_age_hours"] == pytest.approx(48, abs=0.02)
    assert document["staleness"]["trained"] == "2026-02-04T00:00:00Z"


def test_late_labels_give_the_metric_by_window(tmp_path: Path, reference: str) -> None:
    live = requests(15, ROWS, DAYS)
    random = np.random.default_rng(1)
    error = random.normal(0, 1, ROWS) * np.where(after(3), 3.0, 1.0)
    labels = pa.table({"id": live["id"], "weight": np.abs(live["prediction"].to_numpy() + error)})
    path = write(tmp_path / "labels.parquet", labels.slice(0, ROWS - 500))
    (tmp_path / "evaluation").mkdir()
    evaluated = {"metrics": {"root_mean_squared_error": {"value": 1.0}}}
    (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps(evaluated))
    options: dict[str, Any] = {"labels": path, "evaluation": str(tmp_path / "evaluation"), "label_wait": DAY // 8}
    result, document = measured(tmp_path, reference, live, **options)
    assert kinds(result) == {
        ("metric", "root_mean_squared_error", "2026-03-04"),
        ("metric_loss", "root_mean_squared_error", "2026-03-04"),
    }
    first = document["windows"][0]["performance"]
    rmse = first["metrics"]["root_mean_squared_error"]
    exact = float(np.sqrt(np.mean((labels["weight"].to_numpy() - live["prediction"].to_numpy())[: ROWS // DAYS] ** 2)))
    assert first["rows"] == ROWS // DAYS
    assert rmse["value"] == pytest.approx(exact, rel=1e-12)
    assert rmse["low"] < exact < rmse["high"]
    # Of the last 500 predictions, those of the last three hours may still get a label.
    assert document["labels"]["joined"] == ROWS - 500
    assert document["labels"]["waiting"] == 250
    assert document["labels"]["expired"] == 250
    assert document["metric"] == {
        "name": "root_mean_squared_error", "evaluated": 1.0, "at_most": 2.0, "at_least": None,
    }  # fmt: skip


def test_a_feature_that_the_data_lacks_is_named(tmp_path: Path, reference: str) -> None:
    seen: list[str] = []
    data = write(tmp_path / "data.parquet", requests(16, ROWS, DAYS).drop_columns(["weeks"]))
    config = MonitorConfig(reference, data, str(tmp_path / "monitoring"), time="time", now=NOW)
    result = monitor(load_problem(str(write_problem(tmp_path))), config, lambda message, **_: seen.append(message))
    assert result.absent == ("weeks",)
    assert 'warning: the data has no column "weeks", which is not monitored' in seen


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"time": "when"}, DataError, 'the column "when" does not exist'),
        ({"window": 60}, DataError, "too many windows"),
        ({"labels": "data", "prediction": "guess"}, DataError, "without the column prediction"),
        ({"reference": "nowhere"}, DataError, "no file, folder or match"),
        ({"now": float("nan")}, UsageError, "now is not a time"),
        ({"window": 1}, UsageError, "window is wrong"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, reference: str, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    data = write(tmp_path / "data.parquet", requests(17, ROWS, DAYS))
    changes = {name: data if value == "data" else value for name, value in changes.items()}
    given = {"reference": reference, "data": data, "output": str(tmp_path / "out"), "time": "time", "now": NOW}
    with pytest.raises((error, UsageError), match=message):
        monitor(load_problem(str(write_problem(tmp_path))), MonitorConfig(**{**given, **changes}))
    assert not (tmp_path / "out").exists()


def test_an_output_of_the_user_stays(tmp_path: Path, reference: str) -> None:
    (tmp_path / "monitoring").mkdir()
    (tmp_path / "monitoring" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="already holds something else"):
        measured(tmp_path, reference, requests(18, 200, 1))
    assert (tmp_path / "monitoring" / "notes.txt").read_text() == "mine"


def test_periods_and_times() -> None:
    assert [period(text, "--window") for text in ("90m", "6h", "1d", "2w")] == [5400, 21_600, 86_400, 1_209_600]
    assert seconds_of("2026-03-01T00:00:00Z", "--now") == seconds_of("2026-03-01", "--now") == START
    for text in ("", "0d", "1", "d", "1y", "-1d"):
        with pytest.raises(UsageError, match="the period is not valid"):
            period(text, "--window")
    with pytest.raises(UsageError, match="the time is not valid"):
        seconds_of("noon", "--now")


def test_the_step_returns_whether_there_is_an_alarm(tmp_path: Path, reference: str) -> None:
    data = write(tmp_path / "data.parquet", requests(19, ROWS, DAYS, weeks=np.full(ROWS, 30.0)))
    problem, root = str(write_problem(tmp_path)), str(tmp_path / "root")
    monitoring = SimpleNamespace(path=str(tmp_path / "monitoring"), uri="", metadata={})
    source = SimpleNamespace(path=reference)
    times, columns = ("2026-02-01", "2026-03-05T00:00:00Z"), ("time", "", "prediction")
    assert step.run(problem, "", root, data, "", "", columns, "", ("1d", "30d"), times, "", source, monitoring) is True
    assert monitoring.metadata == {"alarms": DAYS, "rows": ROWS}
    (record,) = [json.loads(path.read_text()) for path in Path(root).rglob("*.json")]
    assert record["result"]["alarms"] == DAYS
    assert record["result"]["first_alarms"][0]["kind"] == "skew"
    assert record["identity"] == json.loads((tmp_path / "monitoring" / "monitoring.json").read_text())["identity"]


def test_the_identity_follows_what_the_measurement_depends_on(tmp_path: Path, reference: str) -> None:
    data = write(tmp_path / "data.parquet", requests(20, 200, 1))

    def identity_of(thresholds: str = "", **options: Any) -> str:
        given = {"time": "time", "now": NOW, **options}
        config = MonitorConfig(reference, data, str(tmp_path / "monitoring"), **given)
        return identified(load_problem(str(write_problem(tmp_path, thresholds))), config)[0].identity

    same = identity_of()
    assert identity_of() == same
    others = [identity_of("0.2"), identity_of(window=3600), identity_of(now=NOW + 1), identity_of(labels=data)]
    assert len({same, *others}) == 5
