"""Machine of a dynamic training whose root is in a bucket: only its working folder contains the runs and the endpoint.

Every machine can read the ledger in the bucket, but only the machine of a run can tell whether the run is under way.
Therefore the settings contain the mark of the working folder, and other machines start no run.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.steps import workspace
from headrace.pipelines.runs.local_root import work_of

if TYPE_CHECKING:
    from headrace.pipelines.dynamic.settings import DynamicSettings


def mark_of(root: str, name: str) -> str:
    """The mark of this machine's working folder, which is written if it is missing; "" for a root on a disk.

    Args:
        root: pipeline root, an absolute path or a URI.
        name: name of the Problem.

    Raises:
        UsageError: the working folder cannot be written.
        DataError: the mark is damaged.
    """
    if not storage.is_remote(root):
        return ""
    found = _mark(root, name)
    if not found:
        found = secrets.token_hex(8)
        storage.write_json(_uri(root, name), {"format": 1, "root": root, "mark": found})
    return found


def check_machine(settings: DynamicSettings) -> None:
    """Checks that a dynamic training on the platform local runs on this machine.

    Raises:
        UsageError: it runs on another machine.
        DataError: the mark is damaged.
    """
    if settings.platform != "local" or not storage.is_remote(settings.root):
        return
    if not settings.machine or _mark(settings.root, settings.name) != settings.machine:
        raise UsageError(
            "the dynamic training runs on another machine",
            where=settings.uri,
            expected="the machine and the user of `headrace dynamic init`, with its working folder",
            received=f"no mark of it in {workspace.dynamic_uri(work_of(settings.root), settings.name)}",
            fix="Run it there. `headrace dynamic init --replace` with this root moves it here, which supersedes a run "
            "that is under way there",
        )


def _uri(root: str, name: str) -> str:
    return storage.join(workspace.dynamic_uri(work_of(root), name), "machine.json")


def _mark(root: str, name: str) -> str:
    uri = _uri(root, name)
    if not storage.exists(uri):
        return ""
    try:
        return str(storage.read_json(uri)["mark"])
    except (KeyError, TypeError) as error:
        raise DataError("the mark of the working folder is damaged", where=uri, fix="Remove the file") from error
