"""What the image lacks is not imported: neither by a module of the scorer nor by a prediction in JSON."""

from __future__ import annotations

import subprocess
import sys

from headrace.components.stream.models.load import LoadedModel

PROGRAM = """
import importlib, json, pkgutil, sys

for name in ("pyarrow", "kfp", "apache_beam"):
    sys.modules[name] = None
stream = importlib.import_module("headrace.components.stream")
for module in pkgutil.walk_packages(stream.__path__, "headrace.components.stream."):
    # The image scores on Kafka. Labels are joined, and Beam runs, where pyarrow is.
    if not any(part in module.name for part in (".labels", ".pubsub")):
        importlib.import_module(module.name)

from headrace.components.stream.models.load import LoadedModel, load_model
from headrace.components.stream.records.codec import JsonCodec
from headrace.components.stream.records.score import score_records
from headrace.core.model_events.event import ModelEvent

event = ModelEvent.decode(sys.argv[1].encode(), "here")
row = {"mother_age": 30, "gestation_weeks": 40, "plurality": "1", "mother_smokes": "true"}
(scored,) = score_records([json.dumps(row).encode()], LoadedModel(event, load_model(event)), JsonCodec())
print(scored.prediction.decode())
"""


def test_records_are_scored_without_what_the_image_lacks(loaded: LoadedModel) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, loaded.event.encode().decode()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert '"model_version":"loaded"' in ended.stdout
