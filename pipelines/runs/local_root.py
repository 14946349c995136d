"""Roots of local runs: a folder, or a bucket with a working folder of this machine beside it.

The engine of a local run, its lock, the endpoint and the steps' artifacts need a disk. With a root in a bucket they are
in the working folder; the records, checkpoints, searches, the registry and published predictions are in the bucket, as
for runs on Kubeflow, and each run's report, spec and logs are copied there at its end.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from headrace.core import storage
from headrace.core.artifacts.kinds import ENDPOINT, PUBLISHED, REGISTRY, ROOT
from headrace.core.errors import PlatformError, UsageError
from headrace.core.steps import workspace
from headrace.core.storage.output_check import check_output


def absolute(uri: str) -> str:
    """A path as an absolute one; a URI of a bucket or a table, and "", as they are."""
    if not uri or storage.is_remote(uri) or uri.startswith("bigquery://"):
        return uri
    return os.path.abspath(storage.local_path(uri))  # noqa: PTH100


def work_of(root: str) -> str:
    """The local folder of a root's runs: itself, or for a bucket one of the user's cache.

    Args:
        root: an absolute path, or a URI.
    """
    if not storage.is_remote(root):
        return root
    uri = root.rstrip("/")
    name = re.sub(r"[^A-Za-z0-9]+", "-", uri.partition("://")[2])[-40:].strip("-")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return str(
        Path(cache).absolute() / "headrace" / "roots" / f"{name}-{hashlib.sha256(uri.encode()).hexdigest()[:12]}"
    )


def work_folder(run: str) -> str:
    """The local folder that holds the lock of a run, whose folder is ROOT/runs/ID.

    Args:
        run: an absolute path, or a URI.
    """
    root, _, run_id = run.rstrip("/").rpartition("/runs/")
    return workspace.run_uri(work_of(root), run_id) if storage.is_remote(run) else run


def check_root(root: str, problem_name: str, *, inputs: Mapping[str, str]) -> None:
    """Refuses a root that is an artifact or an input, or where a path of the run holds something else.

    Args:
        root: an absolute path, or a URI; its other content does not change.
        problem_name: name of the registry and the endpoint.
        inputs: paths that the run reads, by their name for messages.

    Raises:
        UsageError: the root is not valid.
    """
    check_output(root, ROOT, option="--root", inputs=inputs)
    for place, kind in (
        (workspace.registry_uri(root, problem_name), REGISTRY),
        (workspace.endpoint_uri(work_of(root), problem_name), ENDPOINT),
        (workspace.predictions_uri(root, problem_name), PUBLISHED),
    ):
        check_output(place, kind, option="--root")


def check_writable(root: str) -> None:
    """Refuses a root in which no file can be created.

    Raises:
        UsageError: the root cannot be written.
        PlatformError: the disk or the service failed.
    """
    if storage.is_remote(root):
        probe = storage.join(root, f".writable-{os.urandom(8).hex()}")
        storage.write_bytes(probe, b"")
        storage.remove(probe)
    folder = work_of(root)
    try:
        with storage.writing(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable."):
                pass
    except PlatformError as error:
        # A path like /proc fails with "no such file": before any work, that too is an error of the root.
        if isinstance(error.__cause__, FileNotFoundError):
            raise UsageError(error.what, where=folder, received=error.received) from error
        raise


def publish_run(root: str, run_id: str) -> None:
    """Copies a run's spec and logs from the working folder to a root in a bucket; of a local root nothing.

    Raises:
        UsageError: access was denied.
        PlatformError: the service failed.
    """
    if not storage.is_remote(root):
        return
    source = Path(workspace.run_uri(work_of(root), run_id))
    target = workspace.run_uri(root, run_id)
    for path in sorted(path for path in (source / "pipeline.yaml", *(source / "logs").glob("*.log")) if path.is_file()):
        storage.write_bytes(storage.join(target, *path.relative_to(source).parts), path.read_bytes())
