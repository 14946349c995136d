from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np


def test_a_worker_that_dies_and_comes_back_rejoins_from_the_last_checkpoint(tmp_path: Path) -> None:
    script = Path(__file__).with_name("cluster_trainings.py")
    finished = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    outcome = json.loads(finished.stdout.splitlines()[-1])
    statuses = {name: attempt["statuses"] for name, attempt in outcome.items()}
    # The killed worker says nothing; the one that misses it says so. Told to end, both save and end.
    expected = {"peaceful": [0, 0], "killed": [75, -9], "told": [75, 75], "last": [0, 0]}
    assert statuses == expected, finished.stderr
    assert "another worker was lost" in finished.stderr
    assert finished.stderr.count("SIGTERM ended the training") == 2

    states = {name: json.loads((tmp_path / name / "state.json").read_text()) for name in ("peaceful", "stopped")}
    first, second = states["stopped"]["resumed"]
    # It was killed after 30 steps, of which each fourth is kept; and told to end 20 steps later.
    assert 24 <= first <= 32
    assert first + 20 <= second <= first + 24
    assert f"it resumes from step {second}" in finished.stderr
    assert states["stopped"]["history"] == states["peaceful"]["history"]
    weights = [np.load(tmp_path / name / "weights.npz") for name in ("peaceful", "stopped")]
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
