"""Lineage: the spans that each version of a model was trained on, directly or through the versions that it was warm
started from.

Each version has one small, immutable file with its whole lineage. Its name consists of the identity of the Examples and
the parent version, both of which the registry records.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from headrace.components.ingest.catalog import SpanVersion
from headrace.components.ingest.window import span_order
from headrace.components.registry.base import ModelRegistry
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest
from headrace.core.errors import DataError
from headrace.core.storage.compare_and_set import create_if_absent, json_of, read_with_token
from headrace.core.storage.json_lines import json_bytes

_FOLDER = "lineage"
_FORMAT = 1


@dataclass(frozen=True)
class SeenSpans:
    """The spans that a version was trained on.

    Attributes:
        schema: digest of the Problem's schema.
        spans: spans of its own window: key of the span's version in the catalog, by name of the span.
        inherited: spans of its ancestors: name of the span, by key.
        chain: its ancestors, from its parent to the version that was trained from scratch.
        training: digest of the Problem's model and training options; "" if unknown.
    """

    schema: str
    spans: Mapping[str, str]
    inherited: Mapping[str, str] = field(default_factory=dict)
    chain: tuple[str, ...] = ()
    training: str = ""

    @staticmethod
    def of(manifest: Manifest, training: str = "") -> SeenSpans:
        """The spans of a window, without ancestors."""
        spans = {span.span: span.identity for span in manifest.spans}
        return SeenSpans(manifest.schema_digest, spans, training=training)

    def after(self, version: str, seen: SeenSpans) -> SeenSpans:
        """The same spans for a version that is warm started from `version`, whose spans are `seen`."""
        before = {**seen.inherited, **{key: span for span, key in seen.spans.items()}}
        return replace(self, inherited=dict(sorted(before.items())), chain=(version, *seen.chain))


@dataclass(frozen=True)
class Start:
    """The initial weights of a training.

    Attributes:
        version: version with these weights; "" for a training from scratch.
        model: URI of its Model, or "".
        why: reason for this choice, as a sentence without its full stop.
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
        self._known: dict[str, SeenSpans | None] = {}

    def add(self, examples_identity: str, seen: SeenSpans, start: str = "") -> None:
        """Records the lineage of a version before its training. A repeated call changes nothing.

        Args:
            examples_identity: identity of the Examples that it is trained on.
            seen: spans of these Examples.
            start: the version that training starts from; "" for a training from scratch.
        """
        if start:
            before = self.seen(start)
            if before is None:
                raise DataError("the lineage of a version is not known", where=self._folder, received=start)
            seen = seen.after(start, before)
        create_if_absent(self._file(examples_identity, start), json_bytes({"format": _FORMAT, **asdict(seen)}))

    def seen(self, version: str) -> SeenSpans | None:
        """The spans that a version was trained on; None if unknown."""
        if version not in self._state.versions:
            return None
        if version not in self._known:
            record = self._registry.record(version)
            self._known[version] = self._read(str(record.get("data") or ""), str(record.get("parent") or ""))
        return self._known[version]

    def start(
        self,
        *,
        schema: str,
        catalog: Mapping[str, SpanVersion],
        withdrawn: Collection[str],
        until: int,
        from_scratch_every: int = 0,
        training: str = "",
    ) -> Start:
        """Chooses the version whose weights a training starts from.

        Args:
            schema: digest of the Problem's schema.
            catalog: the versions of all spans, by key.
            withdrawn: names of withdrawn spans, or versions of their arrivals.
            until: epoch of the registry; later versions stem from earlier attempts of the same run.
            from_scratch_every: interval, in versions, of trainings from scratch; 0 for never.
            training: digest of the Problem's model and training options, which the start must share; "" accepts any.
        """
        registered = [
            name for name, one in self._state.versions.items() if one.epoch <= until and one.status == "registered"
        ]
        newest_first = sorted(registered, key=lambda name: (self._state.versions[name].epoch, name), reverse=True)
        why = "no earlier version exists"
        for version in newest_first:
            fault = self.fault(version, schema, catalog, withdrawn)
            seen = self.seen(version)
            if fault is None and seen is not None and training and seen.training not in ("", training):
                fault = f"the Problem's model or training changed since version {version}"
            if fault is None:
                trained = 1 if seen is None else 1 + len(seen.chain)
                if from_scratch_every and trained >= from_scratch_every:
                    return Start(
                        "", "", f"from scratch: the last {trained} versions were warm started from one another"
                    )
                return Start(version, self._registry.path(version), f"warm start from {version}")
            why = fault if why == "no earlier version exists" else why
        return Start("", "", f"from scratch: {why}")

    def fault(
        self, version: str, schema: str, catalog: Mapping[str, SpanVersion], withdrawn: Collection[str]
    ) -> str | None:
        """The reason why no training may start from a version, and why it must be replaced as champion; None if valid.

        Args:
            version: a version in the registry.
            schema, catalog, withdrawn: as of `start`.
        """
        seen = self.seen(version)
        if seen is None:
            return f"the spans of version {version} are not known"
        if seen.schema != schema:
            return f"the schema changed since version {version}"
        for before in seen.chain:
            known = self._state.versions.get(before)
            if known is None or known.status == "bad":
                return f"version {version} descends from {before}, which is {'marked as bad' if known else 'gone'}"
        for key, span in {**seen.inherited, **{key: span for span, key in seen.spans.items()}}.items():
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

    def _read(self, examples_identity: str, start: str) -> SeenSpans | None:
        if not examples_identity:
            return None
        uri = self._file(examples_identity, start)
        found = read_with_token(uri)
        if found is None:
            return None
        content = json_of(found.content, uri)
        try:
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']}")
            spans, inherited = dict(content["spans"]), dict(content["inherited"])
            chain, training = tuple(content["chain"]), str(content.get("training", ""))
            return SeenSpans(str(content["schema"]), spans, inherited, chain, training)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "the lineage of a version is damaged", where=uri, received=f"{type(error).__name__}: {error}"
            ) from error

    def _file(self, examples_identity: str, start: str) -> str:
        return storage.join(self._folder, f"{examples_identity}-{start or 'scratch'}.json")
