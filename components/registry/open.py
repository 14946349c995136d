"""Registry opening, by name: a folder on a disk, gs:// or s3://, or an entry of Vertex AI's Model Registry."""

from __future__ import annotations

import re

from headrace.components.registry.base import ModelRegistry
from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.errors import UsageError

_ENTRY = re.compile(r"projects/[^/@]+/locations/[^/@]+/models/[A-Za-z0-9_-]+\Z")


def open_registry(name: str, *, who: str = "") -> ModelRegistry:
    """Opens a registry that exists.

    Args:
        name: a folder on a disk, gs:// or s3://, or projects/PROJECT/locations/REGION/models/ID.
        who: makes the changes; "" for the user of this process.

    Raises:
        UsageError: no registry is there.
    """
    if _ENTRY.match(name):
        from headrace.components.registry.vertex.registry import VertexRegistry

        return VertexRegistry(name, who=who)
    if not storage.exists(storage.join(name, REGISTRY.state)):
        raise UsageError(
            "there is no registry",
            where=name,
            expected=f"a folder with {REGISTRY.state}, such as ROOT/registry/NAME, or projects/P/locations/L/models/ID",
            received="a folder without it" if storage.exists(name) else "nothing",
            fix="`headrace run static` registers models there",
        )
    return Registry(name, who=who)
