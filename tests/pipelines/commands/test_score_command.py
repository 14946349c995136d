"""`headrace score` and `headrace run batch-scoring` as a user types them, and all that is refused before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.command import headrace

from headrace import pipelines
from headrace.components.registry.folder.registry import Registry
from headrace.components.score.config import ScoreConfig
from headrace.components.score.score import score
from headrace.components.score.sinks.table_sink import FILE
from headrace.core.artifacts.published import current
from headrace.core.errors import DataError, UsageError
from headrace.core.prediction_table.reader import PredictionTable
from headrace.pipelines.cli import cli
from headrace.pipelines.commands import score_options

ROWS = "record_id,mother_age,gestation_weeks,plurality,mother_smokes\na,30,40,1,true\nb,20,,2,\nc,,35,1,false\n"
# 1 + 0.05 * age + 0.1 * weeks - 2 if not single - 0.5 if smoking, of the first two; the third lacks its age.
EXPECTED = {"a": 1 + 1.5 + 4 - 0.5, "b": 1 + 1 + 3.8 - 2}


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["score", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "model", "v1")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    return path


def test_describe(model: Path, rows: Path) -> None:
    job = ("--vertex-model", "projects/p/locations/us-central1/models/m", "--vertex-project", "demo-project")
    job += ("--vertex-region", "us-central1", "--vertex-staging", "gs://my-bucket/staging")
    done = headrace("score", "--model", str(model), "--describe-model", "--data", str(rows), *job)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == ["model version v1", "signature serving_default, key record_id"]
    assert "gestation_weeks  float32  [rows]  gestation_weeks (may be missing: NaN)" in done.stdout
    assert "prediction  float32  [rows]  prediction" in done.stdout
    wanted = "rows are prepared for a job: they are neither JSON lines in Cloud Storage nor a table"
    assert done.stdout.splitlines()[-1] == wanted


def test_rows_to_json_lines(model: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = ("--sink", "jsonl", "--quarantine-budget", "0.5")
    done = headrace("score", "--model", str(model), "--data", str(rows), "--output", str(output), *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "approach direct: the model can be loaded here, which is faster than any request for predictions",
        f"3 rows in = 2 predictions + 1 quarantined, model version v1: {output}",
        "quarantined, missing_value: 1",
    ]
    (file,) = (output / "predictions").iterdir()
    made = {row["record_id"]: row["prediction"] for row in map(json.loads, file.read_text().splitlines())}
    assert made == pytest.approx(EXPECTED, rel=1e-6)


@pytest.fixture
def ruled(make_model: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """`ruled(mother_age={...})`: a Model whose features are declared with these fields."""

    def make(**declared: dict[str, Any]) -> Path:
        model = make_model(tmp_path / "model", "v1")
        problem = json.loads((model / "problem.json").read_text())
        for feature in problem["features"]:
            feature.update(declared.get(feature["name"], {}))
        (model / "problem.json").write_text(json.dumps({**problem, "missing": ["NA"]}))
        return model

    return make


RULED = (
    "record_id,mother_age,gestation_weeks,plurality,mother_smokes,extra\n"
    "a,30,40,1,true,x\nb,500,40,3,true,\nc,NA,40,1,,\nd,20,NA,2,,\n"
)


def test_rules_are_enforced_or_counted(ruled: Callable[..., Path], tmp_path: Path) -> None:
    model = ruled(mother_age={"minimum": 10, "maximum": 65}, plurality={"vocabulary": ["1", "2"]})
    rows = tmp_path / "rows.csv"
    rows.write_text(RULED)
    common = ("score", "--model", str(model), "--data", str(rows), "--quarantine-budget", "1", "--output")
    enforced = headrace(*common, str(tmp_path / "enforced"))
    assert (enforced.returncode, enforced.stderr) == (0, "")
    assert enforced.stdout.splitlines()[-2:] == ["quarantined, missing_value: 1", "quarantined, out_of_range: 1"]
    manifest = json.loads((tmp_path / "enforced" / "manifest.json").read_text())
    assert manifest["rules"] == {
        "mode": "enforce",
        "refused": {
            "missing_value": {"mother_age": 1},
            "out_of_range": {"mother_age": 1},
            "unknown_value": {"plurality": 1},
        },
        "predicted": {},
    }
    (file,) = (tmp_path / "enforced" / "quarantine").iterdir()
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["row"], row["reason"], row["message"]) for row in kept] == [
        (2, "out_of_range", 'mother_age is "500", which is not between 10 and 65'),
        (3, "missing_value", "mother_age is missing, and is not optional"),
    ]
    assert kept[0]["also"] == [
        {"column": "plurality", "reason": "unknown_value", "message": 'plurality is "3", which is not one of 1, 2'}
    ]
    warned = headrace(*common, str(tmp_path / "warned"), "--rules", "warn")
    assert (warned.returncode, warned.stderr) == (0, "")
    assert warned.stdout.splitlines()[-3:] == [
        "quarantined, missing_value: 1",
        "predicted, out_of_range in mother_age: 1",
        "predicted, unknown_value in plurality: 1",
    ]
    manifest = json.loads((tmp_path / "warned" / "manifest.json").read_text())
    assert (manifest["rows_out"], manifest["rules"]["mode"]) == (3, "warn")
    assert manifest["identity"] != json.loads((tmp_path / "enforced" / "manifest.json").read_text())["identity"]


def test_a_column_of_which_no_value_was_learned_is_named(ruled: Callable[..., Path], tmp_path: Path) -> None:
    """Such as booleans that are spelled otherwise than in the training data: the run ends well, and is of no use."""
    model = ruled(plurality={"vocabulary": ["one", "two"], "max_unknown": 1})
    told: list[str] = []
    for rows, name in ((RULED, "none"), (RULED.replace("40,1,", "40,one,"), "some")):
        (tmp_path / "rows.csv").write_text(rows)
        config = ScoreConfig(
            str(model), str(tmp_path / "rows.csv"), str(tmp_path / name), "0" * 16, quarantine_budget=1
        )
        score(config, lambda text, **_: told.append(text))
    (warning,) = [text for text in told if text.startswith("warning")]
    assert warning.startswith('warning: no value of "plurality" is one that the model learned')


def test_shares_of_unknown_values_are_bounded_as_in_preprocess(ruled: Callable[..., Path], tmp_path: Path) -> None:
    model = ruled(plurality={"vocabulary": ["1", "2"], "max_unknown": 0.25}, gestation_weeks={"max_missing": 0.5})
    rows = tmp_path / "rows.csv"
    rows.write_text(RULED)
    common = ("score", "--model", str(model), "--data", str(rows), "--quarantine-budget", "1", "--output")
    refused = headrace(*common, str(tmp_path / "out"))
    assert refused.returncode == 2
    assert 'more values of "plurality" are unknown than the Problem allows' in refused.stderr
    # Of the three rows that broke no rule.
    assert "33.33% (1 row)" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert headrace(*common, str(tmp_path / "out"), "--rules", "warn").returncode == 0
    rules = json.loads((tmp_path / "out" / "manifest.json").read_text())["rules"]
    assert rules["predicted"] == {"missing_value": {"gestation_weeks": 1}, "unknown_value": {"plurality": 1}}


def test_the_pipeline_to_a_table_that_is_looked_up(model: Path, rows: Path, tmp_path: Path) -> None:
    """champion -> score -> check -> publish on this machine, twice: the second time nothing is scored."""
    root = tmp_path / "root"
    problem = tmp_path / "problem.py"
    problem.write_text(
        "from headrace.core.problem import Categorical, Numeric, Problem\n"
        "problem = Problem(name='natality', key='record_id', label=Numeric('weight_pounds'),\n"
        "    features=[Numeric('mother_age'), Categorical('plurality')])\n"
    )
    registry = Registry(str(root / "registry" / "natality"))
    arguments = ("--problem", str(problem), "--data", str(rows), "--root", str(root), "--sink", "table")
    refused = headrace("run", "batch-scoring", *arguments)
    assert refused.returncode == 2
    assert "the registry has no champion" in refused.stderr
    registry.register(str(model))
    registry.promote("v1")
    spent = headrace("run", "batch-scoring", *arguments)
    assert spent.returncode == 2
    assert "the quarantine budget is spent" in spent.stderr
    rows.write_text(ROWS.replace("c,,", "c,41.5,"))
    done = headrace("run", "batch-scoring", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for said in (
        "3 rows in, 3 predictions, 0 quarantined; direct",
        "Rows      3 in = 3 predictions + 0 quarantined",
        "Approach  direct: the model can be loaded here",
    ):
        assert said in done.stdout
    place = root / "predictions" / "natality"
    now = current(str(place))
    table = PredictionTable(place / "versions" / now["current"] / FILE)
    assert table.outputs(table.find(["a"]))["prediction"][0] == pytest.approx(EXPECTED["a"], rel=1e-6)
    assert table.about.model_version == "v1"
    again = headrace("run", "batch-scoring", *arguments, "--json")
    assert again.returncode == 0
    assert "score       already done, cached" in again.stderr
    printed = json.loads(again.stdout)
    assert (printed["pipeline"], printed["status"]) == ("batch-scoring", "succeeded")
    assert current(str(place)) == now
    ended = pipelines.run_batch_scoring(problem, rows, root, sink="table", quiet=True)
    assert ended.steps["score"]["status"] == "cached"
    assert (ended.status, ended.model_version) == ("succeeded", "v1")
    assert ended.rows == {"rows_in": 3, "rows_out": 3, "rows_quarantined": 0}
    assert ended.predictions == str(place / "versions" / now["current"])
    assert (ended.metrics, ended.gate, ended.endpoint) == ({}, None, None)
    (summary,) = [
        json.loads(path.read_text())
        for path in root.glob("runs/*/summary.json")
        if json.loads(path.read_text())["status"] == "succeeded"
    ]
    assert [step["status"] for step in summary["steps"]] == ["succeeded", "cached", "succeeded", "succeeded"]
    report = root / "runs" / summary["run_id"] / "report.html"
    assert printed["report"] == str(report)
    page = report.read_text()
    for said in ("Scored and published", "3 predictions of version v1", "direct: the model can be loaded here"):
        assert said in page
    assert f"Report    {report}" in done.stdout
    report.unlink()
    for path in (report.parent, root):
        shown = CliRunner().invoke(cli, ["report", str(path)], catch_exceptions=False)
        assert (shown.exit_code, shown.stdout) == (0, f"{report}\n")
    assert report.read_text() == page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "data is empty"),
        (("--data", "d"), "output is empty"),
        (("--data", "d", "--output", "o"), "model is empty"),
        (("--data", "d", "--output", "o", "--model", "m", "--sink", "bigquery"), "the sink bigquery and its table"),
        (("--data", "d", "--output", "o", "--model", "m", "--approach", "job"), "the approach job needs more"),
        (("--data", "d", "--output", "o", "--model", "m", "--approach", "endpoint"), "the approach endpoint needs"),
        (
            ("--data", "d", "--output", "o", "--model", "m", "--vertex-region", "europe-west1"),
            "options of the job are missing",
        ),
        (("--data", "d", "--output", "o", "--model", "m", "--endpoint-tries", "3"), "options of an endpoint require"),
        (("--data", "d", "--output", "o", "--model", "m", "--workers", "3"), "--workers needs a runner"),
        (("--data", "d", "--output", "o", "--model", "m", "--partition-by", "a/b"), "cannot be a folder's"),
    ],
)
def test_what_is_refused_before_any_work(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        invoke(*arguments)


def test_columns_of_inputs() -> None:
    assert score_options.inputs_of(()) is None
    assert score_options.inputs_of(("a,b", "c")) == ["a", "b", "c"]
    assert score_options.inputs_of(("x=a", "y=b,c")) == {"x": "a", "y": ["b", "c"]}
    for wrong in (("x=a", "b"), ("x=a", "x=b"), ("=a",), ("x=",)):
        with pytest.raises(UsageError, match="the option is not valid"):
            score_options.inputs_of(wrong)


def test_a_runner_in_a_pipelines_parameter() -> None:
    from headrace.components.score.parameters import Parameters
    from headrace.core.beam.runners import DataflowRunner

    place = "gs://my-bucket"
    options = {
        "project": "my-project",
        "region": "europe-west1",
        "temp_location": f"{place}/temp",
        "sdk_container_image": "gcr.io/my-project/score:1",
        "max_workers": 4,
    }
    text = json.dumps({"name": "DataflowRunner", **options})
    made = Parameters(
        "", f"{place}/rows", "d" * 64, f"{place}/root", endpoint='{"url": "https://h/v1/models/m:predict"}', runner=text
    ).config(f"{place}/out")
    assert made.runner == DataflowRunner(**options)  # type: ignore[arg-type]
    for wrong in ("{", '["DirectRunner"]', '{"name": "NoRunner"}'):
        with pytest.raises(UsageError):
            Parameters("m", "d", "v", "r", runner=wrong).config("o")


def test_constants_and_the_whole_input_in_one_call(tmp_path: Path) -> None:
    import pyarrow.parquet as pq
    import tensorflow as tf

    specs = [tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([], tf.float32, "scale")]
    module = tf.Module()
    module.predict = tf.function(lambda x, scale: {"y": scale * x / tf.reduce_sum(x)}, input_signature=specs)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.predict})
    (tmp_path / "rows.csv").write_text("x\n1\n3\n")
    start = ("--model", str(tmp_path / "m"), "--data", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out"))
    with pytest.raises(UsageError, match=r"--constant: .*Expected NAME=VALUE for scale \(float32\)"):
        invoke(*start)
    with pytest.raises(UsageError, match=r"--constant: the option is not valid. Expected INPUT=VALUE"):
        invoke(*start, "--constant", "scale")
    with pytest.raises(DataError, match=r"rows are not independent.*with --batch whole"):
        invoke(*start, "--constant", "scale=8")
    done = invoke(*start, "--constant", "scale=8", "--batch", "whole")
    assert done.exit_code == 0
    (file,) = (tmp_path / "out" / "predictions").iterdir()
    assert pq.read_table(file).column("y").to_pylist() == [2.0, 6.0]


def test_constants_of_a_pipeline_are_json() -> None:
    from headrace.components.score.identity import constants_of, score_identity

    assert constants_of("") == {}
    assert constants_of('{"a": 1.5, "b": "x", "c": true}') == {"a": 1.5, "b": "x", "c": True}
    for wrong in ("[1]", '{"a": [1]}', "a=1", '{"a": null}'):
        with pytest.raises(UsageError, match="the constants are not valid"):
            constants_of(wrong)
    plain, *others = (
        score_identity("v", "d", **options)
        for options in ({}, {"constants": {"a": 1}}, {"batch": "whole"})  # type: ignore[arg-type]
    )
    assert len({plain, *others}) == 3
