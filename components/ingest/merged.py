"""Merged statistics of a window, from those of its spans, so that adding a span reads few files.

The spans, in order, are the leaves of a tree whose shape depends only on their names: a group ends with a span whose
hash ends in enough zero bits, one in four on each level. The same spans therefore have the same tree and the same bytes
of statistics, whatever the earlier windows were. Groups in the middle of the window are shared with adjacent windows,
and stored when they are first merged. The groups at both ends, of about four members on each level, are merged each
time.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import google_crc32c

from headrace.components.preprocess.append_index import kept_statistics
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest
from headrace.core.errors import DataError
from headrace.core.statistics.file import from_bytes, to_bytes
from headrace.core.statistics.measure import TableStatistics, merge_all
from headrace.core.steps.step import identity

# Folder of the stored files. No span's name begins with an underscore.
_FOLDER = "_statistics"
_FORMAT = 1
# One span in 2^2 ends a group of the first level, one in 2^4 a group of the second, and so on.
_BITS = 2
_AT_ONCE = 16


@dataclass(frozen=True)
class Leaf:
    """A span with train rows.

    Attributes:
        span: name of the span.
        key: identity of its Examples.
        uri: URI of its Examples.
        manifest: manifest of its Examples.
    """

    span: str
    key: str
    uri: str
    manifest: Manifest


@dataclass(frozen=True)
class _Node:
    """Merged statistics: the digest of their parts, the name of the last span, and a function that reads them."""

    digest: str
    last: str
    read: Callable[[], TableStatistics]


def merged_statistics(folder: str, leaves: Sequence[Leaf]) -> TableStatistics | None:
    """The statistics of all train rows of a window; None if there are none.

    Args:
        folder: URI of the folder of all spans, in which groups are stored.
        leaves: the spans, in order.

    Raises:
        DataError: the statistics of a span are missing or damaged.
        UsageError: the folder cannot be written.
        PlatformError: the disk or the service failed.
    """
    nodes = [_Node(leaf.key, leaf.span, functools.partial(kept_statistics, leaf.uri, leaf.manifest)) for leaf in leaves]
    level = 0
    while len(nodes) > 1:
        level += 1
        nodes = _level(folder, nodes, level)
    return nodes[0].read() if nodes else None


def _level(folder: str, nodes: Sequence[_Node], level: int) -> list[_Node]:
    groups: list[list[_Node]] = [[]]
    for node in nodes:
        groups[-1].append(node)
        if _ends_group(node.last, level):
            groups.append([])
    # The last group is closed if an empty one follows it; the first may have begun before the window.
    closed = len(groups) - 1
    return [_group(folder, group, stored=0 < place < closed) for place, group in enumerate(groups) if group]


def _group(folder: str, nodes: Sequence[_Node], *, stored: bool) -> _Node:
    if len(nodes) == 1:
        return nodes[0]
    digest = identity("statistics", format=_FORMAT, parts=[node.digest for node in nodes])
    where = storage.join(folder, _FOLDER, f"{digest}.arrow")

    def read() -> TableStatistics:
        found = _stored(where) if stored else None
        if found is None:
            found = merge_all(_read(nodes, at_once=storage.is_remote(folder)))
            if stored:
                content = to_bytes(found)
                storage.write_bytes(where, _checksum(content) + content)
        return found

    return _Node(digest, nodes[-1].last, read)


def _read(nodes: Sequence[_Node], *, at_once: bool) -> list[TableStatistics]:
    if not at_once:
        return [node.read() for node in nodes]
    # Each object needs a request, whose latency dominates.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda node: node.read(), nodes))


def _ends_group(span: str, level: int) -> bool:
    number = int.from_bytes(hashlib.sha256(span.encode()).digest()[:8], "big")
    return number % (1 << min(_BITS * level, 64)) == 0


def _stored(where: str) -> TableStatistics | None:
    """The statistics in a file; None if it is missing or damaged, because they can be merged again."""
    try:
        content = storage.read_bytes(where)
        return from_bytes(content[4:]) if content[:4] == _checksum(content[4:]) else None
    except (FileNotFoundError, DataError):
        return None


def _checksum(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(4, "big")
