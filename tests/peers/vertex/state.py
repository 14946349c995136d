"""The test server's state in a file, so that a server that is started again goes on where the one before it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peers.vertex.operations import Operation
from peers.vertex.resources import KINDS, from_json, to_json
from peers.vertex.service import Vertex


def save(service: Vertex, path: Path) -> None:
    """Writes what there is; work that a job is to do is not part of it."""
    plain = {
        "last_number": service.last_number,
        "resources": {name: to_json(held) for name, held in service.resources.items() if name not in service.versions},
        "models": {
            name: {version: to_json(model) for version, model in held.items()}
            for name, held in service.versions.items()
        },
        "operations": [operation.to_json() for operation in service.operations.values()],
        "failing_operations": service.failing_operations,
    }
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(plain, indent=1))
    beside.replace(path)


def load(service: Vertex, path: Path) -> None:
    """Fills a service with what a file holds; nothing if there is none."""
    if not path.exists():
        return
    plain: dict[str, Any] = json.loads(path.read_text())
    service.last_number = plain["last_number"]
    for name, held in plain["resources"].items():
        service.resources[name] = from_json(KINDS[name.split("/")[-2]].message, held)
    for name, versions in plain["models"].items():
        models = {version: from_json(KINDS["models"].message, model) for version, model in versions.items()}
        service.versions[name] = models
        service.resources[name] = service.models.find(name)
    service.operations.update({held["name"]: Operation(**held) for held in plain["operations"]})
    service.failing_operations += plain["failing_operations"]
