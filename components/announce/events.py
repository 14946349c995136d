"""Model event of a registry: what its champion is since which change."""

from __future__ import annotations

from headrace.components.registry.base import ModelRegistry
from headrace.components.registry.state import CHAMPION
from headrace.core import storage
from headrace.core.artifacts.registered import read_record
from headrace.core.errors import DataError
from headrace.core.model_events.event import ModelEvent


def event_of(registry: ModelRegistry, app: str) -> ModelEvent | None:
    """The event of the last change of the champion; None where there is no champion.

    It follows from the registry alone: whoever sends it, and however often, its bytes are the same. Its Problem is that
    of the version, by its record; versions that an earlier release registered have none.

    Args:
        registry: of the application's models.
        app: name of the application.

    Raises:
        DataError: the registry or the champion's record is damaged, or the version was never recorded.
        UsageError: the name of the application is not valid, or access is denied.
        PlatformError: the disk or the service failed.
    """
    state = registry.state()
    version = state.aliases.get(CHAMPION)
    if version is None:
        return None
    change = state.champion_change
    digest = state.versions[version].digest
    if change is None or not digest:
        raise DataError(
            "the champion was not promoted by headrace",
            where=f"{registry.where}, version {version}",
            fix="Promote it: headrace registry promote",
        )
    model = registry.path(version)
    return ModelEvent(
        app=app,
        epoch=change.epoch,
        action="rollback" if change.action == "mark bad" else "promote",
        version=version,
        model=model if storage.is_remote(model) else str(storage.resolve(model)),
        digest=digest,
        problem=str(read_record(model).get("problem_digest") or ""),
        who=change.who,
        at=change.at,
        why=change.why[:1000],
    )
