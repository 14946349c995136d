"""The page of a Monitoring: what it shows, and that it is valid HTML whatever the values are."""

from __future__ import annotations

from typing import Any

from support.html_page import Page

from headrace.pipelines.report.monitoring.page import render
from headrace.pipelines.report.monitoring.timeline import Series, TimedValue, timeline

NAME = '<b> & "weeks"'


def document(**changed: Any) -> dict[str, Any]:
    windows = [
        {
            "begin": f"2026-03-0{day}T00:00:00Z",
            "end": f"2026-03-0{day + 1}T00:00:00Z",
            "rows": 500,
            "columns": {
                NAME: {
                    "count": 500,
                    "skew": {"value": 0.03 * day},
                    **({"drift": {"value": 0.01}} if day > 1 else {}),
                    "missing": {"value": 0.02},
                    "new_categories": [["<new>", 1234]] if day == 2 else [],
                }
            },
            "performance": {"rows": 90, "metrics": {"auc": {"value": 0.7, "low": 0.6, "high": 0.8}}}
            if day < 3
            else None,
        }
        for day in (1, 2, 3)
    ]
    plain: dict[str, Any] = {
        "problem": "births",
        "measured_at": "2026-03-05T00:00:00Z",
        "reference": {"kind": "Examples", "digest": "0123456789abcdef"},
        "thresholds": {"drift": 0.05, "prediction_drift": None, "columns": {}},
        "window_seconds": 86_400,
        "rows": 1500,
        "rows_without_time": 3,
        "absent": ["age"],
        "columns": {NAME: {"role": "feature", "kind": "categorical"}},
        "windows": windows,
        "labels": {"joined": 180, "sampled": 1500, "waiting": 1320},
        "metric": {"name": "auc", "evaluated": 0.75, "at_most": None, "at_least": 0.65},
        "staleness": {"data_age_hours": 25.0, "newest_row": "2026-03-03T23:00:00Z", "model_age_days": None},
    }
    return plain | changed


ALARM = {
    "id": "0" * 16,
    "kind": "skew",
    "feature": NAME,
    "value": 0.06,
    "threshold": 0.05,
    "window": ["2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"],
    "at": "2026-03-03T00:00:00Z",
}


def test_alarms_metric_columns_and_ages_are_shown() -> None:
    html = render(document(), [ALARM])
    page = Page(html)
    words = " ".join(page.words)
    assert "1 alarm" in words
    assert f"Skew of {NAME}: 0.06000, threshold 0.05, 2026-03-02T00:00:00Z to 2026-03-03T00:00:00Z" in words
    assert "New: <new> (1,234 rows)" in words
    assert "Not in the data, and not monitored: age." in words
    assert "25 h" in words
    assert "in 3 windows, 3 without a time" in words
    titles = [value for _, name, value in page.attributes if name == "aria-label"]
    assert "AUC on labels, by window of the predictions" in titles
    assert f"Divergence of {NAME} from the reference and from the window before" in titles
    assert html.count("ringed") == html.count("point eval ringed") + 1  # once in the style
    assert "<b> &" not in html
    assert render(document(), [ALARM]) == html


def test_without_alarms_labels_or_times() -> None:
    plain = document(window_seconds=None, labels=None, metric=None, staleness={}, absent=[])
    for window in plain["windows"]:
        window.update(begin=None, end=None)
    plain["windows"] = plain["windows"][:1]
    page = Page(render(plain, []))
    words = " ".join(page.words)
    assert "No alarm" in words
    assert "Window" in words


def test_no_label_yet() -> None:
    plain = document()
    for window in plain["windows"]:
        window["performance"] = None
    assert "No prediction has a label yet." in " ".join(Page(render(plain, [])).words)


def test_a_timeline_breaks_where_a_value_is_missing() -> None:
    values = [TimedValue(86_400.0 * day, None if day == 2 else 0.1 * day) for day in range(5)]
    picture = str(timeline([Series("skew", "eval", values)], [("threshold", 0.2)], y_name="y", title="t"))
    assert picture.count('class="line eval"') == 2
    assert picture.count("<circle") == 4
    assert picture.count('class="marker"') == 1
    assert "Jan 1" in picture
    alone = str(timeline([Series("skew", "eval", values[:1])], [], y_name="y", title="t"))
    assert alone.count("<circle") == 1
    assert timeline([Series("skew", "eval", [TimedValue(0.0, None)])], [], y_name="y", title="t") is None
