"""Two runs side by side: what differs, and what only seems to."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.html_page import Page
from support.run_folders import write_run

from headrace.core.errors import UsageError
from headrace.pipelines.cli import cli
from headrace.pipelines.report.comparison import RunComparison, compare
from headrace.pipelines.report.comparison_page import render_comparison
from headrace.pipelines.runs.records import read_run


def compared(left: Path, right: Path) -> RunComparison:
    return compare(read_run(str(left)), read_run(str(right)))


def test_metrics_with_their_intervals(tmp_path: Path) -> None:
    left, right = write_run(tmp_path, "natality-1", error=1.05), write_run(tmp_path, "natality-2", error=1.25)
    found = compared(left, right)
    absolute, squared = found.metrics
    assert (absolute.name, absolute.intervals) == ("mean_absolute_error", "unknown")
    assert (squared.left.value, squared.left.low, squared.right.high) == (1.05, 1.0, 1.3)
    assert squared.difference == pytest.approx(0.2)
    assert squared.intervals == "apart"
    assert found.same_rows is True
    close = compared(left, write_run(tmp_path, "natality-3", error=1.14))
    assert close.metrics[1].intervals == "overlap"


def test_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    found = compared(write_run(tmp_path, "natality-1"), write_run(tmp_path, "natality-2"))
    assert (found.options, found.data, found.code, found.problem_diff, found.notes) == ((), (), (), (), ())
    assert [pair.difference for pair in found.metrics] == [0.0, 0.0]


def test_options_data_and_code_that_differ(tmp_path: Path) -> None:
    left = write_run(tmp_path, "natality-1")
    right = write_run(tmp_path, "natality-2", data="later.csv", learning_rate=0.02, examples_identity="f" * 16)
    found = compared(left, right)
    assert [(each.name, each.left, each.right) for each in found.options] == [
        ("max_hours", "1", "2"),
        ("training: learning_rate", "0.01", "0.02"),
    ]
    assert [(each.name, each.left, each.right) for each in found.data] == [
        ("data", "births.csv", "later.csv"),
        ("version", "v-births.csv", "v-later.csv"),
        ("examples", "e" * 16, "f" * 16),
        ("source births.csv", "10 rows, 100 bytes", None),
        ("source later.csv", None, "10 rows, 100 bytes"),
    ]
    assert [(each.name, each.left, each.right) for each in found.code] == [("problem digest", "0.01", "0.02")]
    assert found.same_rows is False
    assert found.problem_diff == (
        "--- natality-1/problem.py",
        "+++ natality-2/problem.py",
        "@@ -3,4 +3,4 @@",
        " problem = Problem(",
        '     name="natality",',
        "-    learning_rate=0.01,",
        "+    learning_rate=0.02,",
        " )",
    )


def test_a_run_without_a_model_is_compared_as_far_as_it_went(tmp_path: Path) -> None:
    failed = write_run(tmp_path, "natality-2", status="failed")
    found = compared(write_run(tmp_path, "natality-1"), failed)
    assert found.right.status == "failed"
    assert [(pair.right.value, pair.difference) for pair in found.metrics] == [(None, None), (None, None)]
    assert found.problem_diff == ()
    running = compared(failed, write_run(tmp_path, "natality-3", summary=False))
    assert (running.metrics, running.right.status) == ((), "interrupted")


def test_artifacts_that_are_gone_are_named(tmp_path: Path) -> None:
    left, right = write_run(tmp_path, "natality-1"), write_run(tmp_path, "natality-2")
    (tmp_path / "pipeline" / "natality-2" / "model" / "training.json").unlink()
    found = compared(left, right)
    assert any("natality-2/model/training.json" in note for note in found.notes)
    assert "training.json" in Page(render_comparison(found)).text


def test_a_run_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    left, right = write_run(tmp_path, "natality-1"), write_run(tmp_path, "natality-2")
    (right / "summary.json").write_text("[]")
    with pytest.raises(UsageError, match="the run cannot be read"):
        compared(left, right)


def test_the_page_has_both_runs_and_the_plot(tmp_path: Path) -> None:
    left = write_run(tmp_path, "natality-1", error=1.05)
    right = write_run(tmp_path, "natality-2", error=1.25, learning_rate=0.02)
    page = Page(render_comparison(compared(left, right)))
    for text in (
        "natality-1", "natality-2", "1.050 (1.000 to 1.100)", "1.250 (1.200 to 1.300)", "+0.2000", "intervals apart",
        "training: learning_rate", "+    learning_rate=0.02,".replace("    ", " "), "Nothing differs.",
    ):  # fmt: skip
        assert text in page.text
    assert page.elements.count("svg") == 1
    # Two metrics of two runs, of which one metric has intervals.
    assert page.elements.count("circle") == 4
    lines = [value for tag, name, value in page.attributes if (tag, name) == ("line", "class")]
    assert [value for value in lines if "interval" in value] == ["interval first", "interval second"]
    assert not [value for _, name, value in page.attributes if name in ("src", "href")]


def test_nothing_of_the_data_is_taken_for_markup(tmp_path: Path) -> None:
    left = write_run(tmp_path, "natality-1", data="<script>a</script>.csv")
    html = render_comparison(compared(left, write_run(tmp_path, "natality-2")))
    assert "<script>" not in html


def test_a_page_replaces_a_page_and_nothing_else(tmp_path: Path) -> None:
    for name in ("natality-1", "natality-2"):
        write_run(tmp_path, name)
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    arguments = ["compare", "natality-1", "natality-2", "--root", str(tmp_path), "--output"]
    for _ in range(2):
        done = CliRunner().invoke(cli, [*arguments, str(page)])
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, f"Page: {page}")
        Page(page.read_text())
    other.write_text("mine")
    refused = CliRunner().invoke(cli, [*arguments, str(other)])
    assert isinstance(refused.exception, UsageError)
    assert other.read_text() == "mine"
