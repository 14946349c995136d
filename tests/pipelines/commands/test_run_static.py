"""The main job as a user does it: `headrace run static` on real births, to an endpoint that answers."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import headrace

from headrace import pipelines
from headrace.components.deploy.local import operate
from headrace.components.deploy.local.status import status
from headrace.components.registry.folder.registry import Registry
from headrace.pipelines.runs.machine import machine_status
from headrace.pipelines.runs.records import read_start
from headrace.pipelines.runs.resolve import resolve_artifact

NATALITY = Path(__file__).parents[3] / "examples" / "natality"
BIRTHS = NATALITY / "births.csv"
# Enough epochs to pass the gate, few enough for a test.
SHORT = (NATALITY / "natality.py").read_text().replace("epochs=40", "epochs=2")


def static(problem: Path, root: Path, data: Path = BIRTHS) -> list[str]:
    return ["run", "static", "--problem", str(problem), "--data", str(data), "--root", str(root)]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "headrace.pipelines.cli", *arguments]


def run(problem: Path, root: Path, data: Path = BIRTHS) -> subprocess.CompletedProcess[str]:
    return headrace(*static(problem, root, data))


WEIGHTED = """
from headrace import *
from headrace.expressions import col, if_else

problem = Problem(
    name="weighted", key="record_id", label=Categorical("is_light", vocabulary=["no", "yes"]),
    features=[Numeric("gestation_weeks"), Categorical("plurality")],
    derive={
        "is_light": if_else(col("weight_pounds") < 5.5, "yes", "no"),
        "w": if_else(col("plurality") == "single", 1, 3) * col("mother_age"),
    },
    weight="w",
    gate=Gate("log_loss", at_most=5.0, slices=["plurality"]),
    training=Training(epochs=1, hidden_units=[4], class_weights="balanced"),
)
"""


def summary(root: Path) -> dict[str, Any]:
    (path,) = root.glob("runs/*/summary.json")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("static")
    (path / "natality.py").write_text(SHORT)
    yield path
    for endpoint in path.glob("*/endpoints/*"):
        operate.stop(str(endpoint))


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = static(folder / "natality.py", folder / "one")
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def test_the_run_ends_well_and_says_so(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    assert (first.returncode, first.stderr) == (0, "")
    for said in (
        "Rows      1,450 in = 1,449 out + 1 quarantined (missing_value 1)",
        f"Examples  {folder / 'one'}/pipeline/",
        "Training  2 epochs, ",
        "ended by epochs: all 2 done",
        "Devices   OneDevice, in float32: ",
        "bound by ",
        "root_mean_squared_error",
        "gate: at most 1.2",
        "Gate      blessed: 5 of 5 checks passed",
        "Endpoint  http://127.0.0.1:",
        f"Report    {folder / 'one'}",
    ):
        assert said in first.stdout


def test_libraries_chatter_in_the_logs_alone(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    for noise in ("KFP", "tensorflow", "WARNING", "absl", "Executing task"):
        assert noise not in first.stdout
    (logs,) = (folder / "one").glob("runs/*/logs")
    assert {path.name for path in logs.iterdir()} == {
        "engine.log", "preprocess.log", "train.log", "evaluate.log", "register.log", "deploy.log",
    }  # fmt: skip


def test_the_summary_accounts_for_every_row_and_step(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    written = summary(folder / "one")
    assert written["status"] == "succeeded"
    assert [step["status"] for step in written["steps"]] == ["succeeded"] * 5
    rows = written["steps"][0]["result"]
    assert rows["rows_in"] == rows["rows_out"] + rows["rows_quarantined"] == 1450
    assert sum(rows["splits"].values()) == rows["rows_out"]


def test_the_run_is_listed_with_its_artifacts(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    found = machine_status(str(folder / "one"))
    assert found.latest is not None
    assert (found.latest.status, found.latest.pipeline, found.latest.data) == ("succeeded", "static", str(BIRTHS))
    assert found.latest.headline == ("root_mean_squared_error", pytest.approx(1.1, abs=0.2))
    assert read_start(found.latest.folder)["arguments"]["data"] == str(BIRTHS)
    for kind, name in (("examples", "manifest.json"), ("model", "training.json")):
        assert (Path(resolve_artifact(found.latest.folder, kind)) / name).exists()
    assert found.under_way == ()
    (endpoint,) = found.endpoints
    assert endpoint.status is not None
    assert (endpoint.status.live, endpoint.status.healthy) == (found.latest.model_version, True)


def test_the_curl_line_works(first: subprocess.CompletedProcess[str]) -> None:
    (line,) = [line for line in first.stdout.splitlines() if line.startswith("Call it")]
    answer = subprocess.run(
        ["sh", "-c", line.removeprefix("Call it").strip()], capture_output=True, text=True, check=True
    )
    (prediction,) = json.loads(answer.stdout)["predictions"]
    assert 3 < prediction["prediction"] < 12


def test_the_report_is_one_page(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    (page,) = (folder / "one").glob("runs/*/report.html")
    text = page.read_text()
    assert "Blessed and deployed" in text
    page.unlink()
    again = headrace("report", folder / "one")
    assert Path(again.stdout.strip()).read_text() == text


def test_training_options_reach_the_training_and_the_report(
    folder: Path, first: subprocess.CompletedProcess[str]
) -> None:
    (model,) = (folder / "one").glob("registry/natality/versions/*")
    options = ["--warm-start", str(model), "--precision", "float32", "--max-cost", "2", "--machine-type"]
    given = [*options, "e2-standard-4", "--target", "root_mean_squared_error=1.3", "--checkpoint-minutes", "1"]
    done = headrace(*static(folder / "natality.py", folder / "asked"), *given)
    assert (done.returncode, done.stderr) == (0, "")
    told = summary(folder / "asked")["steps"][1]["result"]
    assert told["epochs"] == 1, "the earlier Model reached the target already"
    assert told["stopped"].startswith("target: root_mean_squared_error ")
    assert told["budget"]["price_per_hour"] == 0.134023
    assert told["warm_start"]["model_version"] == model.name
    assert f"Started   from version {model.name}: 100.0% of the parameters carried over" in done.stdout
    assert "Budget    max_cost 2.0, target root_mean_squared_error=1.3: " in done.stdout
    (page,) = (folder / "asked").glob("runs/*/report.html")
    assert f"version {model.name}, 100" in page.read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--target", "auc=0.9"], "the target is of another task. Expected for regression, one of root_mean"),
        (["--max-cost", "5"], "a cost cannot be bounded without a price"),
        (["--max-cost", "5", "--machine-type", "enormous"], "the machine type is not in the price table"),
        (["--max-hours", "nan"], "max_hours is wrong. Expected a number greater than 0"),
        (["--warm-start", "nowhere"], "this folder holds no Model"),
    ],
)
def test_nonsense_about_training_is_refused_before_anything_starts(tmp_path: Path, given: list[str], said: str) -> None:
    done = headrace(*static(NATALITY / "natality.py", tmp_path / "root"), *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "root").exists()


def test_the_same_command_again_does_nothing_twice(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    before = summary(folder / "one")
    again = headrace(*static(folder / "natality.py", folder / "one"), "--json")
    assert again.returncode == 0
    after = json.loads(again.stdout)
    page = str(folder / "one" / "runs" / after["run_id"] / "report.html")
    assert after == {**summary(folder / "one"), "report": page}
    assert re.search(r"^preprocess +already done", again.stderr, re.MULTILINE)
    assert [step["status"] for step in after["steps"]] == ["cached", "cached", "cached", "succeeded", "succeeded"]
    assert after["steps"][4]["result"] == before["steps"][4]["result"]


def test_a_refused_model_is_not_deployed(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    url = summary(folder / "one")["steps"][4]["result"]["url"]
    problem = folder / "natality.py"
    problem.write_text(SHORT.replace("at_most=1.2", "at_most=0.5"))
    refused = run(problem, folder / "one")
    problem.write_text(SHORT)
    assert refused.returncode == 3
    done = re.search(r"^preprocess +already done", refused.stdout, re.MULTILINE)
    assert done, "another gate does not preprocess again"
    assert "the 0.5 allowed: failed" in refused.stdout
    assert refused.stderr.startswith("headrace: natality: the gate refused the model, and nothing was deployed")
    with urllib.request.urlopen(f"{url}/health") as answer:
        assert answer.status == 200


def test_a_notebook_gets_the_same_runs_as_results(
    folder: Path, first: subprocess.CompletedProcess[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """After the commands above: nothing is trained again."""
    problem = folder / "natality.py"
    problem.write_text(SHORT)
    ended = pipelines.run(problem, BIRTHS, folder / "one")
    assert "already done, cached" in capsys.readouterr().out
    assert ended.status == "succeeded"
    assert ended.steps["train"]["status"] == "cached"
    assert ended.rows == {"rows_in": 1450, "rows_out": 1449, "rows_quarantined": 1}
    assert 0.9 < ended.metrics["root_mean_squared_error"] < 1.2
    assert ended.gate is not None
    assert ended.gate["blessed"] is True
    assert ended.model == str(folder / "one" / "registry" / "natality" / "versions" / str(ended.model_version))
    assert ended.endpoint == ended.steps["deploy"]["result"]["url"]
    assert f"Report    {ended.report}" in first.stdout
    assert ended.predictions is None
    lines = repr(ended).splitlines()
    assert [line.split()[0] for line in lines][:4] == ["run", "pipeline", "status", "rows"]
    assert f'<a href="{Path(ended.report).as_uri()}">' in ended._repr_html_()
    problem.write_text(SHORT.replace("at_most=1.2", "at_most=0.5"))
    refused = pipelines.run(str(problem), str(BIRTHS), str(folder / "one"), quiet=True)
    problem.write_text(SHORT)
    assert capsys.readouterr().out == ""
    assert (refused.status, refused.endpoint) == ("refused", None)
    assert refused.gate is not None
    assert "0.5" in refused.gate["reasons"][0]
    assert refused.model == refused.steps["train"]["outputs"]["model"]


def test_a_rollback_lasts_through_a_rerun_and_reaches_the_champion(
    folder: Path, first: subprocess.CompletedProcess[str]
) -> None:
    endpoint, registry = folder / "one" / "endpoints" / "natality", folder / "one" / "registry" / "natality"
    before = status(str(endpoint))
    other = folder / "other.py"
    other.write_text(SHORT.replace("seed=1", "seed=2"))
    deployed = run(other, folder / "one")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    bad = status(str(endpoint)).live
    assert bad != before.live
    assert status(str(endpoint)).url == before.url
    told = headrace("rollback", endpoint, "--why", "pager")
    assert told.returncode == 0, told.stderr
    assert f"{bad} is marked as bad in {registry}; champion: {before.live}" in told.stdout
    again = run(other, folder / "one")
    assert again.returncode == 3
    assert "the version is marked as bad" in " ".join(again.stderr.split())
    found = status(str(endpoint))
    assert (found.live, found.healthy, found.registry) == (before.live, True, str(registry))
    assert Registry(str(registry)).aliases() == {"champion": before.live}
    shown = headrace("endpoint", "status", endpoint)
    assert (shown.returncode, f"live {before.live}, healthy" in " ".join(shown.stdout.split())) == (0, True)
    headrace("endpoint", "stop", endpoint)
    shown = headrace("endpoint", "status", endpoint, "--json")
    assert (shown.returncode, json.loads(shown.stdout)["why_unhealthy"]) == (1, "it was stopped")
    listed = headrace("endpoint", "list", folder / "one")
    assert "it was stopped" in listed.stdout
    assert headrace("endpoint", "start", endpoint).stdout.strip().endswith(f"answers at {before.url}")
    assert json.loads(headrace("endpoint", "start", endpoint, "--json").stdout) == {"url": before.url}
    history = json.loads(headrace("endpoint", "history", endpoint, "--json").stdout)
    assert [(c["action"], c["version"], c["why"]) for c in history["history"]] == [
        ("deploy", before.live, ""),
        ("deploy", bad, ""),
        ("rollback", before.live, "pager"),
    ]


def test_killed_and_started_again_it_ends_the_same(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    arguments = static(folder / "natality.py", folder / "two")
    killed = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.startswith("train"):
            break
    killed.kill()
    killed.wait()
    killed.stdout.close()
    again = run(folder / "natality.py", folder / "two")
    assert again.returncode == 0, again.stdout + again.stderr
    assert summary(folder / "two")["steps"][0]["status"] == "cached"
    (manifest,) = (folder / "two").glob("pipeline/static-training*/preprocess/*/manifest.json")
    others = (folder / "one").glob("pipeline/static-training*/preprocess/*/manifest.json")
    assert manifest.read_bytes() in [path.read_bytes() for path in others]
    # Other tests have registered more versions in the first root.
    (golden,) = (folder / "two").glob("registry/natality/versions/*/golden.json")
    others = (folder / "one").glob("registry/natality/versions/*/golden.json")
    assert golden.read_bytes() in [path.read_bytes() for path in others]
    # The folders' own locks stay; half an artifact, and the lock of one, do not.
    hidden = {path.name for path in (folder / "two").rglob(".*")}
    assert hidden == {".lock"}


def test_an_edited_module_of_the_import_path_trains_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sizes_elsewhere.py").write_text("UNITS = 4\n")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    problem = tmp_path / "case.py"
    problem.write_text(
        "import sizes_elsewhere\nfrom headrace import Numeric, Problem, Training\n"
        'problem = Problem("case", "id", Numeric("y"), [Numeric("x")], gate=None,\n'
        "    training=Training(epochs=1, hidden_units=[sizes_elsewhere.UNITS]))\n"
    )
    rows = tmp_path / "rows.csv"
    rows.write_text("id,x,y\n" + "".join(f"k{n},{n % 7},{n % 7}.5\n" for n in range(200)))
    try:
        first = pipelines.run(problem, rows, tmp_path / "root", quiet=True)
        (tmp_path / "path" / "sizes_elsewhere.py").write_text("UNITS = 9\n")
        second = pipelines.run(problem, rows, tmp_path / "root", quiet=True)
    finally:
        operate.stop(str(tmp_path / "root" / "endpoints" / "case"))
    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert [second.steps[name]["status"] for name in ("preprocess", "train")] == ["cached", "succeeded"]
    assert first.model_version != second.model_version
    assert (Path(second.model) / "sizes_elsewhere.py").read_text() == "UNITS = 9\n"


def test_data_that_breaks_the_rules_too_often_is_refused(folder: Path) -> None:
    twice = folder / "twice.csv"
    header, *rows = BIRTHS.read_text().splitlines(keepends=True)
    twice.write_text("".join([header, *rows[:60], *rows[:60]]))
    refused = run(folder / "natality.py", folder / "three", twice)
    assert refused.returncode == 2
    assert "duplicate" in refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    assert not (folder / "three" / "registry").exists()


def test_drift_from_a_baseline_is_told_in_a_table_everywhere(tmp_path: Path) -> None:
    """The options of `headrace preprocess` for the baseline and for CSV reach the step through the pipeline."""
    problem = tmp_path / "natality.py"
    problem.write_text(
        SHORT.replace('key="record_id",', 'key="record_id",\n    drift=Drift(jensen_shannon=0.05),').replace(
            "import ", "import Drift, ", 1
        )
    )
    header, *rows = BIRTHS.read_text().splitlines()
    older = [",".join([*(fields := row.split(","))[:3], str(int(fields[3]) + 15), *fields[4:]]) for row in rows]
    data, before = tmp_path / "births.csv", tmp_path / "before.csv"
    data.write_text("\n".join([header, *rows]).replace(",", ";") + "\n")
    before.write_text("\n".join([header, *(row for row in older if int(row.split(",")[3]) <= 65)]) + "\n")
    preprocess = ["preprocess", "--problem", str(problem)]
    assert headrace(*preprocess, "--data", before, "--output", tmp_path / "baseline").returncode == 0
    options = ["--baseline", str(tmp_path / "baseline"), "--csv", "delimiter=;"]
    arguments = [*static(problem, tmp_path / "root", data), *options]
    done = headrace(*arguments)
    assert done.returncode == 2
    assert 'the column "mother_age" has drifted from the baseline.' in done.stderr
    table = [line.split() for line in done.stderr.split("\n\n")[1].splitlines()]
    assert table[0] == ["column", "measure", "seen", "expected"]
    (age,) = (line for line in table if line[0] == "mother_age")
    assert age[1:3] == ["Jensen-Shannon", "divergence"]
    assert float(age[3]) > 0.05
    assert age[4:] == ["at", "most", "0.05", "too", "much"]
    assert len(table) == 10
    written = summary(tmp_path / "root")
    assert (written["status"], written["baseline"], written["csv"]) == (
        "failed",
        str(tmp_path / "baseline"),
        ["delimiter=;"],
    )
    assert len(written["error"]["table"]) == 10
    (page,) = (tmp_path / "root").glob("runs/*/report.html")
    assert f"<td>mother_age</td><td>Jensen-Shannon divergence</td><td>{age[3]}</td>" in page.read_text()
    # Another baseline is another run, and this one passes.
    passed = run_again(arguments, tmp_path / "baseline" / "statistics.json", data, preprocess)
    assert "has drifted" not in passed.stderr


def run_again(
    arguments: list[str], statistics: Path, data: Path, preprocess: list[str]
) -> subprocess.CompletedProcess[str]:
    """The same run, against statistics of the data itself, stopped once preprocessing is done."""
    own = statistics.parent.with_name("own")
    assert headrace(*preprocess, "--data", data, "--csv", "delimiter=;", "--output", own).returncode == 0
    statistics.write_bytes((own / "statistics.json").read_bytes())
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = ""
    while "1,449 out" not in told and (line := process.stdout.readline()):
        told += line
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate()
    # A machine that is busy may notice the signal after the model was deployed.
    for endpoint in statistics.parent.parent.glob("root/endpoints/natality"):
        operate.stop(str(endpoint))
    assert "1,450 rows in, 1,449 out, 1 quarantined" in told
    return subprocess.CompletedProcess(arguments, process.returncode, told + rest, errors)


def test_weights_from_the_problem_to_the_report_and_none_to_score(folder: Path) -> None:
    problem, root = folder / "weighted.py", folder / "weighted"
    problem.write_text(WEIGHTED)
    done = run(problem, root)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Metrics   weighted by w" in done.stdout
    found = summary(root)
    results = {step["step"]: step["result"] for step in found["steps"]}
    assert results["evaluate"]["weight"] == "w"
    (report,) = root.glob("runs/*/report.html")
    assert "rows, weighted by w</small>" in report.read_text()
    model = Path(resolve_artifact(str(report.parent), "model"))
    trained = json.loads((model / "training.json").read_text())
    assert trained["weight"] == "w"
    counts = dict(json.loads((model / "statistics.json").read_text())["columns"]["is_light"]["vocabulary"])
    rows = sum(counts.values())
    assert trained["class_weights"] == {name: pytest.approx(rows / (2 * counts[name])) for name in ("no", "yes")}
    # Neither the weight nor what it is derived from is asked for: mother_age is no column here.
    (folder / "today.csv").write_text("record_id,gestation_weeks,plurality\na,39,single\nb,30,twins\n")
    scored = headrace(
        "score", "--model", str(model), "--data", str(folder / "today.csv"), "--output", str(folder / "predictions")
    )
    assert scored.returncode == 0, scored.stderr
    assert json.loads((folder / "predictions" / "manifest.json").read_text())["rows_out"] == 2
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Call it")]
    called = subprocess.run(
        ["sh", "-c", line.removeprefix("Call it").strip()], capture_output=True, text=True, check=True
    )
    assert "mother_age" not in line
    assert json.loads(called.stdout)["predictions"][0]["prediction"] in ("no", "yes")
