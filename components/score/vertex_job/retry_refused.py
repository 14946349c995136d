"""Finds the rows of batches that a job's container refused, so that a second job gives them to it one by one.

A job says of a refused batch what its container said and how many instances it had, and not which: they are those
that have no answer. One guilty row among 64 would cost the others their predictions.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.components.score.vertex_job.instances import Instances
from headrace.components.score.vertex_job.results import Names, Results, lines_of, name_of, object_of
from headrace.core import storage
from headrace.core.sources.open import list_paths

# One by one, a replica answers some hundred rows a second. A container that refuses more than these is not refusing
# some guilty rows.
LARGEST = 100_000
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Refused:
    """Rows that were refused.

    Attributes:
        lines: their instances, and one that has an answer, without which a job in which all are refused again would
            fail as a whole; none if there are too many.
        rows: how many there are.
        digest: of the lines.
    """

    lines: tuple[bytes, ...]
    rows: int
    digest: str

    @property
    def note(self) -> str:
        """What is said of them."""
        if self.lines:
            return f"{self.rows:,} rows of batches that the container refused are sent to it again, one by one"
        return (
            f"{self.rows:,} rows of batches that the container refused are not sent to it again: "
            f"they are more than {LARGEST:,}, or it answered none"
        )

    def write(self, folder: str, instances: Instances) -> Instances:
        """Puts them where a job reads them; those of an earlier run are left as they are.

        Args:
            folder: where they go; it is known by their digest.
            instances: of which they are.
        """
        record = storage.join(folder, "instances.json")
        earlier = Instances.read(record)
        if earlier is not None:
            return earlier
        uri = storage.join(folder, "part-000000.jsonl")
        storage.write_bytes(uri, b"".join(line.rstrip(b"\r") + b"\n" for line in self.lines))
        made = Instances((uri,), instances.key_field, instances.naming)
        made.write(record)
        return made


def find_refused(instances: Instances, results: Results, batch_size: int) -> Refused | None:
    """The rows of batches that were refused; None if there are none.

    Where rows are known by their keys, those that share one are found too, and lose their answers: with one of them
    refused, the other's would be taken for both.

    Args:
        instances: what the job read.
        results: what it answered; that rows were alone in their batches is put on record there.
        batch_size: of the job.
    """
    if not results.complained:
        return None
    results.alone = batch_size == 1
    names = [_names(chunk, instances.key_field) for chunk in _chunks(instances)]
    if instances.naming == "key" and names:
        every, counts = np.unique(np.concatenate(names), return_counts=True)
        results.forget(every[counts > 1], "several rows have this key")
    lost = [results.unanswered(chunk) for chunk in names]
    rows = int(sum(mask.sum() for mask in lost))
    if results.alone or not rows:
        return None
    if rows > LARGEST or not len(results.names):
        return Refused((), rows, "")
    chosen: list[bytes] = []
    witness: bytes | None = None
    for chunk, named, mask in zip(_chunks(instances), names, lost, strict=True):
        chosen += [chunk[at] for at in np.flatnonzero(mask)]
        if witness is None and (answered := np.flatnonzero(results.find(named) >= 0)).size:
            witness = chunk[answered[0]]
            chosen.append(witness)
    return Refused(tuple(chosen), rows, hashlib.sha256(b"\n".join(chosen)).hexdigest())


def _chunks(instances: Instances) -> Iterator[list[bytes]]:
    for pattern in instances.uris:
        for path in list_paths(pattern):
            lines = lines_of(path)
            while chunk := list(itertools.islice(lines, _CHUNK)):
                yield chunk


def _names(lines: Sequence[bytes], key_field: str) -> Names:
    return np.array([name_of(object_of(line), key_field) or b"" for line in lines], np.bytes_)
