"""Model loading: verifies the Model of an event against its digest, loads it, and checks it on its golden rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from headrace.components.stream.models.used import UsedModel
from headrace.core import storage
from headrace.core.artifacts import registered
from headrace.core.errors import DataError, HeadraceError, PlatformError, UsageError
from headrace.core.model_events.event import ModelEvent
from headrace.core.rules.mode import Mode
from headrace.core.saved_model.find import ServableModel, find_source
from headrace.core.scoring.online.golden import check_golden
from headrace.core.scoring.online.model import OnlineModel


class ModelUnreachable(PlatformError):
    """The files of a Model cannot be read, or do not exist yet. Exit status 75."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, and the event that named it.

    Attributes:
        event: the event, whose version and epoch predictions contain.
        model: the loaded and checked model.
    """

    event: ModelEvent
    model: OnlineModel

    @property
    def used(self) -> UsedModel:
        """Its version and epoch, for predictions."""
        return UsedModel(self.event.version, self.event.epoch)


# Loads the Model of an event beside the model in use, if there is one.
Load = Callable[[ModelEvent, OnlineModel | None], OnlineModel]


def load_model(
    event: ModelEvent, present: OnlineModel | None = None, *, rules: Mode = "enforce", roots: Sequence[str] = ()
) -> OnlineModel:
    """Loads the Model of an event, and checks it.

    Args:
        event: the event that names the Model.
        present: the model in use; a Model with the same operations is loaded in less time.
        rules: "enforce" refuses rows that break the Model's rules; "warn" predicts and counts those whose values are
            out of bounds or unknown.
        roots: folders that Models may be in; if empty, any folder.

    Raises:
        ModelUnreachable: the Model's record does not exist, a file cannot be read, or access is denied. A retry may
            succeed.
        DataError: the Model is not that of the event or not in `roots`, a file is missing or damaged, its predictions
            differ from its golden rows, are not finite, or depend on the other rows of a batch.
        UsageError: the signature does not exist, or the URI of the Model has an unknown scheme.
        PlatformError: the model failed.
    """
    _check_place(event.model, roots)
    with ExitStack() as copies:
        try:
            _verify(event)
            source = _source(event, rules)
            # Copied before the load, so that network errors can be distinguished from errors of the model.
            folder = copies.enter_context(storage.at_hand(source.saved_model))
        except ModelUnreachable:
            raise
        except (PlatformError, OSError) as error:
            reason = error.paragraph if isinstance(error, HeadraceError) else str(error)
            raise ModelUnreachable(
                "the Model of the event cannot be read", where=event.model, received=reason
            ) from error
        # No warm-up: the golden check makes the first predictions, and distinguishes bad rows from platform errors.
        copied = replace(source, saved_model=str(folder))
        model = OnlineModel(copied, signature=event.signature, like=present, warm_up=False)
    model.source = source
    if model.whole:
        raise DataError(
            "the model's predictions depend on the other rows of a batch",
            where=event.model,
            expected="independent rows, as a stream's batches have any number of them",
        )
    check_golden(model)
    return model


def _verify(event: ModelEvent) -> None:
    try:
        if not storage.exists(storage.join(event.model, registered.RECORD)):
            raise ModelUnreachable(
                "the Model of the event does not exist",
                where=event.model,
                expected=f"a folder with {registered.RECORD}",
            )
        registered.check_record(event.model, event.digest)
        # In this thread alone: others would not rest while records are scored.
        registered.verify(event.model, threads=1)
    except UsageError as error:
        # Missing rights and expired credentials are not errors of the model, and may be corrected.
        raise ModelUnreachable(
            "the Model of the event cannot be read", where=event.model, received=str(error)
        ) from error


def _source(event: ModelEvent, rules: Mode) -> ServableModel:
    source = find_source(event.model, name=event.app, rules=rules)
    if source.version != event.version:
        raise DataError(
            "the Model is of another version than the event names",
            where=event.model,
            expected=event.version,
            received=source.version,
        )
    return source


def _check_place(model: str, roots: Sequence[str]) -> None:
    """Refuses a Model outside the allowed folders, because a Model can run code in the scorer."""
    inside = [root for root in roots if model.startswith(storage.join(root, ""))]
    if (roots and not inside) or ".." in model.split("/"):
        raise DataError(
            "the Model is not in a folder that models may come from",
            where=model,
            expected=" or ".join(roots) if roots else 'a path without ".."',
        )
    if not storage.is_remote(model):
        # Raises an error for a scheme that cannot be read.
        storage.local_path(model)
