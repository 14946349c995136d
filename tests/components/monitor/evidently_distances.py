"""Distances of two tables as Evidently measures them, written once for the test next to this script.

Usage: PYTHON tests/components/monitor/evidently_distances.py

PYTHON is of an environment with Evidently 0.7 (pip install -r benchmarks/peers/evidently-0.7-requirements.txt), and
needs nothing of headrace.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
# Evidently reports its use to its makers.
os.environ["DO_NOT_TRACK"] = "1"

from support.drifted_tables import CATEGORIES, COUNTS, NUMBERS, table  # noqa: E402


def main() -> None:
    """Writes evidently_distances.json: the root of each column's Jensen-Shannon divergence in nats."""
    import evidently
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    columns = [*CATEGORIES, *COUNTS, *NUMBERS]
    definition = DataDefinition(numerical_columns=[*COUNTS, *NUMBERS], categorical_columns=list(CATEGORIES))
    reference, current = (
        Dataset.from_pandas(pd.DataFrame(table(which)), data_definition=definition)
        for which in ("reference", "current")
    )
    preset = DataDriftPreset(columns=columns, method="jensenshannon")
    found: dict[str, Any] = Report([preset]).run(current, reference).dict()
    distances = {
        metric["config"]["column"]: float(metric["value"])
        for metric in found["metrics"]
        if metric["config"].get("column") is not None
    }
    assert set(distances) == set(columns)
    assert all(map(math.isfinite, distances.values()))
    content = {"evidently": evidently.__version__, "distances": dict(sorted(distances.items()))}
    (HERE / "evidently_distances.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
