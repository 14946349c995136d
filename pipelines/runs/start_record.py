"""Start record: run.json in a run's folder, which describes a run until its summary exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headrace.core import storage
from headrace.core.errors import HeadraceError

NAME = "run.json"
FORMAT = 1
# Parameters that no record holds: a webhook's URL often contains a secret.
_SECRET = frozenset({"webhook", "destinations"})


def secrets(arguments: Mapping[str, Any]) -> list[str]:
    """The texts in a pipeline's parameters that no log holds: URLs of webhooks."""
    destinations = [one for one in arguments.get("destinations", ()) if one.startswith(("http://", "https://"))]
    return [str(arguments["webhook"]), *destinations] if "webhook" in arguments else destinations


def recording(
    folder: str,
    *,
    pipeline: str,
    problem: str,
    run_id: str,
    started: float,
    arguments: Mapping[str, Any],
    listener: Callable[[dict[str, Any]], None],
) -> Callable[[dict[str, Any]], None]:
    """Writes the start record of a run, and returns a listener that updates the running step in it.

    Args:
        folder: the run's folder, whose lock the caller holds.
        pipeline: its name, as of `compile_to`.
        problem: the problem's name.
        run_id: the run's name.
        started: seconds since 1970.
        arguments: the pipeline's parameters.
        listener: receives every event too.
    """
    kept = {name: value for name, value in arguments.items() if name not in _SECRET}
    record: dict[str, Any] = {
        "format": FORMAT,
        "pipeline": pipeline,
        "problem": problem,
        "run_id": run_id,
        "number": _next_number(folder),
        "started": started,
        "arguments": kept,
        "step": None,
    }
    uri = storage.join(folder, NAME)
    storage.write_json(uri, record)

    def listen(event: dict[str, Any]) -> None:
        running = event["step"] if event["event"] in ("started", "progress") else None
        if running != record["step"]:
            record["step"] = running
            storage.write_json(uri, record)
        listener(event)

    return listen


def _next_number(folder: str) -> int:
    """One more than the numbers of the runs beside it, so that no clock says which run is newer; 0 in a bucket.

    A bucket also has runs of platforms, which have no start record: there the store's clock decides, see `list_runs`.
    """
    if storage.is_remote(folder):
        return 0
    others = storage.local_path(folder).parent.glob(f"*/{NAME}")
    return 1 + max((_number(str(path)) for path in others), default=0)


def _number(uri: str) -> int:
    try:
        return int(storage.read_json(uri).get("number", 0))
    except (HeadraceError, AttributeError, TypeError, ValueError):
        # What cannot be read is listed as damaged, and hinders no run.
        return 0
