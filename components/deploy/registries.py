"""Registry of an endpoint's versions: found from a Model's place, asked before a deployment, changed by a rollback."""

from __future__ import annotations

from headrace.components.registry.base import ModelRegistry
from headrace.components.registry.open import open_registry
from headrace.components.registry.state import CHALLENGER, CHAMPION
from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.errors import HeadraceError, UsageError
from headrace.core.ledger.claim import Claim

# A registered Model is REGISTRY/versions/VERSION, in a bucket REGISTRY/versions/VERSION/DIGEST.
_FOLDER = "versions"


def registry_of(model: str) -> str:
    """The registry that holds a Model; "" where the Model is in no registry.

    Args:
        model: a Model's folder, local or in a bucket.
    """
    local = not storage.is_remote(model)
    parts = (str(storage.local_path(model).absolute()) if local else model.rstrip("/")).split("/")
    for levels in (2, 3):
        if len(parts) > levels and parts[-levels] == _FOLDER:
            folder = "/".join(parts[:-levels])
            if storage.exists(storage.join(folder, REGISTRY.state)):
                return folder
    return ""


def refuse_bad(registry: str, version: str) -> bool:
    """Refuses a version that its registry marks as bad, or archived.

    Returns:
        Whether the registry has the version, and it is usable.

    Raises:
        GateRefused: the version is marked as bad.
        UsageError: it is archived, or there is no registry.
    """
    if not registry:
        return False
    state = open_registry(registry).state()
    if version not in state.versions:
        return False
    state.usable(version)
    return True


def has(registry: str, version: str) -> bool:
    """Whether a registry has a version, whatever its status; errors as of `refuse_bad`."""
    return bool(registry) and version in open_registry(registry).state().versions


def restore(registry: str, version: str, why: str) -> None:
    """Makes a version usable again; errors as of `ModelRegistry.restore`."""
    open_registry(registry).restore(version, why=why)


def unusable(registry: str) -> frozenset[str]:
    """The versions of a registry that are bad or archived; none without a registry. Errors as of `refuse_bad`."""
    if not registry:
        return frozenset()
    versions = open_registry(registry).state().versions
    return frozenset(name for name, one in versions.items() if one.status != "registered")


def usable(registry: str, version: str) -> bool:
    """Whether a registry has a version, neither bad nor archived; errors as of `ModelRegistry.state`."""
    state = open_registry(registry).state()
    return version in state.versions and state.versions[version].status == "registered"


def mark_bad(registry: str, version: str, successor: str, why: str, claim: Claim | None = None) -> str:
    """Marks a version as bad in its registry; where it was the champion, the successor becomes the champion.

    A second call changes nothing.

    Returns:
        What was done, as a sentence without its full stop.

    Raises:
        UsageError: there is no registry, or access is denied.
        PlatformError: the disk or the service failed.
    """
    opened = open_registry(registry, claim=claim)
    state = opened.state()
    if version not in state.versions:
        return f"{registry} does not have version {version}: nothing to change"
    heir = successor if usable(registry, successor) else None
    champion = opened.mark_bad(version, successor=heir, why=why).aliases.get(CHAMPION)
    return f"{version} is marked as bad in {registry}; champion: {champion or 'none'}"


def challenge(registry: str, version: str, why: str, claim: Claim | None = None) -> None:
    """Makes a usable version the challenger of its registry, until it is promoted or marked as bad."""
    open_registry(registry, claim=claim).set_aliases({CHALLENGER: version}, why=why)


def promote(registry: str, version: str, why: str, claim: Claim | None = None) -> str:
    """Makes a version the champion of its registry; returns and errors as of `mark_bad`."""
    opened = open_registry(registry, claim=claim)
    if version not in opened.state().versions:
        return f"{registry} does not have version {version}: nothing to change"
    opened.promote(version, why=why, approve=True)
    return f"{version} is the champion of {registry}"


def model_of(registry: str, version: str) -> str | None:
    """The URI of a usable version's Model; None where the registry has none of it, or there is no registry."""
    if not registry or not usable(registry, version):
        return None
    opened: ModelRegistry = open_registry(registry)
    return opened.path(version)


def check_registry(registry: str) -> None:
    """Refuses a registry that does not exist.

    Raises:
        UsageError: it does not exist.
    """
    try:
        open_registry(registry).state()
    except HeadraceError as error:
        raise UsageError(error.what, where="--registry", received=registry, expected=error.expected) from error
