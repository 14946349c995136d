"""A search with sample weights: its trials are judged by the weighted loss, and its Model by weighted metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.components.evaluate.artifacts import open_model, open_split
from headrace.components.evaluate.evaluator import EvaluateConfig, evaluate
from headrace.components.evaluate.predict import predict
from headrace.components.preprocess.pipeline import PreprocessConfig, preprocess
from headrace.components.tune import search
from headrace.core.problem.file import load_problem

SOURCE = """
from headrace import Choice, Numeric, Problem, Range, Splits, Training, Tuning

problem = Problem(
    "weighted", key="k", label=Numeric("y"), features=[Numeric("x"), Numeric("z")], weight="w",
    splits=Splits(0.6, 0.2, 0.2), training=Training(epochs=8, batch_size=32, seed=1),
    tuning=Tuning(trials=3, space={"learning_rate": Range(1e-3, 1e-1, log=True), "hidden_units": Choice([[4], [8]])}),
)
"""
ROWS = 400


def test_trials_are_judged_by_the_weighted_loss(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    x, z = draw.normal(size=(2, ROWS))
    # A third of the rows says the opposite, and counts nothing; without the weights nothing could be learned.
    nothing = np.arange(ROWS) % 3 == 0
    weight = np.where(nothing, 0.0, draw.exponential(2.0, ROWS))
    rows = {"k": [f"k{n}" for n in range(ROWS)], "x": x, "z": z, "y": np.where(nothing, -8 * x, 2 * x + z), "w": weight}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    (tmp_path / "weighted.py").write_text(SOURCE)
    file, examples, model = load_problem(str(tmp_path / "weighted.py")), str(tmp_path / "examples"), tmp_path / "model"
    preprocess(file, PreprocessConfig(str(tmp_path / "rows.parquet"), examples, "0" * 16))
    result = search.tune(file, search.TuneConfig(examples, str(model), str(tmp_path / "search")))

    split = open_split(examples, file.problem, "eval")
    (outcomes,) = predict(file.problem, split, [open_model(str(model), file.problem)]).outcomes
    assert outcomes.weight is not None
    errors = (outcomes.prediction - outcomes.label) ** 2
    # As Keras counts: the sum of weight times loss, by the number of rows.
    assert result.best.eval_loss == pytest.approx(float(np.mean(outcomes.weight * errors)), rel=1e-4)
    assert result.best.eval_loss == min(t.eval_loss for t in result.trials if t.state == "complete")
    judged = evaluate(file, EvaluateConfig(examples, str(model), str(tmp_path / "evaluation")))
    assert judged.blessed
    assert judged.metrics["r_squared"] is not None
    assert judged.metrics["r_squared"] > 0.7
