"""Registry state: versions, aliases and the history of changes, as one immutable value.

A version is `registered`, `archived` or `bad`. A rerun or a schedule never makes a bad version usable: it is not
registered or promoted again until a person restores it. Every change records its author, its time, its reason and its
epoch, which is one more than that of the previous change. The functions are pure, and a repeated change has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from headrace.core.errors import DataError, GateRefused, UsageError

Status = Literal["registered", "archived", "bad"]
Action = Literal["register", "promote", "alias", "archive", "mark bad", "restore"]

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
# Maximum length of the history, because each change writes the whole file.
_HISTORY = 1000
_FORMAT = 1
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


@dataclass(frozen=True)
class Origin:
    """Author, time and reason of a change.

    Attributes:
        who: USER@HOST, or the name of an account.
        at: time, ISO 8601 in UTC.
        why: the reason, as text; "" if it is not given.
    """

    who: str
    at: str
    why: str = ""


@dataclass(frozen=True)
class RegistryChange:
    """A change of the registry.

    Attributes:
        epoch: number of the change, from 1.
        action: one of `Action`.
        version: the version that was changed; several names with commas for aliases.
        who, at, why: as of `Origin`.
        champion: the new champion if the change replaced it, "" if it removed it; None if it did not change it.
    """

    epoch: int
    action: str
    version: str
    who: str
    at: str
    why: str
    champion: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The change as an entry of the history in registry.json."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        place: folder of its Model, relative to the registry; at Vertex AI, the version's number.
        digest: SHA-256 of its record, in hexadecimal; "" if it has no record.
        approval: "blessed" or "refused" by the gate, "approved" by a promotion, or "pending" without an Evaluation.
        status: registered, archived or bad.
        epoch: epoch of its registration; 0 if it is not recorded.
    """

    place: str
    digest: str
    approval: str
    status: Status
    epoch: int


