"""Retry of refused batches: finds the rows of batches that a job's container refused, and sends them one by one.

For a refused batch, a job reports the container's message and the number of instances, but not the instances: these are
the rows without a prediction. Without a retry, one bad row among 64 would cost the others their predictions.
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

# A replica predicts some hundred single rows per second. A container that refuses more rows than this does not refuse
# single bad rows.
LARGEST = 100_000
_CHUNK = 1 << 14


@dataclass(frozen=True)
class RefusedBatchRows:
    """Rows of refused batches.

    Attributes:
        lines: their instances, and one row with a prediction, without which a job whose rows are all refused would
            fail as a whole; empty if there are too many rows.
        rows: number of rows.
        digest: of the lines.
    """

    lines: tuple[bytes, ...]
    rows: int
    digest: str

    @property
    def note(self) -> str:
        """The message about them."""
        if self.lines:
            return f"{self.rows:,} rows of batches that the container refused are sent again, one by one"
        return (
            f"{self.rows:,} rows of batches that the container refused are not sent again: "
            f"they are more than {LARGEST:,}, or the container returned no prediction"
        )

    def write(self, folder: str, instances: Instances) -> Instances:
        """Writes them for a job; those of an earlier run are reused.

        Args:
            folder: its name contains their digest.
            instances: of the job that refused them.
        """
        record = storage.join(folder, "instances.json")
        earlier = Instances.read(record)
        if earlier is not None:
            return earlier
        uri = storage.join(folder, "part-000000.jsonl")
        storage.write_bytes(uri, b"".join(line.rstrip(b"\r") + b"\n" for line in self.lines))
        refused = Instances((uri,), instances.key_field, instances.naming)
        refused.write(record)
        return refused


def find_refused(instances: Instances, results: Results, batch_size: int) -> RefusedBatchRows | None:
    """Finds the rows of refused batches; None if there are none.

    If rows are named by their keys, rows with a repeated key lose their predictions: if one of them is refused, the
    prediction of the other would be used for both.

    Args:
        instances: of the job.
        results: of the job; they record whether rows were alone in their batches.
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
        return RefusedBatchRows((), rows, "")
    chosen: list[bytes] = []
    witness: bytes | None = None
    for chunk, named, mask in zip(_chunks(instances), names, lost, strict=True):
        chosen += [chunk[at] for at in np.flatnonzero(mask)]
        if witness is None and (answered := np.flatnonzero(results.find(named) >= 0)).size:
            witness = chunk[answered[0]]
            chosen.append(witness)
    return RefusedBatchRows(tuple(chosen), rows, hashlib.sha256(b"\n".join(chosen)).hexdigest())


def _chunks(instances: Instances) -> Iterator[list[bytes]]:
    for pattern in instances.uris:
        for path in list_paths(pattern):
            lines = lines_of(path)
            while chunk := list(itertools.islice(lines, _CHUNK)):
                yield chunk


def _names(lines: Sequence[bytes], key_field: str) -> Names:
    return np.array([name_of(object_of(line), key_field) or b"" for line in lines], np.bytes_)
