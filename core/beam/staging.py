"""Staging: the temporary folder that workers write an artifact to, renamed to its place when it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from headrace.core import storage
from headrace.core.beam.runners import RunnerOptions
from headrace.core.storage.output import publishing
from headrace.core.storage.output_check import Artifact, check_replaceable
from headrace.core.storage.remote import folders

# The folder within the temporary one through which stages exchange files.
WORK = ".work"
_MANIFEST = "manifest.json"
_COPIES_AT_ONCE = 16


@contextmanager
def staging(output: str, kind: Artifact, identity: str, runner: RunnerOptions) -> Iterator[str]:
    """A temporary folder that becomes `output` when the block succeeds, and is removed otherwise.

    Workers on other machines cannot write to this machine's disk: for them it is next to the output in its bucket,
    under a name derived from the identity, so that a repeated run clears what a killed one left there. A worker that
    the runner gave up on also writes there, and never into what was published.

    Raises:
        UsageError: the output cannot be written.
        PlatformError: the disk is full, or the service failed.
    """
    if runner.local or not storage.is_remote(output):
        with publishing(output, kind) as local:
            (local / WORK).mkdir()
            yield str(local)
        return
    parent, _, name = output.rstrip("/").rpartition("/")
    folder_uri = f"{parent}/.{name}.{identity}"
    storage.remove(folder_uri)
    try:
        yield folder_uri
        check_replaceable(output, kind)
        _publish(folder_uri, output)
    finally:
        storage.remove(folder_uri)


def _publish(source: str, output: str) -> None:
    """Replaces the objects below `output` by those below `source`; the manifest is written last.

    An earlier manifest is removed first: readers look for it, and must not find it next to shards of two runs.
    """
    store = storage.store_of(output)
    made = [found.uri for found in folders.below(source)]
    manifest = storage.join(source, _MANIFEST)
    if manifest not in made:
        raise ValueError(f"{source} must have a {_MANIFEST}")
    targets = {uri: output.rstrip("/") + uri.removeprefix(source) for uri in made if uri != manifest}
    earlier = {found.uri for found in folders.below(output)}
    prefix = storage.join(output, "")
    below = {_MANIFEST, *(uri.removeprefix(prefix) for uri in (*targets.values(), *earlier))}
    with folders.unfinished(output, below):
        storage.remove(storage.join(output, _MANIFEST))
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            for _ in pool.map(store.copy, targets.keys(), targets.values()):
                pass
        # The mark stays until the manifest is there.
        kept = {*targets.values(), storage.join(output, folders.UNFINISHED)}
        store.remove(sorted(earlier - kept))
        store.copy(manifest, storage.join(output, _MANIFEST))
