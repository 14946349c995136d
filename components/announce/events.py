"""Model event of a registry: its champion, and the change that promoted it."""

from __future__ import annotations

from headrace.components.registry.base import ModelRegistry
from headrace.components.registry.state import CHAMPION
from headrace.core import storage
from headrace.core.artifacts.registered import read_record
from headrace.core.errors import DataError
from headrace.core.model_events.event import ModelEvent


def event_of(registry: ModelRegistry, app: str) -> ModelEvent | None:
    """The event of the last change of the champion; None if the registry has no champion.

    The event depends only on the registry, so that every sender sends the same bytes. `problem` is the digest in the
    version's record; versions registered by an earlier release have none.

    Args:
        registry: registry of the application's models.
        app: name of the application.

    Raises:
        DataError: the registry or the champion's record is damaged, or headrace did not promote the champion.
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
