"""Registry of an endpoint's versions: found from a Model's path, checked by deployments, and changed by rollbacks."""

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
    """The folder of the registry that contains a Model; "" if the Model is in no registry.

    Args:
        model: path or URI of the Model's folder.
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
    """Refuses a version that its registry marks as bad or archived.

    Returns:
        Whether the registry has the version, and it is usable; False for the registry "".

    Raises:
        GateRefused: the version is marked as bad.
        UsageError: the version is archived, or the registry does not exist.
    """
    if not registry:
        return False
    state = open_registry(registry).state()
    if version not in state.versions:
        return False
    state.usable(version)
    return True


def has(registry: str, version: str) -> bool:
    """Whether a registry has a version of any status. Raises an error if the registry does not exist."""
    return bool(registry) and version in open_registry(registry).state().versions


def restore(registry: str, version: str, why: str) -> None:
    """Makes a version usable again. Raises the errors of `ModelRegistry.restore`."""
    open_registry(registry).restore(version, why=why)


def unusable(registry: str) -> frozenset[str]:
    """The bad and archived versions of a registry; empty for the registry "". Errors as of `mark_bad`."""
    if not registry:
        return frozenset()
    versions = open_registry(registry).state().versions
    return frozenset(name for name, one in versions.items() if one.status != "registered")


def usable(registry: str, version: str) -> bool:
    """Whether a registry has a version that is neither bad nor archived. Raises the errors of `ModelRegistry.state`."""
    state = open_registry(registry).state()
    return version in state.versions and state.versions[version].status == "registered"


def mark_bad(registry: str, version: str, successor: str, why: str, claim: Claim | None = None) -> str:
    """Marks a version as bad in its registry. If it was the champion, the successor becomes the champion.

    A second call changes nothing.

    Args:
        registry: name of the registry.
        version: version to mark.
        successor: the next champion; if the registry cannot use it, the version with the alias `previous`.
        why: reason for the history.
        claim: claim of the run; None for a run outside dynamic training.

    Returns:
        What was done, as a sentence without its full stop.

    Raises:
        UsageError: the registry does not exist, or access is denied.
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
    """Makes a version the champion of its registry, even if the gate refused it. Otherwise as `mark_bad`."""
    opened = open_registry(registry, claim=claim)
    if version not in opened.state().versions:
        return f"{registry} does not have version {version}: nothing to change"
    opened.promote(version, why=why, approve=True)
    return f"{version} is the champion of {registry}"


def model_of(registry: str, version: str) -> str | None:
    """The URI of a version's Model; None if the registry is "", or does not have the version as a usable one."""
    if not registry or not usable(registry, version):
        return None
    opened: ModelRegistry = open_registry(registry)
    return opened.path(version)


def check_registry(registry: str) -> None:
    """Checks that a registry exists and can be read.

    Raises:
        UsageError: the registry does not exist, or cannot be read.
    """
    try:
        open_registry(registry).state()
    except HeadraceError as error:
        raise UsageError(error.what, where="--registry", received=registry, expected=error.expected) from error
