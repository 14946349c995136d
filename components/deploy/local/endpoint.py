"""Endpoint folder: its files, the stored versions, and the state."""

from __future__ import annotations

import shutil
from pathlib import Path

from headrace.components.deploy.state import EndpointState, state_of
from headrace.components.registry.version_name import check_version
from headrace.core import storage
from headrace.core.errors import PlatformError, UsageError
from headrace.core.ledger.claim import Claim, check
from headrace.core.storage.compare_and_set import (
    Snapshot,
    create_if_absent,
    json_of,
    read_with_token,
    replace_if_unchanged,
)
from headrace.core.storage.json_lines import json_bytes
from headrace.core.storage.output import publishing

# Held while a version's process starts, until it has announced itself.
LAUNCH_LOCK = ".launch.lock"
# Held by a process while it watches a canary.
WATCH_LOCK = ".watch.lock"


class EndpointFolder:
    """Layout and files of an endpoint's folder. Writers hold its lock.

    Args:
        uri: path of the folder.
        claim: claim of the run that writes; None for a run outside dynamic training. Writes are refused after another
            run superseded it.
    """

    def __init__(self, uri: str, claim: Claim | None = None) -> None:
        self.uri = uri
        self.claim = claim
        # Absolute, because the server starts in another working folder.
        self.path = storage.local_path(uri).absolute()
        self.servers = self.path / "servers"
        self.log = self.path / "server.log"
        self.requests = self.path / "requests"
        self.router = self.path / "router"
        self.router_log = self.router / "router.log"
        self.router_state = str(self.router / "state.json")
        self._state = str(self.path / "endpoint.json")

    def version_path(self, version: str) -> Path:
        """The folder of a version, which need not exist.

        Raises:
            UsageError: the name of the version is not valid.
        """
        return self.path / "versions" / check_version(version, self.uri)

    def versions(self) -> list[str]:
        """The existing versions, sorted by name."""
        folder = self.path / "versions"
        return sorted(e.name for e in folder.iterdir() if e.name[0] != ".") if folder.is_dir() else []

    def read(self) -> EndpointState | None:
        """Reads the state; None if no version was ever live.

        Raises:
            DataError: endpoint.json is damaged.
        """
        return self._parsed(read_with_token(self._state))

    def existing(self) -> EndpointState:
        """The state of an endpoint that exists.

        Raises:
            UsageError: the endpoint does not exist, or no version was ever live.
            DataError: endpoint.json is damaged.
        """
        state = self.read() if self.path.is_dir() else None
        if state is None:
            raise self.missing()
        return state

    def missing(self) -> UsageError:
        """The error of an endpoint that does not exist."""
        return UsageError(
            "the endpoint does not exist", where=self.uri, expected="a folder that `headrace deploy` created"
        )

    def check_stored(self, version: str) -> None:
        """Checks that the endpoint stores a version.

        Raises:
            UsageError: the endpoint does not store the version.
        """
        if not self.version_path(version).is_dir():
            raise UsageError(
                "the version does not exist",
                where=self.uri,
                expected=f"one of {', '.join(self.versions())}",
                received=repr(version),
            )

    def stamp(self) -> tuple[int, int] | None:
        """A value that differs after each write of the state; None if there is no state."""
        try:
            found = Path(self._state).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _parsed(self, found: Snapshot | None) -> EndpointState | None:
        if found is None:
            return None
        return state_of(json_of(found.content, self._state), self._state)

    def write(self, state: EndpointState, before: EndpointState | None) -> None:
        """Replaces the state, atomically, unless it changed since it was read.

        Args:
            state: the new state.
            before: the result of `read`.

        Raises:
            PlatformError: another process changed the state in between.
            Overtaken: another run superseded the one that writes.
        """
        content = json_bytes(state.to_json())
        now = read_with_token(self._state)
        check(self.claim)
        written = self._parsed(now) == before and (
            create_if_absent(self._state, content)
            if now is None
            else replace_if_unchanged(self._state, content, now.token)
        )
        if not written:
            raise PlatformError(
                "another process changed the endpoint at the same time", where=self._state, fix="Try again"
            )

    def publish(self, model: str, version: str) -> None:
        """Copies a Model under its version, atomically; an existing copy is replaced."""
        target = self.version_path(version)
        with (
            storage.at_hand(model) as source,
            publishing(str(target), None) as temporary,
            storage.writing(str(target)),
        ):
            shutil.copytree(source, temporary, dirs_exist_ok=True)

    def remove(self, version: str) -> None:
        """Removes a version, if it exists."""
        shutil.rmtree(self.version_path(version), ignore_errors=True)

    def clean(self, state: EndpointState | None, keep: int) -> None:
        """Removes leftovers of killed deployments, and all unused versions except the last `keep` ones."""
        folder = self.path / "versions"
        for left in folder.glob(".*") if folder.is_dir() else ():
            shutil.rmtree(left, ignore_errors=True)
        if state is None:
            return
        in_use = {state.live, state.previous, *state.traffic}
        last_live = {change.version: order for order, change in enumerate(state.history)}
        # Versions that were never live are removed first: their checks failed, or were killed.
        unused = sorted((v for v in self.versions() if v not in in_use), key=lambda v: (last_live.get(v, -1), v))
        for version in unused[: max(0, len(unused) - keep)]:
            self.remove(version)
