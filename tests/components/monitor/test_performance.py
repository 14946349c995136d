"""Metrics of late labels for each task, from tables of predictions and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as sklearn_metrics
from support.monitored import write

from headrace.components.monitor.alarms import Alarms
from headrace.components.monitor.config import MonitorConfig
from headrace.components.monitor.judge import JudgedMetric, judge_metric, metric_of
from headrace.components.monitor.monitor import monitor
from headrace.components.monitor.performance import WindowMetrics
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Gate, Monitor, Numeric, Problem
from headrace.core.problem.file import load_problem

ROWS = 400


def measured(
    tmp_path: Path, label: str, outputs: dict[str, Any], labels: pa.Table, *, gate: str = "None", **options: Any
) -> dict[str, Any]:
    (tmp_path / "problem.py").write_text(
        "from headrace import Categorical, Gate, Numeric, Problem\n"
        f'problem = Problem(name="p", key="id", label={label}, features=[Numeric("x")], gate={gate})\n'
    )
    x = np.random.default_rng(1).normal(0, 1, ROWS)
    data = write(tmp_path / "data.parquet", pa.table({"id": np.arange(ROWS).astype(str), "x": x} | outputs))
    joined = write(tmp_path / "labels.parquet", labels)
    config = MonitorConfig(data, data, str(tmp_path / "monitoring"), now=1e9, labels=joined, **options)
    monitor(load_problem(str(tmp_path / "problem.py")), config)
    document: dict[str, Any] = json.loads((tmp_path / "monitoring" / "monitoring.json").read_text())
    return document


def values(document: dict[str, Any]) -> dict[str, float]:
    (window,) = document["windows"]
    return {name: found["value"] for name, found in window["performance"]["metrics"].items()}


def test_a_binary_label(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    probability = random.random(ROWS)
    label = np.where(random.random(ROWS) < probability, "yes", "no")
    prediction = np.where(probability >= 0.5, "yes", "no")
    outputs = {"prediction": prediction, "probability": probability.astype(np.float32)}
    labels = pa.table({"id": np.arange(ROWS).astype(str), "y": label})
    document = measured(tmp_path, 'Categorical("y", vocabulary=["no", "yes"])', outputs, labels)
    found = values(document)
    assert found["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(label == "yes", probability), abs=1e-6)
    assert found["accuracy"] == pytest.approx(float((label == prediction).mean()))
    assert document["columns"]["probability"]["role"] == "output"
    assert sum(document["columns"]["probability"]["cells"]) == ROWS


def test_a_label_of_several_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    names = np.array(["a", "b", "c"])
    probabilities = random.dirichlet([1, 1, 1], ROWS)
    prediction = names[probabilities.argmax(axis=1)]
    label = names[[random.choice(3, p=p) for p in probabilities]]
    lists = pa.array(probabilities.tolist(), pa.list_(pa.float64()))
    labels = pa.table({"id": np.arange(ROWS).astype(str), "y": label})
    declared = 'Categorical("y", vocabulary=["a", "b", "c"])'
    outputs = {"prediction": prediction, "probabilities": lists}
    found = values(measured(tmp_path, declared, outputs, labels))
    expected = sklearn_metrics.log_loss(label, probabilities, labels=names)
    assert found["log_loss"] == pytest.approx(expected, rel=1e-6)
    wrong = pa.array([*probabilities.tolist()[:-2], [0.5, 0.5], None], pa.list_(pa.float64()))
    document = measured(tmp_path, declared, {**outputs, "probabilities": wrong}, labels)
    assert document["labels"]["invalid_predictions"] == 2
    with pytest.raises(DataError, match="holds no lists"):
        measured(tmp_path, declared, {**outputs, "probabilities": np.zeros(ROWS)}, labels)


def test_labels_that_break_the_rules_of_the_label_are_counted(tmp_path: Path) -> None:
    keys = [*np.arange(ROWS).astype(str), "0", "", None, "nowhere"]
    label = [*np.linspace(0, 1, ROWS), -3.0, 1.0, 1.0, 1.0]
    document = measured(
        tmp_path,
        'Numeric("y", minimum=0)',
        {"prediction": np.linspace(0, 1, ROWS)},
        pa.table({"key": keys, "y": label}),
    )
    assert document["labels"]["invalid_labels"] == 3
    assert document["labels"]["labels"] == ROWS + 1
    assert document["labels"]["joined"] == ROWS
    assert values(document)["root_mean_squared_error"] == 0.0


def test_labels_in_any_order_and_format_give_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    prediction = random.normal(0, 1, ROWS)
    labels = pa.table(
        {
            "id": np.tile(np.arange(ROWS).astype(str), 2),
            "y": random.normal(0, 1, 2 * ROWS).round(3),
            "came": np.repeat([1.0, 2.0], ROWS),
        }
    )
    declared, outputs = 'Numeric("y")', {"prediction": prediction}
    first = measured(tmp_path, declared, outputs, labels, label_time="came")
    latest = labels["y"].to_numpy()[ROWS:]
    exact = float(np.sqrt(((latest - prediction) ** 2).mean()))
    assert values(first)["root_mean_squared_error"] == pytest.approx(exact, rel=1e-12)
    shuffled = labels.take(random.permutation(2 * ROWS))
    assert measured(tmp_path, declared, outputs, shuffled, label_time="came") == first
    contradicting = measured(tmp_path, declared, outputs, labels.drop_columns(["came"]))
    assert contradicting["labels"]["contradicting"] == ROWS
    assert contradicting["windows"][0]["performance"] is None


@pytest.mark.parametrize(
    ("table", "what", "received"),
    [({"id": ["1"]}, "has no label", "id"), ({"y": [1.0]}, "has no key", "y")],
)
def test_a_table_that_holds_no_labels_is_refused(
    tmp_path: Path, table: dict[str, Any], what: str, received: str
) -> None:
    with pytest.raises(DataError, match=what) as caught:
        measured(tmp_path, 'Numeric("y")', {"prediction": np.zeros(ROWS)}, pa.table(table))
    assert caught.value.received == received


def judged(value: float, low: float, high: float, *, gate: Gate, evaluated: float | None, loss: float | None) -> Any:
    label = Categorical("y", vocabulary=["no", "yes"]) if gate.metric == "accuracy" else Numeric("y")
    problem = Problem(name="p", key="id", label=label, features=[Numeric("x")], gate=gate)
    metric = metric_of(problem)
    measured = WindowMetrics(500, {metric: value}, {metric: (low, high)})
    maker = Alarms("p", "r", "2026-03-01T00:00:00Z")
    found = judge_metric(maker, JudgedMetric(metric, evaluated), measured, problem, Monitor(metric_loss=loss), None)
    return [(alarm.kind, alarm.threshold) for alarm in found]


def test_a_metric_is_an_alarm_where_its_whole_interval_is() -> None:
    rmse = Gate("root_mean_squared_error", at_most=1.5)
    assert judged(1.4, 1.3, 1.6, gate=rmse, evaluated=None, loss=0.1) == []
    assert judged(1.6, 1.4, 1.8, gate=rmse, evaluated=None, loss=0.1) == []
    assert judged(1.7, 1.6, 1.8, gate=rmse, evaluated=None, loss=0.1) == [("metric", 1.5)]
    assert judged(1.2, 1.15, 1.3, gate=rmse, evaluated=1.0, loss=0.1) == [("metric_loss", 1.1)]
    assert judged(1.2, 1.15, 1.3, gate=rmse, evaluated=1.0, loss=None) == []
    accuracy = Gate("accuracy", at_least=0.8)
    assert judged(0.75, 0.7, 0.79, gate=accuracy, evaluated=None, loss=0.1) == [("metric", 0.8)]
    assert judged(0.75, 0.7, 0.81, gate=accuracy, evaluated=0.9, loss=0.05) == [("metric_loss", pytest.approx(0.855))]
    assert judged(0.85, 0.83, 0.88, gate=accuracy, evaluated=0.9, loss=0.05) == []


def test_the_metric_is_that_of_the_gate_or_the_first_of_the_task() -> None:
    def of(gate: Gate | None) -> str:
        return metric_of(Problem(name="p", key="id", label=Numeric("y"), features=[Numeric("x")], gate=gate))

    assert of(None) == of(Gate()) == "root_mean_squared_error"
    assert of(Gate("r_squared", at_least=0.1)) == "r_squared"


def test_an_evaluation_without_the_metric_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "evaluation.json").write_text('{"metrics": {}}')
    labels = pa.table({"id": ["1"], "y": [1.0]})
    outputs = {"prediction": np.zeros(ROWS)}
    with pytest.raises(DataError, match="lacks the metric of the gate"):
        measured(tmp_path, 'Numeric("y")', outputs, labels, evaluation=str(tmp_path / "evaluation"))
