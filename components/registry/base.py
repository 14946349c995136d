"""Model registry: the common base of folder and Vertex AI registries, which change one state by compare-and-set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from headrace.components.registry.origin import Clock, origin, utc_now
from headrace.components.registry.state import CHAMPION, Origin, RegistryState
from headrace.components.registry.version_name import check_version
from headrace.core.artifacts.registered import read_record, verify
from headrace.core.ledger.claim import Claim, check

Transition = Callable[[RegistryState, Origin], RegistryState]


class ModelRegistry(ABC):
    """Versions of one problem's model, safe for concurrent processes and threads.

    Args:
        where: name of the registry, for errors.
        who: author of the changes; "" for the user of this process.
        clock: returns the time of a change.
        claim: claim of the run that makes the changes; None for a run outside dynamic training. Changes are refused
            after another run superseded it.
    """

    def __init__(self, where: str, *, who: str = "", clock: Clock = utc_now, claim: Claim | None = None) -> None:
        self.where = where
        self._who = who
        self._clock = clock
        self._claim = claim

    @abstractmethod
    def state(self) -> RegistryState:
        """Versions, aliases and history.

        Raises:
            DataError: registry.json is damaged.
            UsageError: access is denied.
            PlatformError: the disk or the service failed.
        """

    @abstractmethod
    def path(self, version: str) -> str:
        """The path or URI of a registered version's Model.

        Raises:
            UsageError: the version does not exist.
            DataError: its record is damaged.
        """

    @abstractmethod
    def _change(self, change: Transition, why: str) -> RegistryState:
        """Applies a change, and again if another process changed the state in between. Returns the new state."""

    def differences(self) -> list[str]:
        """Differences between a service and the state, as sentences, which the next change corrects."""
        return []

    def versions(self) -> list[str]:
        """The registered versions, sorted by name."""
        return sorted(self.state().versions)

    def record(self, version: str) -> dict[str, Any]:
        """The record of a version: Problem, metrics, data, parent and files. Raises the errors of `path`."""
        return read_record(self.path(version))

    def aliases(self) -> dict[str, str]:
        """Versions by alias. Raises the errors of `state`."""
        return dict(self.state().aliases)

    def set_aliases(self, changes: Mapping[str, str | None], *, why: str = "") -> dict[str, str]:
        """Sets aliases to versions in one step; arguments and errors as of `RegistryState.with_aliases`.

        Returns:
            All aliases after the change.
        """
        for version in changes.values():
            if version is not None:
                check_version(version, self.where)
        return dict(self._change(lambda now, by: now.with_aliases(changes, by), why).aliases)

    def promote(self, version: str, *, why: str = "", approve: bool = False) -> dict[str, str]:
        """Verifies all files of a version, and makes it the champion; the former champion becomes `previous`.

        Promoting the champion changes nothing. Arguments and errors as of `RegistryState.promoted`.

        Returns:
            All aliases after the change.

        Raises:
            DataError: a file of the version is damaged.
        """
        check_version(version, self.where)
        state = self.state()
        state.usable(version)
        if state.aliases.get(CHAMPION) != version:
            self.verify(version)
        return dict(self._change(lambda now, by: now.promoted(version, by, approve=approve), why).aliases)

    def archive(self, version: str, *, why: str = "") -> RegistryState:
        """Archives a version; its files are not removed. Raises the errors of `RegistryState.archived`."""
        check_version(version, self.where)
        return self._change(lambda now, by: now.archived(version, by), why)

    def mark_bad(self, version: str, *, successor: str | None = None, why: str = "") -> RegistryState:
        """Marks a version as bad, and moves the alias champion; see `RegistryState.marked_bad`."""
        for name in (version, *([] if successor is None else [successor])):
            check_version(name, self.where)
        return self._change(lambda now, by: now.marked_bad(version, by, successor=successor), why)

    def restore(self, version: str, *, why: str = "") -> RegistryState:
        """Makes an archived or bad version usable again. Raises the errors of `RegistryState.restored`."""
        check_version(version, self.where)
        return self._change(lambda now, by: now.restored(version, by), why)

    def verify(self, version: str) -> None:
        """Checks every file of a version.

        Raises:
            UsageError: the version does not exist.
            DataError: a file is missing or damaged.
        """
        verify(self.path(version))

    def _check_claim(self) -> None:
        """Refuses the change of a superseded run. It is called between the read and the write of the state."""
        check(self._claim)

    def _origin(self, why: str) -> Origin:
        return origin(why, who=self._who, clock=self._clock)
