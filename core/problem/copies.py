"""Copies of a Problem file and its modules below a run's root, written before the run starts."""

from __future__ import annotations

import json
from collections.abc import Mapping

from headrace.core import storage
from headrace.core.problem.file import ProblemFile
from headrace.core.problem.places import DIGITS, filled, template


def contents(file: ProblemFile, root: str) -> dict[str, bytes]:
    """The files to write below `root` before a run starts: content by URI, in the order of writing."""
    folder = storage.join(root, "problems", file.digest[:DIGITS])
    place = storage.join(folder, file.path.rsplit("/", 1)[-1])
    written = {storage.join(folder, name): text.encode() for name, text in file.files.items()}
    # A file that points to another one is written after it.
    written[place] = file.source.encode()
    pointer = json.dumps({"format": 1, "problem": place}).encode()
    return written | {filled(template(root), digest): pointer for digest in file.digests.values()}


def write(contents: Mapping[str, bytes]) -> None:
    """Writes the result of `contents`.

    Raises:
        UsageError: the root is not writable.
        PlatformError: the disk is full, or the service failed.
    """
    for uri, content in contents.items():
        storage.write_bytes(uri, content)
