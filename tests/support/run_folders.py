"""Folders of runs as a root holds them, small and plausible, without the work of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headrace.core.artifacts.examples import Manifest, Quarantine, Shard, SourceFile, Split

PROBLEM = 'from headrace import Problem\n\nproblem = Problem(\n    name="natality",\n    learning_rate={rate},\n)\n'


def dump(path: Path, value: Any) -> None:
    """Writes a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_run(
    root: Path,
    run_id: str,
    *,
    started: float = 1_795_250_000.0,
    status: str = "succeeded",
    error: float = 1.05,
    half_width: float = 0.05,
    data: str = "births.csv",
    learning_rate: float = 0.01,
    examples_identity: str = "e" * 16,
    summary: bool = True,
) -> Path:
    """Writes a run of static training: its summary, start record and artifacts; returns the run's folder."""
    folder, made = root / "runs" / run_id, root / "pipeline" / run_id
    arguments = {"problem": "natality.py", "data": data, "data_version": f"v-{data}", "root": str(root), "target": ""}
    dump(
        folder / "run.json",
        {
            "format": 1,
            "pipeline": "static",
            "problem": "natality",
            "run_id": run_id,
            "started": started,
            "arguments": {**arguments, "training": {"max_hours": round(learning_rate * 100)}},
            "step": None if summary else "train",
        },
    )
    if not summary:
        return folder
    rows = {"rows_in": 10, "rows_out": 9, "rows_quarantined": 1}
    Manifest(
        identity=examples_identity,
        problem="natality",
        schema_digest="0" * 64,
        data_version="d" * 16,
        source=(SourceFile(data, 100, 10),),
        splits={
            name: Split(count, (Shard(f"{name}/part-00000-of-00001.tfrecord.gz", count, 10, "00000000"),))
            for name, count in (("train", 5), ("eval", 2), ("test", 2))
        },
        quarantine=Quarantine(0.2, {"missing_value": 1}, ("quarantine/part-00000-of-00001.jsonl",)),
        **rows,
    ).write(str(made / "examples"))
    dump(made / "examples" / "statistics.json", {"columns": {}})
    dump(
        made / "examples" / "quarantine" / "part-00000-of-00001.jsonl",
        {
            "file": data,
            "row": 3,
            "column": "w",
            "reason": "missing_value",
            "message": "none",
            "values": {"k": "3"},
        },
    )
    dump(made / "examples" / "schema.json", {"columns": [{"name": "weight_pounds", "role": "label"}]})
    version = f"{run_id[-1] * 16}"
    dump(made / "model" / "training.json", {"model_version": version, "learning_rate": learning_rate, "seed": 1})
    (made / "model" / "problem.py").write_text(PROBLEM.format(rate=learning_rate))
    metrics = {
        "mean_absolute_error": {"value": error * 0.8, "low": None, "high": None},
        "root_mean_squared_error": {"value": error, "low": error - half_width, "high": error + half_width},
    }
    evaluation = {"metrics": metrics, "examples_identity": examples_identity, "rows": 5}
    dump(made / "evaluation" / "evaluation.json", evaluation)
    blessed = status == "succeeded"
    results: dict[str, Any] = {
        "preprocess": {**rows, "splits": {"train": 5, "eval": 2, "test": 2}, "reasons": {"missing_value": 1}},
        "train": {"model_version": version},
        "evaluate": {"blessed": blessed, "metrics": metrics, "gate": {"metric": "root_mean_squared_error"}},
        "register": {"version": version},
        "deploy": {"version": version},
    }
    outputs = {"preprocess": "examples", "train": "model", "evaluate": "evaluation"}
    ran = {"succeeded": 5, "refused": 3, "failed": 1}[status]
    steps = []
    for place, (name, result) in enumerate(results.items()):
        done = place < ran
        steps.append(
            {
                "step": name,
                "identity": "a" * 16,
                "status": "succeeded" if done else "skipped",
                "outputs": {outputs[name]: str(made / outputs[name])} if done and name in outputs else {},
                "result": result if done else {},
                "error": None,
            }
        )
    if status == "failed":
        steps[1]["status"] = "failed"
    failure = {"kind": "PlatformError", "what": "train was killed", "where": "train", "fix": "Start it again"}
    dump(
        folder / "summary.json",
        {
            "format": 1,
            "pipeline": "static-training",
            "run_id": run_id,
            "status": status,
            "started": started,
            "finished": started + 42.0,
            "release": "0.1.0",
            "problem": "natality",
            "problem_file": "natality.py",
            "problem_digest": f"{learning_rate}",
            "data": data,
            "data_version": f"v-{data}",
            "root": str(root),
            "steps": steps,
            "error": failure if status == "failed" else None,
        },
    )
    return folder
