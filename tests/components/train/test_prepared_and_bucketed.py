"""A Problem with a prepare function and quantile buckets, from rows to predictions: in batches, by Beam and served."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from headrace.components.evaluate.evaluator import EvaluateConfig, evaluate
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.components.score.config import ScoreConfig
from headrace.components.score.score import score
from headrace.components.train.config import TrainConfig
from headrace.components.train.trainer import train
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files
from headrace.core.beam.runners import DirectRunner
from headrace.core.errors import DataError, ProblemError
from headrace.core.problem.file import load_problem
from headrace.core.saved_model.find import find_source

MODULE = "def area(width, height):\n    return [float(w) * float(h) for w, h in zip(width, height)]\n"
SOURCE = """
import pyarrow as pa
from headrace import Categorical, Crossed, Gate, Numeric, Problem, Splits, Training
from shapes import area


def prepare(batch):
    values = area(*(batch.column(name).to_pylist() for name in ("Width (cm)", "height")))
    return pa.RecordBatch.from_arrays([pa.array(values, pa.float64())], names=["area"])


problem = Problem(
    "tiles", key="id", label=Numeric("price"), reads=["Width (cm)", "height"], quarantine_budget=0.1,
    features=[Numeric("area", maximum=399, buckets=BUCKETS), Categorical("color"),
              Crossed("area", "color", hash_buckets=32)],
    splits=Splits(time="sold"), training=Training(epochs=2, batch_size=64, seed=3),
    gate=Gate("root_mean_squared_error", at_most=1000, slices=["area"]),
)
"""
BUILD_MODEL = "\ndef build_model(problem, statistics, hyperparameters):\n    ...\n"
FIRST_HEIGHT = "batch.column('height').cast('int64').take([0] * len(batch))"
IDENTITY = "0123456789abcdef"


@dataclass(frozen=True)
class Made:
    folder: Path
    data: Path
    examples: Path
    model: Path


def tiles(rows: int = 400) -> pa.Table:
    chance = np.random.default_rng(11)
    width, height = chance.integers(1, 20, rows), chance.integers(1, 20, rows)
    color = [("red", "green", "blue")[n % 3] for n in range(rows)]
    return pa.table(
        {
            "id": [f"t{n}" for n in range(rows)],
            "Width (cm)": width,
            "height": height,
            "color": color,
            "sold": [f"2026-{1 + n // 40:02d}-{1 + n % 28:02d}" for n in range(rows)],
            "price": width * height * 0.5 + chance.normal(0, 1, rows),
        }
    )


def make(folder: Path, buckets: str) -> Made:
    folder.mkdir()
    (folder / "shapes.py").write_text(MODULE)
    (folder / "problem.py").write_text(SOURCE.replace("BUCKETS", buckets))
    made = Made(folder, folder / "tiles.csv", folder / "examples", folder / "model")
    pacsv.write_csv(tiles(), made.data)
    file = load_problem(str(folder / "problem.py"))
    preprocess(file, PreprocessConfig(str(made.data), str(made.examples), IDENTITY, "v", batch_rows=90))
    train(file, TrainConfig(str(made.examples), str(made.model), IDENTITY))
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("tiles") / "measured", "5")


def predictions(made: Made, data: Path, output: Path, **options: object) -> pa.Table:
    score(ScoreConfig(str(made.model), str(data), str(output), IDENTITY, **options))  # type: ignore[arg-type]
    return pq.read_table(output / "predictions").sort_by("id").select(["id", "prediction"])


def boundaries(made: Made) -> list[float]:
    found: list[float] = json.loads((made.examples / "statistics.json").read_text())["columns"]["area"]["buckets"]
    return found


def test_boundaries_are_quantiles_of_the_train_split(made: Made) -> None:
    table = tiles()
    areas = np.multiply(table["Width (cm)"], table["height"]).astype(np.float32)
    manifest = json.loads((made.examples / "manifest.json").read_text())
    sold = np.array(table["sold"].to_pylist())
    train_split = areas[sold < manifest["boundaries"]["eval_from"]]
    assert len(train_split) == manifest["splits"]["train"]["rows"]
    assert boundaries(made) == pytest.approx(np.quantile(train_split, [0.2, 0.4, 0.6, 0.8]), rel=1e-6)
    declared = json.loads((made.model / "problem.json").read_text())["features"][0]["buckets"]
    assert declared == boundaries(made)


def test_measured_boundaries_are_used_as_given_ones_in_model_cross_and_slices(made: Made, tmp_path: Path) -> None:
    given = make(tmp_path / "given", repr(boundaries(made)))
    raw = tmp_path / "rows.parquet"
    pq.write_table(tiles(50).drop_columns(["price", "sold"]), raw)
    measured = predictions(made, raw, tmp_path / "measured")
    assert measured.equals(predictions(given, raw, tmp_path / "as_given"))
    slices = []
    for each in (made, given):
        output = each.folder / "evaluation"
        file = load_problem(str(each.folder / "problem.py"))
        assert evaluate(file, EvaluateConfig(str(each.examples), str(each.model), str(output))).blessed
        found = json.loads((output / "evaluation.json").read_text())["slices"]
        slices.append([(part["value"], part["rows"]) for part in found if part["feature"] == "area"])
    assert slices[0] == slices[1]
    assert len(slices[0]) == 5


def test_batches_run_prepare_and_the_endpoint_takes_prepared_columns(made: Made, tmp_path: Path) -> None:
    rows = tiles(60).drop_columns(["price", "sold"])
    pq.write_table(rows, tmp_path / "rows.parquet")
    pacsv.write_csv(rows, tmp_path / "rows.csv")
    by_parquet = predictions(made, tmp_path / "rows.parquet", tmp_path / "parquet")
    assert by_parquet.num_rows == 60
    assert by_parquet.equals(predictions(made, tmp_path / "rows.csv", tmp_path / "csv", batch_rows=7))
    assert by_parquet.equals(predictions(made, tmp_path / "rows.csv", tmp_path / "beam", runner=DirectRunner()))
    source = find_source(str(made.model))
    assert source.interface is not None
    assert [feature.name for feature in source.interface.inputs] == ["area", "color"]
    assert source.prepared
    notes = json.loads((made.model / "training.json").read_text())["notes"]
    assert any("requests must hold the columns that prepare returns" in note for note in notes)


def test_code_that_changed_is_not_executed(made: Made, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    pacsv.write_csv(tiles(5), rows)
    for name in ("problem.py", "shapes.py"):
        copy = tmp_path / f"model-{name}"
        shutil.copytree(made.model, copy)
        with (copy / name).open("a") as file:
            file.write(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
        with pytest.raises(DataError, match="is not executed"):
            predictions(dataclasses.replace(made, model=copy), rows, tmp_path / "out")
    assert not (tmp_path / "executed").exists()


def test_quarantine_holds_rows_as_they_were_before(made: Made, tmp_path: Path) -> None:
    rows = tiles(20)
    wide = rows.set_column(1, "Width (cm)", pa.array([4000, *[3] * 19]))
    pacsv.write_csv(pa.concat_tables([rows.slice(1), wide.slice(0, 1)]), tmp_path / "rows.csv")
    file = load_problem(str(made.folder / "problem.py"))
    config = PreprocessConfig(str(tmp_path / "rows.csv"), str(tmp_path / "out"), IDENTITY, "v")
    result = preprocess(file, config)
    assert (result.rows_in, result.rows_out, result.reasons) == (20, 19, {"out_of_range": 1})
    (row,) = read_rows(quarantine_files(str(tmp_path / "out"))[0])
    assert (row.fault.column, row.values["Width (cm)"], "area" in row.values) == ("area", "4000", False)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return batch.slice(1)", "Received: 399 rows"),
        ("return batch.to_pydict()", "builtins.dict"),
        (f"return batch.append_column('area', {FIRST_HEIGHT})", "another batch"),
        ("return batch.append_column('area', batch.column('color'))", "line 3"),
        ("return batch", 'the column "area" does not exist'),
    ],
)
def test_what_prepare_may_not_do(made: Made, tmp_path: Path, body: str, said: str) -> None:
    problem = SOURCE.partition("problem = ")[2].replace("BUCKETS", "5")
    text = "from headrace import Categorical, Crossed, Gate, Numeric, Problem, Splits, Training\n"
    text += f"def prepare(batch):\n    {body}\nproblem = {problem}"
    (tmp_path / "problem.py").write_text(text)
    file = load_problem(str(tmp_path / "problem.py"))
    with pytest.raises((ProblemError, DataError)) as refused:
        preprocess(file, PreprocessConfig(str(made.data), str(tmp_path / "out"), IDENTITY, "v"))
    assert said in refused.value.paragraph
    assert not (tmp_path / "out").exists()


def test_a_changed_prepare_is_another_schema_and_a_changed_model_is_not(tmp_path: Path) -> None:
    def digest(source: str, module: str = MODULE) -> str:
        (tmp_path / "shapes.py").write_text(module)
        (tmp_path / "problem.py").write_text(source.replace("BUCKETS", "5"))
        return load_problem(str(tmp_path / "problem.py")).problem.schema_digest

    before = digest(SOURCE)
    assert digest(SOURCE.replace("pa.float64()", "pa.float32()")) != before
    assert digest(SOURCE, MODULE.replace("* float(h)", "+ float(h)")) != before
    assert digest(SOURCE + BUILD_MODEL) == before
    assert digest(SOURCE.replace("at_most=1000", "at_most=10")) == before


def test_a_file_that_imports_pyarrow_is_read_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shapes.py").write_text(MODULE)
    text = SOURCE.replace("BUCKETS", "5").replace("def prepare(batch):", "def prepare(batch: pa.RecordBatch | None):")
    (tmp_path / "problem.py").write_text(f"import pyarrow.compute as pc\nfrom pyarrow import compute\n{text}")
    before = load_problem(str(tmp_path / "problem.py"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    absent = load_problem(str(tmp_path / "problem.py"))
    assert absent.digests == before.digests
    (tmp_path / "problem.py").write_text(f"import pyarrow\nSCHEMA = pyarrow.schema([])\n{text}")
    with pytest.raises(ProblemError, match="the Problem file failed") as refused:
        load_problem(str(tmp_path / "problem.py"))
    assert "pyarrow.schema is called: only prepare can use it" in refused.value.paragraph


def test_a_failing_prepare_in_a_batch_names_its_line(made: Made, tmp_path: Path) -> None:
    rows = tiles(20)
    pacsv.write_csv(rows.set_column(2, "height", pa.array(["4"] * 19 + ["tall"])), tmp_path / "rows.csv")
    for number, options in enumerate(({}, {"runner": DirectRunner()})):
        with pytest.raises(ProblemError) as refused:
            predictions(made, tmp_path / "rows.csv", tmp_path / f"out{number}", **options)
        assert "shapes.py, line 2" in refused.value.paragraph
        assert "could not convert string to float: 'tall'" in refused.value.paragraph
        assert refused.value.exit_status == 2


@pytest.mark.parametrize(
    ("reads", "said"),
    [("", "prepare needs the columns"), ('reads=["absent"], ', '"absent", which prepare reads, does not exist')],
)
def test_reads_and_prepare_belong_together(made: Made, tmp_path: Path, reads: str, said: str) -> None:
    (tmp_path / "shapes.py").write_text(MODULE)
    text = SOURCE.replace('reads=["Width (cm)", "height"], ', reads).replace("BUCKETS", "5")
    (tmp_path / "problem.py").write_text(text)
    with pytest.raises((ProblemError, DataError), match=said):
        preprocess(
            load_problem(str(tmp_path / "problem.py")),
            PreprocessConfig(str(made.data), str(tmp_path / "out"), IDENTITY, "v"),
        )
