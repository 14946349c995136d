"""Quarantine of failed runs: rows of a run that exceeded its quarantine budget, next to its unwritten output."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from headrace.core import storage
from headrace.core.artifacts.kinds import QUARANTINE
from headrace.core.storage.output import publishing
from headrace.core.storage.output_check import check_replaceable

_FILE = "quarantine/part-00000-of-00001.jsonl"


def quarantine_of(output: str) -> str:
    """URI of the quarantine of a run with the output `output`."""
    return output.rstrip("/") + ".quarantine"


def clear(output: str) -> None:
    """Removes the quarantine of an earlier failed run.

    Raises:
        UsageError: the folder contains other files.
    """
    place = quarantine_of(output)
    check_replaceable(place, QUARANTINE)
    if storage.exists(storage.join(place, QUARANTINE.manifest)):
        storage.remove(place)


def set_aside(output: str, lines: Iterable[bytes]) -> str:
    """Writes quarantined rows next to `output`, atomically.

    Args:
        output: the run's output.
        lines: the rows as JSON lines.

    Returns:
        The command that shows the rows.
    """
    place = quarantine_of(output)
    with publishing(place, QUARANTINE) as folder:
        path = folder / _FILE
        path.parent.mkdir()
        with path.open("wb") as file:
            file.writelines(lines)
        storage.write_json(
            str(folder / QUARANTINE.manifest),
            {"format": 1, "kind": QUARANTINE.kind, "quarantine": {"files": [_FILE]}},
        )
    return f"headrace quarantine show {shlex.quote(place)}"


def files_in(manifest: Mapping[str, Any]) -> list[str]:
    """The paths of the files that the manifest of such a quarantine lists. Raises KeyError and TypeError."""
    return [str(name) for name in manifest["quarantine"]["files"]]


def outputs_of(output: str) -> dict[str, str]:
    """The outputs of a failed step: its quarantine, if it wrote one."""
    place = quarantine_of(output)
    return {"quarantined": place} if storage.exists(storage.join(place, QUARANTINE.manifest)) else {}
