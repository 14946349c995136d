"""Endpoint folder: its versions, and the state of the live and previous ones."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from headrace.components.registry.version_name import check_version
from headrace.core import storage
from headrace.core.errors import DataError, PlatformError
from headrace.core.rules.mode import Mode
from headrace.core.storage.compare_and_set import (
    Snapshot,
    create_if_absent,
    json_of,
    read_with_token,
    replace_if_unchanged,
)
from headrace.core.storage.json_lines import json_bytes
from headrace.core.storage.output import publishing

Action = Literal["deploy", "rollback"]

# Length of the history; older versions are in the registry.
_HISTORY = 100


@dataclass(frozen=True)
class Change:
    """A version that went live.

    Attributes:
        version: of the Model.
        action: deploy or rollback.
        at: time, ISO 8601 in UTC.
    """

    version: str
    action: str
    at: str


@dataclass(frozen=True)
class EndpointState:
    """Content of endpoint.json.

    Attributes:
        name: the model's name in URLs.
        live: the version that is served.
        previous: the version that a rollback goes to.
        url: of the server; None when it was stopped.
        pid: process id of the server; None when it was stopped.
        history: the versions that went live, latest last.
        rules: mode of the Model's rules in the server, which a rollback keeps.
    """

    name: str
    live: str
    previous: str | None
    url: str | None
    pid: int | None
    history: tuple[Change, ...] = ()
    rules: Mode = "enforce"

    def switched(self, version: str, action: Action, *, previous: str | None, url: str, pid: int) -> EndpointState:
        """The state after `version` went live."""
        change = Change(version, action, datetime.now(UTC).isoformat(timespec="seconds"))
        history = (*self.history, change)[-_HISTORY:]
        return replace(self, live=version, previous=previous, url=url, pid=pid, history=history)


class EndpointFolder:
    """Layout and files of an endpoint's folder. Writers hold its lock.

    Args:
        uri: the folder.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        # An absolute path, as the server starts in another working folder.
        self.path = storage.local_path(uri).absolute()
        self.servers = self.path / "servers"
        self.log = self.path / "server.log"
        self._state = str(self.path / "endpoint.json")

    def version_path(self, version: str) -> Path:
        """The folder of a version, whether or not it exists."""
        return self.path / "versions" / check_version(version, self.uri)

    def versions(self) -> list[str]:
        """The existing versions, sorted by name."""
        folder = self.path / "versions"
        return sorted(e.name for e in folder.iterdir() if e.name[0] != ".") if folder.is_dir() else []

    def read(self) -> EndpointState | None:
        """Reads the state; None where no version was ever live.

        Raises:
            DataError: endpoint.json is damaged.
        """
        return self._parsed(read_with_token(self._state))

    def _parsed(self, found: Snapshot | None) -> EndpointState | None:
        if found is None:
            return None
        content = json_of(found.content, self._state)
        try:
            return EndpointState(
                name=content["name"],
                live=check_version(content["live"], self._state, DataError),
                previous=content["previous"],
                url=content["url"],
                pid=content["pid"],
                history=tuple(Change(c["version"], c["action"], c["at"]) for c in content["history"]),
                rules=content.get("rules", "enforce"),
            )
        except (KeyError, TypeError) as error:
            raise DataError("endpoint.json is damaged", where=self._state, received=repr(error)) from error

    def write(self, state: EndpointState, before: EndpointState | None) -> None:
        """Replaces the state, if it is still the one that was read; the file is written atomically.

        Args:
            state: the new one.
            before: what `read` returned.

        Raises:
            PlatformError: another process changed the state in between.
        """
        content = json_bytes({"format": 1, **asdict(state)})
        now = read_with_token(self._state)
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
        with publishing(str(target), None) as temporary, storage.writing(str(target)):
            shutil.copytree(storage.local_path(model), temporary, dirs_exist_ok=True)

    def remove(self, version: str) -> None:
        """Removes a version, if it exists."""
        shutil.rmtree(self.version_path(version), ignore_errors=True)

    def clean(self, state: EndpointState | None, keep: int) -> None:
        """Removes leftovers of killed deployments, and all but the last `keep` of the unused versions."""
        folder = self.path / "versions"
        for left in folder.glob(".*") if folder.is_dir() else ():
            shutil.rmtree(left, ignore_errors=True)
        if state is None:
            return
        in_use = {state.live, state.previous}
        last_live = {change.version: order for order, change in enumerate(state.history)}
        # A version that never went live failed its checks, or was killed before them: it is removed first.
        unused = sorted((v for v in self.versions() if v not in in_use), key=lambda v: (last_live.get(v, -1), v))
        for version in unused[: max(0, len(unused) - keep)]:
            self.remove(version)
