"""A registered Model whose files were damaged is refused before TensorFlow is loaded, whatever it is used for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.registered_models import make_model

from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.state import EndpointState
from headrace.components.registry.folder.registry import Registry

_EACH = """
import json, sys
from headrace.pipelines import cli
ended = []
commands = json.loads(sys.argv[1])
for arguments in commands:
    sys.argv[1:] = arguments
    try:
        cli.main()
        status = 0
    except SystemExit as error:
        status = error.code
    ended.append([arguments[0], status, "tensorflow" in sys.modules])
print(json.dumps(ended))
"""


def test_a_damaged_version_is_refused_before_tensorflow_is_loaded(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(registry.register(make_model(tmp_path / "model", "v1")))
    model = registry.path("v1")
    (Path(model) / "saved_model" / "variables" / "variables.data").write_text("wrights")
    # An endpoint whose copy of the live version was damaged.
    endpoint = tmp_path / "endpoint"
    folder = EndpointFolder(str(endpoint))
    folder.publish(model, "v1")
    folder.write(EndpointState("natality", "v1", None), None)
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n1\n")
    commands = [
        ["deploy", "--model", model, "--endpoint", str(tmp_path / "other")],
        ["serve", model, "--port", "0"],
        ["serve", str(endpoint), "--port", "0"],
        ["score", "--model", model, "--data", str(rows), "--output", str(tmp_path / "predictions")],
        ["registry", "show", registry.folder, "--verify"],
    ]
    ended = subprocess.run(
        [sys.executable, "-c", _EACH, json.dumps(commands)], check=True, capture_output=True, text=True
    )
    assert json.loads(ended.stdout.splitlines()[-1]) == [[command[0], 2, False] for command in commands], ended.stderr
    told = " ".join(ended.stderr.split())
    assert told.count("a file of the registered Model is damaged") == len(commands)
    assert told.count("or train again") == len(commands)
    assert not (tmp_path / "predictions").exists()
    assert not (tmp_path / "other" / "endpoint.json").exists()
