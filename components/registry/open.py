"""Opening of registries by name: a folder on a disk, gs:// or s3://, or an entry of Vertex AI's Model Registry."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from headrace.components.registry.base import ModelRegistry
from headrace.components.registry.folder.registry import Registry
from headrace.components.registry.origin import Clock, utc_now
from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.errors import UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.storage.clocks import store_clock

_ENTRY = re.compile(r"projects/[^/@]+/locations/[^/@]+/models/[A-Za-z0-9_-]+\Z")


def registry_clock(name: str) -> Clock:
    """The clock of a registry's store, for times that several machines compare.

    For a registry of Vertex AI it is that of the folder that its versions name, and for one that does not exist this
    machine's. The clock raises the errors of `store_clock`.

    Raises:
        UsageError: access to a registry of Vertex AI is denied.
        DataError: a record of it is damaged.
        PlatformError: the service failed.
    """
    folder = name
    if _ENTRY.match(name):
        from headrace.components.registry.vertex.registry import folder_of, uploaded

        folder = folder_of(uploaded(name))
    elif name and not storage.exists(storage.join(name, REGISTRY.state)):
        folder = ""
    if not folder:
        return utc_now
    return lambda: datetime.fromtimestamp(store_clock(folder), UTC)


def open_registry(name: str, *, who: str = "", claim: Claim | None = None, new: bool = False) -> ModelRegistry:
    """Opens an existing registry.

    Args:
        name: a folder on a disk, gs:// or s3://, or projects/PROJECT/locations/REGION/models/ID.
        who, claim: author and claim of the changes, as of `ModelRegistry`.
        new: whether to accept a folder that does not exist yet, as an empty registry. A registry at Vertex AI is never
            checked for existence.

    Raises:
        UsageError: the folder contains no registry.
    """
    if _ENTRY.match(name):
        from headrace.components.registry.vertex.registry import VertexRegistry

        return VertexRegistry(name, who=who, claim=claim)
    if not new and not storage.exists(storage.join(name, REGISTRY.state)):
        raise UsageError(
            "the registry does not exist",
            where=name,
            expected=f"a folder with {REGISTRY.state}, such as ROOT/registry/NAME, or projects/P/locations/L/models/ID",
            received="a folder without it" if storage.exists(name) else "nothing",
            fix="`headrace run static` registers models there",
        )
    return Registry(name, who=who, claim=claim)
