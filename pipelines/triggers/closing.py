"""Closing of a span: the rule that detects when a span of several files is complete.

The writer of the span writes a marker or a manifest after its files. A quiet time requires a process that watches the
folder, so only `headrace watch` supports it. In an object store, an object exists only when it is complete, so a span
of one object needs no marker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from headrace.core import storage
from headrace.core.errors import DataError, UsageError
from headrace.core.text import listed, parse_duration
from headrace.pipelines.triggers.span import ListedSpan, is_data

Kind = Literal["marker", "manifest", "quiet", "object"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_NAMES: Mapping[str, str] = {"marker": "_SUCCESS", "manifest": "_manifest.json"}
_EXPECTED = "marker, marker=NAME, manifest, manifest=NAME, quiet=PERIOD such as quiet=5m, or object"
# Maximum size of a manifest, which names the files of one span.
_MAX_MANIFEST_BYTES = 8 << 20


@dataclass(frozen=True)
class ClosingRule:
    """The rule by which spans close.

    Args:
        kind: "marker", an empty file; "manifest", a JSON file that names the span's files; "quiet", no change for a
            time; "object", each object of a store is a span.
        name: name of the marker or the manifest in the span's folder; "" for other kinds.
        quiet_s: time without a change, in seconds, above 0 for the kind "quiet"; 0 for other kinds.

    Raises:
        UsageError: the name is not the name of a file, or the time does not fit the kind.
    """

    kind: Kind
    name: str = ""
    quiet_s: float = 0.0

    def __post_init__(self) -> None:
        named = self.kind in _NAMES
        wrong = named and (not self.name or "/" in self.name or self.name in (".", ".."))
        if wrong or (self.kind == "quiet") != (self.quiet_s > 0):
            raise UsageError("the closing of spans is not valid", expected=_EXPECTED, received=repr(self))

    @classmethod
    def parse(cls, text: str) -> ClosingRule:
        """Parses KIND or KIND=VALUE.

        Raises:
            UsageError: the text is not valid.
        """
        kind, separator, value = text.partition("=")
        try:
            if kind in _NAMES and (value or not separator):
                return cls(kind, value or _NAMES[kind])  # type: ignore[arg-type]
            if kind == "quiet" and value:
                return cls("quiet", quiet_s=parse_duration(value))
            if text == "object":
                return cls("object")
        except (ValueError, UsageError):
            pass
        raise UsageError("the closing of spans is not valid", expected=_EXPECTED, received=repr(text))

    def __str__(self) -> str:
        if self.kind == "quiet":
            return f"quiet={self.quiet_s:g}s"
        return f"{self.kind}={self.name}" if self.name else self.kind


@dataclass(frozen=True)
class IncompleteSpan:
    """A span that is not complete.

    Attributes:
        why: what is missing, as the end of "the span waits for".
    """

    why: str


def waits_for(span: ListedSpan, closing: ClosingRule, manifest: bytes | None, quiet_s: float) -> IncompleteSpan | None:
    """What a span waits for; None if it is complete.

    Args:
        span: the span, with its list of files.
        closing: the rule.
        manifest: content of the manifest; None without one.
        quiet_s: time without a change until now, in seconds.

    Raises:
        DataError: the span contradicts its marker or manifest, or the rule, so that a person must correct it.
    """
    if closing.kind in _NAMES and not span.folder:
        raise DataError(
            "the file is not in the folder of a span",
            where=span.data,
            expected=f"SPAN/{span.data.rsplit('/', 1)[-1]} and SPAN/{closing.name}, as spans close by a {closing.kind}",
        )
    if closing.kind == "marker":
        return _by_marker(span, closing.name)
    if closing.kind == "manifest":
        return _by_manifest(span, closing.name, manifest)
    if closing.kind == "object":
        if span.folder:
            raise DataError("a folder is not a span where each object is one", where=span.data)
        return None
    return _by_quiet(span, closing.quiet_s, quiet_s)


def read_manifest(span: ListedSpan, closing: ClosingRule) -> bytes | None:
    """The content of a span's manifest, at most 8 MiB; None if it has none, or if the rule is not "manifest".

    Raises:
        OSError: as of `open`.
        HeadraceError: access to the store is denied, or the store failed.
    """
    if closing.kind != "manifest" or closing.name not in span.files:
        return None
    with storage.open_input(storage.join(span.data, closing.name)) as file:
        return file.read(_MAX_MANIFEST_BYTES)


def _by_marker(span: ListedSpan, name: str) -> IncompleteSpan | None:
    marker = span.files.get(name)
    if marker is None:
        return IncompleteSpan(f"the marker {name}")
    data = span.data_files
    if not data:
        raise DataError("the span has a marker and no data file", where=span.data)
    newest = max(data, key=lambda each: span.files[each].changed)
    if span.files[newest].changed > marker.changed:
        # A file was replaced. Others may follow, until the writer writes a new marker.
        return IncompleteSpan(f"a newer marker {name}: {newest} changed after it")
    return None


def _by_manifest(span: ListedSpan, name: str, content: bytes | None) -> IncompleteSpan | None:
    if content is None:
        return IncompleteSpan(f"the manifest {name}")
    where = f"{span.data}/{name}"
    named = _manifest(content, where)
    extra = sorted(set(span.data_files) - set(named))
    if extra:
        raise DataError("the span has files that its manifest does not name", where=where, received=listed(extra))
    for file, size in named.items():
        found = span.files.get(file)
        if found is None:
            return IncompleteSpan(f"the file {file}, which the manifest names")
        if size is not None and found.bytes != size:
            return IncompleteSpan(f"the rest of {file}: {found.bytes:,} of {size:,} bytes")
    return None


def _manifest(content: bytes, where: str) -> dict[str, int | None]:
    """The files that a manifest names, with their sizes in bytes; None for a file without a size."""
    expected = '{"files": [{"name": "a.csv", "bytes": 120}, ...]}'
    try:
        files: Any = json.loads(content)["files"]
        named = {str(each["name"]): each.get("bytes") for each in files}
        if not named or len(named) < len(files):
            raise ValueError("no file, or one that is named twice")
        for name, size in named.items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not is_data(name):
                raise ValueError(f"{name!r} is not the name of a data file")
            if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
                raise ValueError(f"the bytes of {name!r} are not a number")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            "the manifest is not valid", where=where, expected=expected, received=f"{type(error).__name__}: {error}"
        ) from error
    return named


def _by_quiet(span: ListedSpan, needed_s: float, quiet_s: float) -> IncompleteSpan | None:
    if span.unfinished:
        return IncompleteSpan(f"the end of {span.unfinished[0]}, whose name is that of an unfinished file")
    if not span.data_files:
        return IncompleteSpan("a data file")
    empty = [name for name in span.data_files if not span.files[name].bytes]
    if empty:
        return IncompleteSpan(f"the content of {empty[0]}")
    return IncompleteSpan(f"{needed_s:g} s without a change") if quiet_s < needed_s else None