@dataclass(frozen=True)
class RegistryState:
    """Content of registry.json.

    Attributes:
        where: name of the registry, for errors.
        epoch: number of the last change; 0 if there was none.
        aliases: version by alias.
        versions: versions by name.
        history: the last 1,000 changes, latest last.
    """

    where: str
    epoch: int = 0
    aliases: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, Version] = field(default_factory=dict)
    history: tuple[RegistryChange, ...] = ()

    def get(self, version: str) -> Version:
        """A registered version.

        Raises:
            UsageError: the version does not exist.
        """
        if version not in self.versions:
            raise UsageError(
                "the version does not exist in the registry",
                where=self.where,
                expected=f"one of {', '.join(sorted(self.versions)) or 'no version: nothing is registered yet'}",
                received=repr(version),
            )
        return self.versions[version]

    def usable(self, version: str) -> Version:
        """A registered version that is neither archived nor bad.

        Raises:
            UsageError: the version does not exist, or is archived.
            GateRefused: the version is marked as bad.
        """
        found = self.get(version)
        if found.status == "registered":
            return found
        change = next((c for c in reversed(self.history) if c.version == version and c.action != "register"), None)
        by = "" if change is None else f" by {change.who}, {change.at}{f': {change.why}' if change.why else ''}"
        kind = GateRefused if found.status == "bad" else UsageError
        raise kind(
            f"the version is {'marked as bad' if found.status == 'bad' else 'archived'}",
            where=f"{self.where}, version {version}",
            received=f"{found.status}{by}",
            fix="Use another version. If this one is good after all: `headrace registry restore`",
        )

    @property
    def champion_change(self) -> RegistryChange | None:
        """The last change of the champion; None if it is not in the history."""
        moved = next((change for change in reversed(self.history) if change.champion is not None), None)
        if moved is not None and moved.champion == self.aliases.get(CHAMPION, ""):
            return moved
        # Earlier releases did not record the champion of a change.
        return next((c for c in reversed(self.history) if c.action in ("promote", "mark bad", "alias")), None)

    def last(self, version: str, *actions: Action) -> RegistryChange | None:
        """The last change of a version by one of some actions; None if it is not in the history."""
        return next((c for c in reversed(self.history) if c.version == version and c.action in actions), None)

    def registered(self, version: str, place: str, digest: str, approval: str, origin: Origin) -> RegistryState:
        """The state after a registration; a known version does not change.

        Raises:
            GateRefused: the version is marked as bad.
        """
        known = self.versions.get(version)
        if known is not None:
            if known.status == "bad":
                self.usable(version)
            return self
        new = Version(place, digest, approval, "registered", self.epoch + 1)
        return self._changed("register", version, origin, versions={**self.versions, version: new})

    def promoted(self, version: str, origin: Origin, *, approve: bool = False) -> RegistryState:
        """The state after a version became the champion, and the former champion `previous`.

        A promoted challenger loses the alias challenger. Promoting the champion changes nothing.

        Args:
            version: version to promote.
            origin: origin of the change.
            approve: whether to promote a version that the gate refused.

        Raises:
            UsageError: the version does not exist, or is archived.
            GateRefused: the version is marked as bad, or the gate refused it and `approve` is False.
        """
        found = self.usable(version)
        if found.approval == "refused" and not approve:
            raise GateRefused(
                "the gate refused this version",
                where=f"{self.where}, version {version}",
                fix="Promote another version; `--approve` promotes this one on your own account",
            )
        champion = self.aliases.get(CHAMPION)
        if champion == version:
            return self
        changes: dict[str, str | None] = {CHAMPION: version}
        if champion is not None:
            changes[PREVIOUS] = champion
        elif self.aliases.get(PREVIOUS) == version:
            changes[PREVIOUS] = None
        if self.aliases.get(CHALLENGER) == version:
            changes[CHALLENGER] = None
        approved = found if found.approval == "blessed" else replace(found, approval="approved")
        return self._changed(
            "promote",
            version,
            origin,
            aliases=self._with(changes),
            versions={**self.versions, version: approved},
        )

    def with_aliases(self, changes: Mapping[str, str | None], origin: Origin) -> RegistryState:
        """The state after some aliases were set to versions, or removed by None; others do not change.

        Raises:
            UsageError: an alias is not a valid name, or a version does not exist or is archived.
            GateRefused: a version is marked as bad.
        """
        for alias, version in changes.items():
            if not isinstance(alias, str) or not _ALIAS.match(alias):
                raise UsageError(
                    "the alias is not valid",
                    where=self.where,
                    expected="1 to 64 lower-case letters, digits, - and _, starting with a letter",
                    received=repr(alias),
                )
            if version is not None:
                self.usable(version)
        after = self._with(changes)
        if after == self.aliases:
            return self
        named = ", ".join(sorted({version for version in changes.values() if version is not None}))
        return self._changed("alias", named, origin, aliases=after)

    def archived(self, version: str, origin: Origin) -> RegistryState:
        """The state after a version was archived; its files are not removed.

        Raises:
            UsageError: the version does not exist, or has an alias.
            GateRefused: the version is marked as bad.
        """
        found = self.get(version)
        if found.status == "archived":
            return self
        found = self.usable(version)
        aliases = sorted(alias for alias, named in self.aliases.items() if named == version)
        if aliases:
            raise UsageError(
                "the version is in use",
                where=f"{self.where}, version {version}",
                expected="a version without an alias",
                received=", ".join(aliases),
                fix="Promote another version first. A version that must not be used: `headrace registry archive --bad`",
            )
        return self._with_status("archive", version, "archived", origin)

    def marked_bad(self, version: str, origin: Origin, *, successor: str | None = None) -> RegistryState:
        """The state after a version was marked as bad. It loses all aliases, and is not promoted until it is restored.

        If it was the champion, `successor` becomes the champion; by default, the version with the alias `previous`. If
        there is neither, the registry has no champion. A second call changes nothing.

        Raises:
            UsageError: a version does not exist, or the successor is archived or equal to the version.
            GateRefused: the successor is marked as bad.
        """
        found = self.get(version)
        if successor is not None and self.usable(successor) is found:
            raise UsageError("a version cannot succeed itself", where=self.where, received=version)
        aliases = {alias: named for alias, named in self.aliases.items() if named != version}
        if self.aliases.get(CHAMPION) == version:
            heir = successor or aliases.get(PREVIOUS)
            aliases = {alias: named for alias, named in aliases.items() if alias != PREVIOUS}
            if heir is not None:
                aliases[CHAMPION] = heir
                aliases = {a: named for a, named in aliases.items() if a != CHALLENGER or named != heir}
        if found.status == "bad" and aliases == self.aliases:
            return self
        return self._with_status("mark bad", version, "bad", origin, aliases=dict(sorted(aliases.items())))

    def restored(self, version: str, origin: Origin) -> RegistryState:
        """The state after an archived or bad version became usable again, without an alias.

        Raises:
            UsageError: the version does not exist.
        """
        if self.get(version).status == "registered":
            return self
        return self._with_status("restore", version, "registered", origin)

    def _with(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        after = {**self.aliases, **changes}
        return {alias: version for alias in sorted(after) if (version := after[alias]) is not None}

    def _with_status(
        self, action: Action, version: str, status: Status, origin: Origin, **fields: Any
    ) -> RegistryState:
        changed = replace(self.versions[version], status=status)
        return self._changed(action, version, origin, versions={**self.versions, version: changed}, **fields)

    def _changed(self, action: Action, version: str, origin: Origin, **fields: Any) -> RegistryState:
        before, after = (aliases.get(CHAMPION, "") for aliases in (self.aliases, fields.get("aliases", self.aliases)))
        moved = None if before == after else after
        change = RegistryChange(self.epoch + 1, action, version, origin.who, origin.at, origin.why, moved)
        return replace(self, epoch=change.epoch, history=(*self.history, change)[-_HISTORY:], **fields)

    def to_json(self) -> dict[str, Any]:
        """The content of registry.json."""
        return {
            "kind": "Registry",
            "format": _FORMAT,
            "epoch": self.epoch,
            "aliases": dict(sorted(self.aliases.items())),
            "versions": {name: asdict(self.versions[name]) for name in sorted(self.versions)},
            "history": [change.to_json() for change in self.history],
        }

    @staticmethod
    def from_json(content: Any, where: str, uri: str) -> RegistryState:
        """The state in registry.json; None is an empty registry.

        Args:
            content: JSON value of the file.
            where: name of the registry, for errors.
            uri: URI of the file, for an error.

        Raises:
            DataError: the file is damaged.
        """
        if content is None:
            return RegistryState(where)
        try:
            if not isinstance(content, Mapping) or content["format"] != _FORMAT:
                raise ValueError(f"{type(content).__name__} of another format")
            aliases, versions = content["aliases"], {n: Version(**v) for n, v in content["versions"].items()}
            if not set(aliases.values()) <= set(versions):
                raise ValueError("an alias of a version that is not registered")
            history = tuple(RegistryChange(**change) for change in content["history"])
            return RegistryState(where, int(content["epoch"]), dict(aliases), versions, history)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "the registry is damaged",
                where=uri,
                expected=f"a registry of format {_FORMAT}",
                received=f"{type(error).__name__}: {error}",
                fix="Restore the file from a backup",
            ) from error
