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
        where: the registry, for messages.
        who: makes the changes; "" for the user of this process.
        clock: returns the time of a change.
        claim: of the run that makes the changes, which are refused once it was overtaken; None for no such run.
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
        """The URI of a registered version's Model.

        Raises:
            UsageError: the version does not exist.
            DataError: its record was damaged.
        """

    @abstractmethod
    def _change(self, change: Transition, why: str) -> RegistryState:
        """Makes a change, again whenever another process made one in between, and returns the state after it."""

    def differences(self) -> list[str]:
        """What another system shows otherwise than the state, as sentences; a later change corrects it."""
        return []

    def versions(self) -> list[str]:
        """The registered versions, sorted by name."""
        return sorted(self.state().versions)

    def record(self, version: str) -> dict[str, Any]:
        """The record of a version: Problem, metrics, data, parent and files; errors as of `path`."""
        return read_record(self.path(version))

    def aliases(self) -> dict[str, str]:
        """The version of each alias; errors as of `state`."""
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
        """Makes a version the champion, and the former champion `previous`, after all its files were verified.

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
        """Takes a version out of use; its files stay. Errors as of `RegistryState.archived`."""
        check_version(version, self.where)
        return self._change(lambda now, by: now.archived(version, by), why)

    def mark_bad(self, version: str, *, successor: str | None = None, why: str = "") -> RegistryState:
        """Marks a version as bad, and moves the champion's alias; as `RegistryState.marked_bad`."""
        for name in (version, *([] if successor is None else [successor])):
            check_version(name, self.where)
        return self._change(lambda now, by: now.marked_bad(version, by, successor=successor), why)

    def restore(self, version: str, *, why: str = "") -> RegistryState:
        """Makes an archived or bad version usable again. Errors as of `RegistryState.restored`."""
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
        """Refuses a change of a run that was overtaken: called between reading and writing the state."""
        check(self._claim)

    def _origin(self, why: str) -> Origin:
        return origin(why, who=self._who, clock=self._clock)
