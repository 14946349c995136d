"""What the trainer's image lacks is not imported by a module of training, tuning or evaluation."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys

for name in ("pyarrow", "apache_beam", "fastavro", "datasketches", "orjson", "uvicorn", "httptools", "confluent_kafka"):
    sys.modules[name] = None
for package in ("headrace.components.train", "headrace.components.tune", "headrace.components.evaluate"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""


def test_a_model_is_trained_without_what_the_image_lacks() -> None:
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert {"headrace.components.train.trainer", "headrace.components.evaluate.evaluator"} <= set(ended.stdout.split())
