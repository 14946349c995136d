"""The report: every kind of run renders, the key numbers are there, and nothing of the data is taken for markup."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.html_page import Page

from headrace.core.errors import UsageError
from headrace.pipelines.report.page import render, write_report

MakeRun = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("status", ["succeeded", "refused", "failed"])
@pytest.mark.parametrize("cached", [False, True])
def test_every_kind_of_run_renders(make_run: MakeRun, task: str, status: str, cached: bool) -> None:
    page = Page(render(make_run(task, status, cached=cached)))
    title = {"succeeded": "Blessed and deployed", "refused": "Rejected by the gate", "failed": "Failed in train"}[
        status
    ]
    assert title in page.text
    assert page.elements.count("h1") == 1
    assert ("Call the endpoint" in page.text) == (status == "succeeded")
    assert ("Metrics" in page.text) == (status != "failed")
    assert "None" not in page.text
    assert "nan" not in page.text.split()


def test_the_key_numbers_are_on_the_page(make_run: MakeRun, tmp_path: Path) -> None:
    page = Page(render(make_run()))
    evaluation = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    error = evaluation["metrics"]["root_mean_squared_error"]
    for expected in (
        "1,450 in = 1,449 out + 1 quarantined",
        f"{error['value']:.3f}",
        f"{error['low']:.3f} to {error['high']:.3f}",
        f"≤ {evaluation['gate']['at_most']:g}",
        "early stopping: no better eval loss for 5 epochs",
        "11,873 rows/s",
        "bound by compute: 8% of the time waiting for input",
        "120, 640",
        "max_hours 2.0; 0.01250 h used",
        "99.1 % of the parameters",
        'plurality: 1 new value ("quadruplets"); each starts as the unknown value',
        "forecast: 40 s remaining",
        "births.csv, row 1,118",
        "missing_value",
        "3f2a91bc07de4455",
        "curl -s http://127.0.0.1:8517/v1/models/natality:predict",
        "1.16 GiB",
        "2026-11-21 08:33:20 UTC",
    ):
        assert expected in page.text
    assert page.text.count("not judged") == 2 * sum(check["passed"] is None for check in evaluation["checks"])


def test_a_refused_run_says_why_on_top(make_run: MakeRun) -> None:
    html = render(make_run(status="refused"))
    banner = html[html.index('class="verdict') : html.index("</section>")]
    assert "root_mean_squared_error on all rows is" in banner
    assert "was asked: failed." in banner
    assert "was asked: passed." not in banner


def test_a_failed_run_says_what_to_do_on_top(make_run: MakeRun) -> None:
    html = render(make_run(status="failed"))
    banner = html[html.index('class="verdict') : html.index("</section>")]
    assert "Train exited without an error message: it was killed, or ran out of memory." in banner
    assert "signal 9" in banner
    assert "Run the same command again; finished steps are not repeated." in banner


def test_what_was_seen_and_expected_is_a_table_on_top(make_run: MakeRun) -> None:
    summary = make_run(status="failed")
    summary["error"]["table"] = [["column", "seen", "expected"], ["mother_age", "<0.31>", "at most 0.1"], ["torn"]]
    html = render(summary)
    banner = html[html.index('class="verdict') : html.index("</section>")]
    assert '<tr><th scope="col">column</th><th scope="col">seen</th><th scope="col">expected</th></tr>' in banner
    assert "<tr><td>mother_age</td><td>&lt;0.31&gt;</td><td>at most 0.1</td></tr>" in banner
    assert "torn" not in banner
    del summary["error"]["table"]
    assert '<table class="seen">' not in render(summary)


def test_values_of_the_data_are_escaped_everywhere(make_run: MakeRun, tmp_path: Path) -> None:
    summary = make_run()
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    for file in (
        "evaluation/evaluation.json",
        "examples/statistics.json",
        "examples/manifest.json",
        "model/training.json",
    ):
        path = tmp_path / file
        path.write_text(json.dumps(poisoned(json.loads(path.read_text()), attack)))
    lines = tmp_path / "examples" / "quarantine" / "part-00000-of-00001.jsonl"
    manifest = json.loads((tmp_path / "examples" / "manifest.json").read_text())
    manifest["quarantine"]["files"] = ["quarantine/part-00000-of-00001.jsonl"]
    (tmp_path / "examples" / "manifest.json").write_text(json.dumps(manifest))
    lines.write_text(json.dumps(poisoned(json.loads(lines.read_text()), attack)) + "\n")
    summary |= {"problem": attack, "run_id": attack, "pipeline": attack, "data": attack}
    summary["steps"][4]["result"] = dict.fromkeys(("version", "previous", "url", "curl"), attack)
    html = render(summary)
    page = Page(html)
    assert page.elements.count("script") == 1
    assert "img" not in page.elements
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert" not in html
    assert page.text.count("alert(1)") > 20


def poisoned(value: Any, attack: str) -> Any:
    """`value` with every text in it replaced by `attack`, but for those that the page takes as codes."""
    if isinstance(value, dict):
        kept = ("kind", "task", "role", "metric")
        return {k: v if k in kept else poisoned(v, attack) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(item, attack) for item in value]
    return attack if isinstance(value, str) else value


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_the_page_needs_nothing_but_itself(make_run: MakeRun, task: str) -> None:
    html = render(make_run(task))
    references = {value for _, name, value in Page(html).attributes if name in ("href", "src", "data", "action")}
    assert references == {"#icon-check", "#icon-skipped"}
    assert not re.search(r"@import|url\(|<link|<iframe", html)
    assert "default-src 'none'" in html
    assert set(re.findall(r"https?://[\w.]+:\d+|https?://", html)) == {"http://127.0.0.1:8517"}


def test_every_picture_has_a_text_alternative(make_run: MakeRun) -> None:
    for svg in re.findall(r"<svg[^>]*>", render(make_run("binary"))):
        assert 'aria-hidden="true"' in svg or re.search(r'role="img" aria-label="[^"]+"', svg)


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun, tmp_path: Path) -> None:
    summary = make_run()
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    write_report(summary, str(first))
    write_report(copy.deepcopy(summary), str(second))
    assert first.read_bytes() == second.read_bytes()
    assert 20_000 < first.stat().st_size < 200_000


@pytest.mark.parametrize("file", ["examples/manifest.json", "model/training.json", "evaluation/evaluation.json"])
@pytest.mark.parametrize("content", [None, "{", "[]", "null", '{"metrics": 3, "history": [], "splits": "x"}'])
def test_missing_and_torn_artifacts_are_left_out(
    make_run: MakeRun, tmp_path: Path, file: str, content: str | None
) -> None:
    summary = make_run()
    path = tmp_path / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    page = Page(render(summary))
    assert ("could not be read" in page.text) == (content in (None, "{"))
    assert "Pipeline" in page.text


@pytest.mark.parametrize(
    "summary",
    [
        {},
        {"status": "failed", "error": {"what": "there is no such file", "exit_status": 2, "where": "births.csv"}},
        {
            "status": "succeeded",
            "steps": [{"step": "preprocess", "status": "succeeded", "outputs": {"examples": "/no"}}],
        },
        {"status": "refused", "steps": "?", "started": "yesterday", "finished": float("nan")},
    ],
)
def test_a_summary_of_almost_nothing_renders(summary: dict[str, Any]) -> None:
    assert "Provenance" in Page(render(summary)).text


def test_extreme_numbers_render(make_run: MakeRun, tmp_path: Path) -> None:
    summary = make_run()
    path = tmp_path / "evaluation" / "evaluation.json"
    evaluation = json.loads(path.read_text())
    evaluation["metrics"]["root_mean_squared_error"] = {"value": 1e300, "low": None, "high": float("inf")}
    evaluation["metrics"]["mean_absolute_error"] = {"value": 0, "low": 0, "high": 0}
    evaluation["metrics"]["mean_bias"] = {"value": -1e-12, "low": None, "high": None}
    evaluation["curves"]["predicted_actual"] = {"key": [], "predicted": [3.0, None], "actual": [3.0, 1.0]}
    path.write_text(json.dumps(evaluation))
    path = tmp_path / "model" / "training.json"
    training = json.loads(path.read_text())
    training["history"] = {"loss": [0.5], "eval_loss": [0.5]}
    training["best_epoch"] = 1
    path.write_text(json.dumps(training))
    assert "1.000e+300" in Page(render(summary)).text


def test_many_rows_are_drawn_as_hexagons(make_run: MakeRun, tmp_path: Path) -> None:
    summary = make_run()
    path = tmp_path / "evaluation" / "evaluation.json"
    evaluation = json.loads(path.read_text())
    seen = evaluation["curves"]["predicted_actual"]
    evaluation["curves"]["predicted_actual"] = {name: values * 13 for name, values in seen.items()}
    path.write_text(json.dumps(evaluation))
    html = render(summary)
    assert "as hexagons" in html
    titles = re.findall(r'class="hexagon"[^>]*><title>(\d+) rows', html)
    assert sum(map(int, titles)) == 13 * len(seen["key"])


def test_a_folder_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        write_report({}, str(tmp_path / "file" / "report.html"))


def test_writing_imports_nothing_heavy(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(make_run()))
    program = (
        "import json, sys\n"
        "from headrace.pipelines.report.page import write_report\n"
        "assert 'jinja2' not in sys.modules\n"
        "write_report(json.load(open(sys.argv[1])), sys.argv[2])\n"
        "print([n for n in ('tensorflow', 'kfp', 'numpy', 'matplotlib', 'apache_beam') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "summary.json"), str(tmp_path / "report.html")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
