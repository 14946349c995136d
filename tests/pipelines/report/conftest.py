"""Runs as they would be left behind, small and plausible: what the report is made from."""

from __future__ import annotations

import csv
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BIRTHS = Path(__file__).parents[3] / "examples" / "natality" / "births.csv"
NUMERIC = ("weight_pounds", "mother_age", "gestation_weeks", "weight_gain_pounds")
CATEGORICAL = ("is_male", "plurality", "mother_race", "mother_married", "cigarette_use")
EXAMPLES_IDENTITY, MODEL_VERSION, PREVIOUS = "6f0c1d2e3a4b5c6d", "3f2a91bc07de4455", "9b1e44d0aa27c310"


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Writes the artifacts of a run below `tmp_path`, and returns its summary."""

    def make(
        task: str = "regression", status: str = "succeeded", root: Path = tmp_path, cached: bool = False
    ) -> dict[str, Any]:
        return write_run(root, task, status, cached)

    return make


def write_run(root: Path, task: str = "regression", status: str = "succeeded", cached: bool = False) -> dict[str, Any]:
    """Writes the artifacts of a run of `task`: succeeded, refused, or failed in train."""
    with BIRTHS.open(encoding="utf-8") as file:
        births = list(csv.DictReader(file))
    whole = [row for row in births if row["gestation_weeks"]]
    tested = [row for row in whole if int(row["record_id"]) % 10 == 3]
    chance = random.Random(7)
    examples, model, evaluation = root / "examples", root / "model", root / "evaluation"
    write_examples(examples, births, whole)
    if status != "failed":
        dump(model / "training.json", training(task, chance))
        dump(evaluation / "evaluation.json", evaluated(task, tested, chance, refused=status == "refused"))
    ran = {"succeeded": 5, "refused": 3, "failed": 2}[status]
    outputs = [
        {"examples": str(examples)},
        {"model": str(model)},
        {"evaluation": str(evaluation)},
        {"registered": str(root / "registry" / "natality" / "versions" / MODEL_VERSION)},
        {"endpoint": str(root / "endpoints" / "natality")},
    ]
    results: list[dict[str, Any]] = [
        {"rows_in": len(births), "rows_out": len(whole), "rows_quarantined": len(births) - len(whole)},
        {"model_version": MODEL_VERSION},
        {"blessed": status == "succeeded"},
        {"version": MODEL_VERSION},
        {
            "version": MODEL_VERSION,
            "previous": PREVIOUS,
            "url": "http://127.0.0.1:8517",
            "curl": "curl -s http://127.0.0.1:8517/v1/models/natality:predict -d '"
            '{"instances": [{"key": "3", "mother_age": 27, "gestation_weeks": 39, "plurality": "single"}]}\'',
        },
    ]
    error = {
        "kind": "PlatformError",
        "exit_status": 75,
        "what": "train exited without an error message: it was killed, or ran out of memory",
        "where": str(model),
        "expected": None,
        "received": "signal 9",
        "fix": "Run the same command again; finished steps are not repeated",
    }
    steps = []
    for i, name in enumerate(("preprocess", "train", "evaluate", "register", "deploy")):
        step: dict[str, Any] = {"step": name, "identity": f"{name:0<16}".encode().hex()[:16], "status": "skipped"}
        step |= {"outputs": {}, "result": {}, "error": None}
        if i < ran:
            step |= {
                "status": "cached" if cached and i < 2 else "succeeded",
                "seconds": (6.214, 21.87, 8.406, 0.312, 5.93)[i],
                "import_seconds": (1.931, 4.512, 4.388, 0.021, 4.102)[i],
                "peak_memory_bytes": (412, 1184, 1093, 61, 890)[i] << 20,
                "outputs": outputs[i],
                "result": results[i],
            }
        if status == "failed" and name == "train":
            step |= {"status": "failed", "outputs": {}, "result": {}, "error": error}
        steps.append(step)
    return {
        "format": 1,
        "pipeline": "static-training",
        "run_id": "natality-3f2a91bc",
        "status": status,
        "started": 1795250000.0,
        "finished": 1795250047.3,
        "release": "0.1.0.dev0",
        "problem": "natality",
        "data": "examples/natality/births.csv",
        "root": str(root),
        "steps": steps,
        "error": error if status == "failed" else None,
    }


def dump(path: Path, value: object) -> None:
    """Writes a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_examples(folder: Path, births: list[dict[str, str]], whole: list[dict[str, str]]) -> None:
    """The manifest, schema, statistics and quarantine of the Examples."""
    columns = [
        {"name": name, "kind": kind, "role": "label" if name == "weight_pounds" else "feature", "optional": False}
        for kind, names in (("numeric", NUMERIC), ("categorical", CATEGORICAL))
        for name in names
    ]
    statistics: dict[str, Any] = {}
    train = [row for row in whole if int(row["record_id"]) % 10 not in (3, 7)]
    for name in NUMERIC:
        values = sorted(float(row[name]) for row in train if row[name])
        mean = sum(values) / len(values)
        statistics[name] = {
            "kind": "numeric",
            "count": len(values),
            "missing": len(train) - len(values),
            "mean": mean,
            "standard_deviation": math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)),
            "minimum": values[0],
            "maximum": values[-1],
            "quantiles": [values[round(i * (len(values) - 1) / 20)] for i in range(21)],
        }
    for name in CATEGORICAL:
        counted = Counter(row[name] for row in train if row[name])
        statistics[name] = {
            "kind": "categorical",
            "count": counted.total(),
            "missing": len(train) - counted.total(),
            "distinct": len(counted),
            "vocabulary": [[v, n] for v, n in sorted(counted.items(), key=lambda item: (-item[1], item[0]))],
        }
    sizes = Counter({3: "test", 7: "eval"}.get(int(row["record_id"]) % 10, "train") for row in whole)
    bad = [row for row in births if not row["gestation_weeks"]]
    dump(folder / "schema.json", {"format": 1, "columns": columns})
    dump(folder / "statistics.json", {"format": 1, "rows": len(train), "columns": statistics})
    dump(
        folder / "manifest.json",
        {
            "format": 1,
            "identity": EXAMPLES_IDENTITY,
            "problem": "natality",
            "schema_digest": "c4" * 32,
            "data_version": "5e" * 32,
            "source": [{"file": "births.csv", "bytes": BIRTHS.stat().st_size, "rows": len(births)}],
            "rows_in": len(births),
            "rows_out": len(whole),
            "rows_quarantined": len(bad),
            "splits": {name: {"rows": sizes[name], "shards": []} for name in ("train", "eval", "test")},
            "quarantine": {
                "budget": 0.05,
                "reasons": {"missing_value": len(bad)},
                "files": ["quarantine/part-00000-of-00001.jsonl"],
            },
        },
    )
    lines = [
        {
            "file": "births.csv",
            "row": int(row["record_id"]),
            "column": "gestation_weeks",
            "reason": "missing_value",
            "message": "gestation_weeks is required and missing",
            "values": row,
        }
        for row in bad
    ]
    (folder / "quarantine").mkdir()
    (folder / "quarantine" / "part-00000-of-00001.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )


def training(task: str, chance: random.Random) -> dict[str, Any]:
    """A model that learned for 23 epochs, the 18th of which was the best."""
    loss = [1.12 + 34.0 * math.exp(-0.75 * i) + chance.uniform(-0.02, 0.02) for i in range(23)]
    eval_loss = [1.17 + 26.0 * math.exp(-0.8 * i) + 0.0016 * (i - 17) ** 2 for i in range(23)]
    return {
        "format": 1,
        "model_version": MODEL_VERSION,
        "examples_identity": EXAMPLES_IDENTITY,
        "problem": "natality",
        "task": task,
        "history": {"loss": loss, "eval_loss": eval_loss},
        "epochs": 23,
        "steps": 851,
        "best_epoch": 18,
        "stopped": "early stopping: no better eval loss for 5 epochs",
        "hardware": {"device": "CPU", "cores": 2, "memory_bytes": 24 << 30},
        "strategy": {"name": "OneDevice", "why": "one CPU and no accelerator", "precision": "float32"},
        "replicas": 1,
        "bound": {"by": "compute", "text": "bound by compute: 8% of the time waiting for input"},
        "checkpoints": {"resumed_at_steps": [120, 640]},
        "budget": {"max_hours": 2.0, "max_cost": None, "target": None, "hours": 0.0125, "cost": None},
        "warm_start": {
            "model_version": "00ff" * 4,
            "parameters_carried": 1729,
            "parameters": 1745,
            "notes": ['plurality: 1 new value ("quadruplets"); each starts as the unknown value'],
        },
        "notes": ["forecast: 40 s remaining, 45 s in total, unless early stopping ends it sooner"],
        "rows_per_second": 11873.4,
        "input_share": 0.083,
        "seed": 1,
        "parameters": 1745,
        "batch_size": 32,
        "learning_rate": 0.003,
    }


def evaluated(task: str, rows: list[dict[str, str]], chance: random.Random, *, refused: bool) -> dict[str, Any]:
    """An evaluation on `rows`; the gate refuses it if asked to."""
    make = regression if task == "regression" else classification
    measured = make(rows, chance, 2 if task == "binary" else 3)
    metric, sign = ("root_mean_squared_error", 1) if task == "regression" else ("accuracy", -1)
    value = measured["metrics"][metric]["value"]
    judged = [s["metrics"][metric]["value"] for s in measured["slices"] if s["rows"] >= 20]
    worst = max(sign * seen for seen in [value, *judged]) * sign
    bound = round(value - sign * 0.05 if refused else worst + sign * 0.03, 2)
    words = f"at {'most' if sign > 0 else 'least'} {bound}"
    checks, reasons = [], []
    for where, seen, size in [
        ("all rows", value, len(rows)),
        *((f"{s['feature']}={s['value']}", s["metrics"][metric]["value"], s["rows"]) for s in measured["slices"]),
    ]:
        passed = None if size < 20 else sign * seen <= sign * bound
        checks.append({"where": where, "metric": metric, "measured": seen, "bound": words, "passed": passed})
        ending = {True: "passed", False: "failed", None: "too few rows, so not judged"}[passed]
        reasons.append(f"{metric} on {where} is {seen:.4g}, {words} was asked: {ending}.")
    return {
        "format": 1,
        "model_version": MODEL_VERSION,
        "task": task,
        "rows": len(rows),
        "confidence": 0.95,
        **measured,
        "gate": {"metric": metric, f"at_{'most' if sign > 0 else 'least'}": bound},
        "blessed": not refused,
        "reasons": reasons,
        "checks": checks,
        "champion": {"model_version": PREVIOUS, "metrics": {metric: value * 1.03}},
    }


def sliced(rows: list[dict[str, str]]) -> list[tuple[str, str, list[int]]]:
    """The indexes of the rows of each slice."""
    return [
        (feature, value, [i for i, row in enumerate(rows) if row[feature] == value])
        for feature in ("is_male", "mother_race")
        for value in sorted({row[feature] for row in rows})
    ]


def with_interval(measure: Callable[[list[int]], float], indexes: list[int], chance: random.Random) -> dict[str, float]:
    """A percentile bootstrap of few resamples."""
    again = sorted(measure(chance.choices(indexes, k=len(indexes))) for _ in range(60))
    return {"value": measure(indexes), "low": again[1], "high": again[-2]}


def regression(rows: list[dict[str, str]], chance: random.Random, classes: int) -> dict[str, Any]:
    """What a straight line through gestation and plurality achieves on the real rows."""
    actual = [float(row["weight_pounds"]) for row in rows]
    predicted = [
        7.25
        + 0.33 * (min(float(row["gestation_weeks"]), 42) - 38.7)
        - (1.1 if row["plurality"] != "single" else 0)
        + (0.22 if row["is_male"] == "true" else 0)
        - (0.4 if row["cigarette_use"] == "true" else 0)
        for row in rows
    ]
    error = [p - a for p, a in zip(predicted, actual, strict=True)]
    mean = sum(actual) / len(actual)
    measures: dict[str, Callable[[list[int]], float]] = {
        "root_mean_squared_error": lambda at: math.sqrt(sum(error[i] ** 2 for i in at) / len(at)),
        "mean_absolute_error": lambda at: sum(abs(error[i]) for i in at) / len(at),
        "mean_bias": lambda at: sum(error[i] for i in at) / len(at),
        "r_squared": lambda at: 1 - sum(error[i] ** 2 for i in at) / sum((actual[i] - mean) ** 2 for i in at),
    }
    every = list(range(len(rows)))
    residuals = []
    for feature, value, at in sliced(rows):
        ordered = sorted(-error[i] for i in at)
        quantiles = [ordered[round(q * (len(ordered) - 1))] for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
        residuals.append({"feature": feature, "value": value, "rows": len(at), "quantiles": quantiles})
    spread = math.sqrt(sum((a - mean) ** 2 for a in actual) / len(actual))
    return {
        "metrics": {name: with_interval(measure, every, chance) for name, measure in measures.items()},
        "slices": [
            {
                "feature": feature,
                "value": value,
                "rows": len(at),
                "metrics": {n: with_interval(m, at, chance) for n, m in measures.items() if n != "r_squared"},
            }
            for feature, value, at in sliced(rows)
        ],
        "baseline": {"root_mean_squared_error": spread, "mean_absolute_error": spread * 0.76, "r_squared": 0.0},
        "curves": {
            "predicted_actual": {
                "key": [row["record_id"] for row in rows],
                "predicted": predicted,
                "actual": actual,
            }
        },
        "residuals_by_slice": residuals,
    }


def classification(rows: list[dict[str, str]], chance: random.Random, classes: int) -> dict[str, Any]:
    """A classifier that is right most of the time, of low weights or of three bands of weight."""
    names = ["normal", "low"] if classes == 2 else ["low", "normal", "high"]
    weights = [float(row["weight_pounds"]) for row in rows]
    actual = [int(w < 6.3) if classes == 2 else (w >= 6.3) + (w >= 8.2) for w in weights]
    predicted = [a if chance.random() < 0.83 else chance.randrange(classes) for a in actual]
    every = list(range(len(rows)))

    def accuracy(at: list[int]) -> float:
        return sum(actual[i] == predicted[i] for i in at) / len(at)

    counts = [
        [sum(a == i and p == j for a, p in zip(actual, predicted, strict=True)) for j in range(classes)]
        for i in range(classes)
    ]
    grid = [i / 40 for i in range(41)]
    curves: dict[str, Any] = {"confusion_matrix": {"classes": names, "counts": counts}}
    metrics = {
        "accuracy": with_interval(accuracy, every, chance),
        "log_loss": {"value": 0.41, "low": 0.33, "high": 0.5},
    }
    if classes == 2:
        metrics["auc"] = {"value": 0.8812, "low": 0.82, "high": 0.93}
        curves["roc"] = {"false_positive_rate": grid, "true_positive_rate": [g**0.22 for g in grid]}
        curves["roc"]["threshold"] = [None, *(1 - g for g in grid[1:])]
        curves["precision_recall"] = {"recall": grid, "precision": [1 - 0.72 * g**2.4 for g in grid]}
        centres = [(i + 0.5) / 10 for i in range(10)]
        curves["calibration"] = {
            "predicted": centres,
            "observed": [min(1.0, c**1.15 + chance.uniform(-0.03, 0.03)) for c in centres],
            "rows": [58, 31, 17, 11, 8, 6, 5, 4, 3, 2],
        }
    return {
        "metrics": metrics,
        "slices": [
            {"feature": f, "value": v, "rows": len(at), "metrics": {"accuracy": with_interval(accuracy, at, chance)}}
            for f, v, at in sliced(rows)
        ],
        "baseline": {"accuracy": max(Counter(actual).values()) / len(rows)},
        "curves": curves,
        "residuals_by_slice": [],
    }
