"""Catalog of spans: every version of every span that arrived, with its verdict, in one file.

The file is changed by compare-and-set. It contains the manifests of accepted spans, so that a window is built without
reading a file of each span.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from headrace.components.ingest.window import Verdict
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.kinds import SPANS
from headrace.core.errors import DataError
from headrace.core.steps.step import identity
from headrace.core.storage.compare_and_set import json_of, read_with_token, update_json

_FORMAT = 1


@dataclass(frozen=True)
class SpanVersion:
    """A version of a span's data, for one declaration of the Problem.

    Attributes:
        span: name of the span.
        data: URI or path of the data.
        data_version: fingerprint of the data in the announcement.
        at: time of the announcement, ISO 8601 in UTC. Of two versions of a span, the one announced later is newer.
        version: data version in the ledger.
        csv: options of reading CSV, as NAME=VALUE.
        schema: digest of the Problem's schema.
        measured: fingerprint of the data that headrace measured when it was first preprocessed; "" before that.
        verdict: whether its rows may be in a window; None before it is judged.
        judged: fingerprint of the statistics that it was compared with; "" if there were none.
        rows_in: number of rows read.
        rows_quarantined: number of rows in quarantine; `rows_in` if the whole span is quarantined.
        why: the error of a quarantined span; "" for others.
        manifest: content of the manifest of an accepted span; None for others.
        label: the label's entry in the statistics.json of an accepted span, without quantiles; None if it has no train
            rows.
    """

    span: str
    data: str
    data_version: str
    at: str
    version: str
    csv: tuple[str, ...]
    schema: str
    measured: str = ""
    verdict: Verdict | None = None
    judged: str = ""
    rows_in: int = 0
    rows_quarantined: int = 0
    why: str = ""
    manifest: Mapping[str, Any] | None = None
    label: Mapping[str, Any] | None = None

    @functools.cached_property
    def key(self) -> str:
        """Identity of its Examples, 16 hexadecimal digits."""
        facts = {"span": self.span, "data": self.data_version, "csv": list(self.csv), "schema": self.schema}
        return identity("span", format=_FORMAT, **facts)

    @property
    def folder(self) -> str:
        """The folder of its Examples, relative to the folder of all spans."""
        return f"{self.span}/{self.key}"

    @property
    def source(self) -> tuple[str, str, tuple[str, ...]]:
        """The span, its data and its CSV options: the same for every declaration of the Problem."""
        return self.span, self.data_version, self.csv

    def examples(self, where: str) -> Manifest:
        """The manifest of an accepted span.

        Args:
            where: URI of the catalog, for an error.

        Raises:
            DataError: the catalog is damaged.
        """
        return Manifest.from_json(self.manifest or {}, where)


class Catalog:
    """The catalog in the folder of spans.

    Args:
        uri: URI of the folder, on a disk, gs:// or s3://.
    """

    def __init__(self, uri: str) -> None:
        self.folder = uri
        # No span's name begins with an underscore.
        self.uri = storage.join(uri, SPANS.state)
        # By schema. The scale of a schema never changes.
        self._known_scales: dict[str, Mapping[str, int]] = {}
        # The content that was read last, as bytes, as JSON and as versions, because parsing a year of spans takes long
        # compared with preprocessing a day.
        self._last: tuple[bytes, Any, Mapping[str, SpanVersion]] = (b"", None, {})

    def read(self) -> dict[str, SpanVersion]:
        """The versions of all spans, by key.

        Raises:
            DataError: the file is damaged.
            PlatformError: the disk or the service failed.
        """
        return dict(self._versions(self._now()))

    def put(self, versions: Sequence[SpanVersion]) -> None:
        """Adds versions, and replaces those with the same key.

        Raises:
            DataError: the file is damaged.
            UsageError: the file cannot be written.
            PlatformError: the disk or the service failed; putting them again is safe.
        """

        def change(content: Any) -> Any:
            known = {**self._versions(content), **{version.key: version for version in versions}}
            return _content(known, _scales(content))

        update_json(self.uri, change, parse=self._parse)

    def scale(self, schema: str) -> Mapping[str, int] | None:
        """The exponents by column of all spans of a schema, see `core.values.scaling`; None if there is no span yet.

        Raises:
            DataError: the file is damaged.
            PlatformError: the disk or the service failed.
        """
        if schema not in self._known_scales:
            scale = self._scale(self._now(), schema)
            if scale is None:
                return None
            self._known_scales[schema] = scale
        return self._known_scales[schema]

    def decide_scale(self, schema: str, exponents: Mapping[str, int]) -> Mapping[str, int]:
        """Records the exponents of the first span of a schema, and returns the recorded ones: those of the first call.

        Raises the errors of `put`.
        """

        def change(content: Any) -> Any:
            decided = self._scale(content, schema)
            scales = {**_scales(content), schema: dict(exponents if decided is None else decided)}
            return _content(self._versions(content), scales)

        if schema not in self._known_scales:
            self._known_scales[schema] = update_json(self.uri, change, parse=self._parse)["scales"][schema]
        return self._known_scales[schema]

    def _scale(self, content: Any, schema: str) -> Mapping[str, int] | None:
        accepted = (v.schema == schema and v.verdict == "accepted" for v in self._versions(content).values())
        # All spans of a catalog that an earlier release wrote have no exponents.
        return _scales(content).get(schema, {} if any(accepted) else None)

    def _now(self) -> Any:
        found = read_with_token(self.uri)
        return None if found is None else self._parse(found.content, self.uri)

    def _parse(self, content: bytes, uri: str) -> Any:
        """The JSON value of the file's content. It is shared, and must not be changed."""
        if content != self._last[0]:
            value = json_of(content, uri)
            self._last = (content, value, self._parsed(value))
        return self._last[1]

    def _versions(self, content: Any) -> Mapping[str, SpanVersion]:
        """The versions in a value of `_parse`; empty if the file does not exist."""
        return {} if content is None else self._last[2]

    def _parsed(self, content: Any) -> dict[str, SpanVersion]:
        try:
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']}")
            versions = [SpanVersion(**{**plain, "csv": tuple(plain["csv"])}) for plain in content["versions"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "the catalog of spans is damaged",
                where=self.uri,
                expected=f"a catalog of format {_FORMAT}",
                received=f"{type(error).__name__}: {error}",
                fix="Restore the file from a backup",
            ) from error
        return {version.key: version for version in versions}


def _scales(content: Any) -> Mapping[str, Mapping[str, int]]:
    return {} if content is None else content.get("scales", {})


def _content(versions: Mapping[str, SpanVersion], scales: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    content = {"kind": "Spans", "format": _FORMAT, "versions": _plain(versions.values())}
    return {**content, "scales": dict(scales)} if scales else content


def _plain(versions: Collection[SpanVersion]) -> list[dict[str, Any]]:
    names = [field.name for field in fields(SpanVersion)]
    ordered = sorted(versions, key=lambda version: (version.span, version.at, version.key))
    # Not dataclasses.asdict, which copies every manifest.
    return [{**{name: getattr(version, name) for name in names}, "csv": list(version.csv)} for version in ordered]
