"""Scores finished static runs of ours on rows that none of them saw; not part of what is timed."""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import Any


def main() -> None:
    """Writes a JSON list with the score of each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", type=Path, required=True, help="CSV file of rows that no run saw")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("roots", type=Path, nargs="+", help="roots of finished runs")
    arguments = parser.parse_args()
    arguments.output.write_text(json.dumps([score_run(root, arguments.held_out) for root in arguments.roots]))


def score_run(root: Path, held_out: Path) -> dict[str, Any]:
    """How good the model of a finished run is.

    Returns:
        `own_rmse`: evaluate's, on the run's own test split of `own_rows` rows; `held_out_rmse`: on `held_out`;
        `parameters`: trained numbers.
    """
    import numpy as np
    import tensorflow as tf

    records = [json.loads(path.read_text()) for path in (root / "records").glob("*.json")]
    outputs = {record["step"]: record["outputs"] for record in records if record["status"] == "succeeded"}
    model = Path(outputs["train"]["model"])
    evaluation = json.loads(Path(outputs["evaluate"]["evaluation"], "evaluation.json").read_text())
    signature = tf.saved_model.load(str(model / "saved_model")).signatures["serving_default"]
    with held_out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    inputs = {}
    for name, spec in signature.structured_input_signature[1].items():
        values = [row[name] for row in rows]
        inputs[name] = tf.constant(
            values if spec.dtype == tf.string else [float(value) for value in values], spec.dtype
        )
    predictions = signature(**inputs)["prediction"].numpy()
    errors = predictions - np.array([float(row["air_time"]) for row in rows])
    return {
        "own_rmse": evaluation["metrics"]["root_mean_squared_error"]["value"],
        "own_rows": evaluation["rows"],
        "held_out_rmse": math.sqrt(float(np.mean(errors**2))),
        "parameters": json.loads((model / "training.json").read_text())["parameters"],
    }


if __name__ == "__main__":
    main()
