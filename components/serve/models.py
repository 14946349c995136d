"""Models to serve: where the version in use comes from, how it is loaded, and how a newer one is switched to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from headrace.components.serve.config import ServeConfig
from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.errors import HeadraceError, PlatformError, UsageError
from headrace.core.saved_model.find import Source, find_source, verify_source
from headrace.core.scoring.online.current import Current
from headrace.core.scoring.online.golden import check_golden
from headrace.core.scoring.online.model import OnlineModel

_log = logging.getLogger("headrace.serve")
_VERTEX = "projects/"


@dataclass(frozen=True)
class Place:
    """A Model behind the option `source` at one moment.

    Attributes:
        uri: what `find_source` reads: an endpoint's folder, a Model or a SavedModel.
        version: the registry's version; "" where there is no registry.
    """

    uri: str
    version: str = ""


def locate(config: ServeConfig) -> Place:
    """The Model that the options name at this moment: in a registry, the one behind the alias.

    Raises:
        UsageError: there is no registry, no version behind the alias, or it is archived.
        GateRefused: it is marked as bad.
        DataError: the registry's state or record is damaged.
        PlatformError: the registry cannot be read.
    """
    source = config.source
    if not source.startswith(_VERTEX) and not storage.exists(storage.join(source, REGISTRY.state)):
        return Place(source)
    from headrace.components.registry.open import open_registry

    registry = open_registry(source)
    state = registry.state()
    version = state.aliases.get(config.alias)
    if version is None:
        raise UsageError(
            f"the registry has no {config.alias}",
            where=source,
            expected=f"an alias that is set: {', '.join(sorted(state.aliases)) or 'none is'}",
            fix="Promote a version: `headrace registry promote`",
        )
    state.usable(version)
    return Place(registry.path(version), version)


def find(place: Place, config: ServeConfig, name: str | None = None) -> Source:
    """The Model at a place, after a check of all its files if it was registered; without TensorFlow.

    Raises:
        UsageError: there is no model.
        DataError: the model is damaged.
        PlatformError: a file cannot be read.
    """
    verify_source(place.uri)
    return find_source(place.uri, name=name or config.name, rules=config.rules)


def load(source: Source, config: ServeConfig) -> OnlineModel:
    """Loads a model; errors as of `OnlineModel`."""
    return OnlineModel(source, signature=config.signature, constants=config.constants)


class Follower:
    """Looks for a new version every few seconds, and switches to it; a version that fails its checks is refused once.

    Args:
        config: of the server, with `follow_s`.
        current: holds the model in use.
        switched: called in the follower's thread after a switch.
        count: called with "switched", "refused" or "failed" (the platform failed; it is tried again).
    """

    def __init__(
        self,
        config: ServeConfig,
        current: Current[OnlineModel],
        *,
        switched: Callable[[OnlineModel], None] = lambda _: None,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._current = current
        self._switched = switched
        self._count = count
        self._refused = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more; a model that is being loaded is not waited for."""
        self._end.set()

    def look(self) -> bool:
        """Looks once.

        Returns:
            Whether the model was switched.
        """
        version = ""
        try:
            place = locate(self._config)
            source = find_source(place.uri, name=self._current.model.name, rules=self._config.rules)
            version = source.version
            if version in (self._current.model.version, self._refused):
                return False
            _log.info("version %s replaces %s: loading and checking it", version, self._current.model.version)
            new = self._current.switch(lambda: self._load(place), check_golden)
        except PlatformError as error:
            self._count("failed")
            _log.error("version %s stays; it is tried again: %s", self._current.model.version, error.paragraph)
            return False
        except HeadraceError as error:
            if version:
                self._refused = version
            self._count("refused")
            _log.error("version %s is refused, and %s stays: %s", version, self._current.model.version, error.paragraph)
            return False
        self._refused = ""
        self._count("switched")
        self._switched(new)
        _log.info("version %s is in use", new.version)
        return True

    def _load(self, place: Place) -> OnlineModel:
        return load(find(place, self._config, self._current.model.name), self._config)

    def _follow(self) -> None:
        while not self._end.wait(self._config.follow_s):
            try:
                self.look()
            except Exception:
                self._count("failed")
                _log.exception("unexpected internal error while looking for a new version")
