"""Lineage: which spans each version of a model has seen, itself or through the versions that it was warm started from.

What a window of Examples holds is a small file, named by the identity of the Examples, which is never changed. The
registry's records have the Examples and the parent of each version.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.components.ingest.catalog import Catalog, SpanVersion
from headrace.components.ingest.window import span_order
from headrace.components.registry.base import ModelRegistry
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest
from headrace.core.errors import DataError
from headrace.core.storage.compare_and_set import create_if_absent, json_of, read_with_token
from headrace.core.storage.json_lines import json_bytes

_FOLDER = "lineage"
_FORMAT = 1
# A chain of warm starts is as long as a training is repeated without one from scratch.
_LONGEST_CHAIN = 10_000


@dataclass(frozen=True)
class Seen:
    """Spans of a window.

    Attributes:
        schema: digest of the Problem's schema.
        spans: key of the span's version in the catalog, by the name of the span.
    """

    schema: str
    spans: Mapping[str, str]

    @staticmethod
    def of(manifest: Manifest) -> Seen:
        """The spans of a window."""
        return Seen(manifest.schema_digest, {span.span: span.identity for span in manifest.spans})


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        version: whose weights; "" from scratch.
        model: URI of its Model, or "".
        why: a sentence without its full stop.
    """

    version: str
    model: str
    why: str


class Lineage:
    """The lineage of a problem's versions.

    Args:
        folder: URI of the folder of the ledger.
        registry: of the versions.
    """

    def __init__(self, folder: str, registry: ModelRegistry) -> None:
        self._folder = storage.join(folder, _FOLDER)
        self._registry = registry
        self._state = registry.state()
        self._records: dict[str, Mapping[str, Any]] = {}

    def add(self, examples_identity: str, seen: Seen) -> None:
        """Records the spans of Examples; again, nothing changes."""
        create_if_absent(self._file(examples_identity), json_bytes({"format": _FORMAT, **asdict(seen)}))

    def chain(self, version: str) -> list[str]:
        """A version, the one that it was warm started from, and so on, to one that was trained from scratch."""
        found: list[str] = []
        while version and version in self._state.versions and version not in found and len(found) < _LONGEST_CHAIN:
            found.append(version)
            version = str(self._record(version).get("parent") or "")
        return found if not version else [*found, version]

    def seen(self, version: str) -> Seen | None:
        """The spans that a version was itself trained on; None where that is not known."""
        if version not in self._state.versions:
            return None
        return self._read(str(self._record(version).get("data") or ""))

    def start(
        self,
        *,
        schema: str,
        catalog: Mapping[str, SpanVersion],
        withdrawn: Collection[str],
        until: int,
        from_scratch_every: int = 0,
    ) -> Start:
        """Chooses the version whose weights a training starts from.

        Args:
            schema: digest of the Problem's schema.
            catalog: the versions of all spans, by key.
            withdrawn: names of spans, or versions of arrivals, that are withdrawn.
            until: epoch of the registry; later versions are of this run's earlier attempts.
            from_scratch_every: every so many versions one is trained from scratch; 0 for never.
        """
        registered = [
            name for name, one in self._state.versions.items() if one.epoch <= until and one.status == "registered"
        ]
        newest_first = sorted(registered, key=lambda name: (self._state.versions[name].epoch, name), reverse=True)
        why = "there is no earlier version"
        for version in newest_first:
            chain = self.chain(version)
            fault = self._fault(chain, schema, catalog, withdrawn)
            if fault is None:
                if from_scratch_every and len(chain) >= from_scratch_every:
                    return Start("", "", f"the last {len(chain)} versions were warm started from one another")
                return Start(version, self._registry.path(version), f"warm start from {version}")
            why = fault if why == "there is no earlier version" else why
        return Start("", "", f"from scratch: {why}")

    def _fault(
        self, chain: Sequence[str], schema: str, catalog: Mapping[str, SpanVersion], withdrawn: Collection[str]
    ) -> str | None:
        """Why a training must not start from the first of a chain; None where it may."""
        for version in chain:
            known = self._state.versions.get(version)
            if known is None or known.status == "bad":
                return f"version {version} is {'not registered' if known is None else 'marked as bad'}"
            seen = self.seen(version)
            if seen is None:
                return f"the spans of version {version} are not known"
            if seen.schema != schema:
                return f"the schema changed since version {version}"
            for span, key in seen.spans.items():
                entry = catalog.get(key)
                if entry is None or entry.verdict == "quarantined":
                    return f"version {version} saw span {span}, which is quarantined now"
                if span in withdrawn or entry.version in withdrawn:
                    return f"version {version} saw span {span}, which is withdrawn now"
        return None

    def newer(self, version: str, window: Sequence[str]) -> int:
        """Number of spans of a window that are newer than the newest one that a version was trained on."""
        seen = self.seen(version)
        if seen is None or not seen.spans:
            return len(window)
        newest = max(map(span_order, seen.spans))
        return sum(span_order(span) > newest for span in window)

    def _record(self, version: str) -> Mapping[str, Any]:
        if version not in self._records:
            self._records[version] = self._registry.record(version)
        return self._records[version]

    def _read(self, examples_identity: str) -> Seen | None:
        if not examples_identity:
            return None
        uri = self._file(examples_identity)
        found = read_with_token(uri)
        if found is None:
            return None
        content = json_of(found.content, uri)
        try:
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']}")
            return Seen(str(content["schema"]), dict(content["spans"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "the lineage of a version is damaged", where=uri, received=f"{type(error).__name__}: {error}"
            ) from error

    def _file(self, examples_identity: str) -> str:
        return storage.join(self._folder, f"{examples_identity}.json")


def read_catalog(folder: str) -> dict[str, SpanVersion]:
    """The versions of all spans by key; errors as of `Catalog.read`."""
    return Catalog(folder).read()
