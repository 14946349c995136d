"""Models to serve: where the version in use comes from, how it is loaded, and how a newer one is switched to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.components.serve.config import ServeConfig
from headrace.components.serve.follow import Follower
from headrace.core import storage
from headrace.core.artifacts.kinds import REGISTRY
from headrace.core.errors import UsageError
from headrace.core.saved_model.find import ServableModel, find_source, verify_source
from headrace.core.scoring.online.beside import beside
from headrace.core.scoring.online.current import CurrentModel
from headrace.core.scoring.online.golden import check_golden
from headrace.core.scoring.online.model import OnlineModel

_VERTEX = "projects/"


@dataclass(frozen=True)
class ModelLocation:
    """A Model behind the option `source` at one moment.

    Attributes:
        uri: what `find_source` reads: an endpoint's folder, a Model or a SavedModel.
        version: the registry's version; "" where there is no registry.
    """

    uri: str
    version: str = ""


def locate(config: ServeConfig) -> ModelLocation:
    """The Model that the options name at this moment: in a registry, the one behind the alias.

    Raises:
        UsageError: there is no registry, no version behind the alias, or it is archived.
        GateRefused: it is marked as bad.
        DataError: the registry's state or record is damaged.
        PlatformError: the registry cannot be read.
    """
    source = config.source
    if not source.startswith(_VERTEX) and not storage.exists(storage.join(source, REGISTRY.state)):
        return ModelLocation(source)
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
    return ModelLocation(registry.path(version), version)


def find(
    place: ModelLocation, config: ServeConfig, name: str | None = None, *, threads: int | None = None
) -> ServableModel:
    """The Model at a place, after a check of all its files if it was registered; without TensorFlow.

    Args:
        place: from `locate`.
        config: of the server.
        name: of the model in URLs, unless the configuration names it.
        threads: that read files for the check; as of `registered.verify`.

    Raises:
        UsageError: there is no model.
        DataError: the model is damaged.
        PlatformError: a file cannot be read.
    """
    verify_source(place.uri, threads=threads)
    return find_source(place.uri, name=name or config.name, rules=config.rules)


def load(source: ServableModel, config: ServeConfig, like: OnlineModel | None = None) -> OnlineModel:
    """Loads a model; `like` and errors as of `OnlineModel`."""
    return OnlineModel(source, signature=config.signature, constants=config.constants, engine=config.engine, like=like)


class ModelFollower(Follower[ModelLocation]):
    """Follows the model behind the option `source`.

    Args:
        config: of the server, with `follow_s`.
        current: holds the model in use.
        count: as of `Follower`.
        busy: whether requests are answered at this moment; a new version is then loaded slowly.
    """

    def __init__(
        self,
        config: ServeConfig,
        current: CurrentModel[OnlineModel],
        *,
        count: Callable[[str], None] = lambda _: None,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__("version", config.follow_s, count)
        self._config = config
        self._current = current
        self._busy = busy

    @property
    def present(self) -> str:
        """The version of the model in use."""
        return self._current.model.version

    def newest(self) -> tuple[str, ModelLocation]:
        """The version that the alias or the endpoint names now; errors as of `locate` and `find_source`."""
        place = locate(self._config)
        return find_source(place.uri, name=self._current.model.name, rules=self._config.rules).version, place

    def switch(self, found: ModelLocation) -> str:
        """Loads the model beside the one in use, checks its files and golden rows, and uses it.

        The model before it is still in memory, loaded and checked, so a rollback is one assignment.
        """
        previous = self._current.previous
        if previous is not None:
            source = find_source(found.uri, name=self._current.model.name, rules=self._config.rules)
            if (source.saved_model, source.version) == (previous.source.saved_model, previous.version):
                self._current.back()
                return previous.version
        # Or it would outlive the switch, which frees it.
        del previous

        def load_it() -> OnlineModel:
            # Threads of their own would not rest.
            present = self._current.model
            return load(find(found, self._config, present.name, threads=1), self._config, present)

        with beside(self._busy):
            new = self._current.switch(load_it, check_golden)
        return f"{new.version} with {new.engine},"
