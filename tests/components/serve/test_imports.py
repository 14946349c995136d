"""What the server's image lacks is not imported: neither by a module of the server nor by a prediction."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROGRAM = """
import importlib, pkgutil, sys

for name in ("pyarrow", "kfp", "apache_beam", "lmdb"):
    sys.modules[name] = None
for package in ("headrace.components.serve", "headrace.core.scoring.online", "headrace.components.registry"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith(("__main__", ".component")):
            importlib.import_module(module.name)

from headrace.core.saved_model.find import find_source
from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.scoring.online.golden import check_golden
from headrace.core.scoring.online.model import OnlineModel

for place in sys.argv[1:]:
    model = OnlineModel(find_source(place))
    check_golden(model)
    row = {"mother_age": 30, "gestation_weeks": 40, "plurality": "1", "mother_smokes": "true"}
    predicted = model.predict(columns_from_instances([row] * 5, model.interface))
    print(len(predicted.outputs["prediction"]), len(predicted.faults))
"""


def test_a_model_is_served_without_what_the_image_lacks(
    tiny_saved_model: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    places = [str(tiny_saved_model), str(make_model(tmp_path / "model", "v1"))]
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *places], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["5", "0", "5", "0"]
