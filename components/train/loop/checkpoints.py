"""Checkpoints: the state of a training as files, written while it goes on, and found again whole or not at all.

A checkpoint is a folder `step-NNNNNNNNNNNN` with `arrays.bin`, the arrays one after the other, and `manifest.json`,
which comes last and says what they are and what their digest is. It lies in a folder of the run's identity, so that a
training never meets the state of another one.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace.components.train.options import Checkpointing
from headrace.core import storage
from headrace.core.errors import DataError, HeadraceError
from headrace.core.storage.output import publishing

_FOLDER = re.compile(r"step-([0-9]{12})\Z")
_ARRAYS, _MANIFEST = "arrays.bin", "manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        step: steps taken before it.
        facts: a JSON object.
        arrays: by name.
    """

    step: int
    facts: dict[str, Any]
    arrays: dict[str, Any]


class NotFinite(DataError):
    """A state with numbers that are not finite, which is not kept. Exit 2."""


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is written by a thread of its own, one at a time: the state is already a copy in host memory, so that
    training goes on meanwhile. One that cannot be written is told, and tried again when the next is due: the ones
    before it are still there.

    Args:
        options: where, how often, and how many are kept.
        identity: of the run; only its own checkpoints are found.
        tell: told of checkpoints that were skipped or could not be written.
        clock: seconds, of any beginning.

    Raises:
        UsageError: the folder cannot be written.
        PlatformError: the store failed.
    """

    def __init__(
        self,
        options: Checkpointing,
        identity: str,
        *,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = storage.join(options.folder, identity)
        self._options, self._identity, self._tell, self._clock = options, identity, tell, clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[float] | None = None
        self._last_step, self._last_time = 0, clock()
        self._write_seconds = 0.0

    def open(self) -> None:
        """Makes sure that the folder can be written, before hours of work depend on it.

        Raises:
            UsageError: it cannot be written.
            PlatformError: the store failed.
        """
        probe = storage.join(self.folder, ".writable")
        storage.write_bytes(probe, b"")
        storage.remove(probe)

    def clear(self) -> None:
        """Removes what a process that was killed had half-written; for the one process that writes here."""
        if not storage.is_remote(self.folder):
            for remains in storage.local_path(self.folder).glob(".step-*"):
                storage.remove(str(remains))

    def steps(self) -> list[int]:
        """The steps of which there are checkpoints, whole or damaged, the newest first."""
        return sorted((int(found[1]) for name in self._names() if (found := _FOLDER.match(name))), reverse=True)

    def read(self, step: int) -> Checkpoint:
        """The checkpoint of a step.

        Raises:
            DataError: it is damaged, not whole, or of another run.
        """
        uri = self._uri(step)
        manifest = storage.read_json(storage.join(uri, _MANIFEST))
        if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
            raise DataError("the manifest is of another format", where=uri, expected=f"format {_FORMAT}")
        if (manifest["identity"], manifest["step"]) != (self._identity, step):
            raise DataError(
                "it is of another run",
                where=uri,
                expected=f"{self._identity}, step {step}",
                received=f"{manifest['identity']}, step {manifest['step']}",
            )
        try:
            content = storage.read_bytes(storage.join(uri, _ARRAYS))
        except FileNotFoundError as error:
            raise DataError(f"there is no {_ARRAYS}", where=uri) from error
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            raise DataError(f"{_ARRAYS} is damaged", where=uri, expected=f"{manifest['bytes']} bytes with its digest")
        return Checkpoint(step, manifest["facts"], _unpack(content, manifest["arrays"]))

    def newest(self, *, at_most: int | None = None) -> Checkpoint | None:
        """The newest checkpoint that is whole, not after the step `at_most`; each damaged one is told of."""
        for step in self.steps():
            if at_most is not None and step > at_most:
                continue
            try:
                return self.read(step)
            except (DataError, KeyError, OSError, TypeError, ValueError) as error:
                received = error.paragraph if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
                self._tell(f"the checkpoint of step {step} is skipped for the one before it: {received}")
        return None

    def begin(self, step: int) -> None:
        """Counts the intervals from here: training begins, or goes on, at `step`."""
        self._last_step, self._last_time = step, self._clock()

    def due(self, step: int, call_seconds: float = 0.0) -> bool:
        """Whether to save now.

        Args:
            step: steps taken.
            call_seconds: until this is asked again. With the time that writing took, it is taken off the minutes: what
                a kill loses was trained since the beginning of the checkpoint before the one that is being written.
        """
        if self._options.steps is not None and step - self._last_step >= self._options.steps:
            return True
        passed = self._clock() - self._last_time + call_seconds + self._write_seconds
        return step > self._last_step and passed >= self._options.minutes * 60

    def steps_to_next(self, step: int) -> int | None:
        """Steps until one is due by steps; None where only minutes count."""
        return None if self._options.steps is None else max(1, self._last_step + self._options.steps - step)

    def save(
        self, step: int, facts: Mapping[str, Any], arrays: Mapping[str, Any], *, unbounded: Collection[str] = ()
    ) -> None:
        """Writes a checkpoint while training goes on; waits first for the one before it, if that is not yet written.

        Args:
            step: steps taken.
            facts: a JSON object.
            arrays: by name; they must not change afterwards.
            unbounded: names of arrays that may hold infinity or NaN. Where another one does, nothing is kept.
        """
        self.wait()
        self.begin(step)
        self._writing = self._pool.submit(self._write, step, dict(facts), dict(arrays), unbounded)

    def wait(self, *, strict: bool = False) -> None:
        """Waits until the last checkpoint is written, and tells if it could not be.

        Args:
            strict: raises instead.

        Raises:
            HeadraceError: with `strict`, why it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            self._write_seconds = writing.result()
        except HeadraceError as error:
            if strict:
                raise
            self._tell(f"a checkpoint could not be kept, and training goes on: {error.paragraph}")

    def close(self) -> None:
        """Waits for what is being written, and ends the thread."""
        self.wait()
        self._pool.shutdown()

    def remove(self) -> None:
        """Removes all checkpoints of the run, once its Model is published; nothing can be saved afterwards."""
        self.close()
        storage.remove(self.folder)
        if not storage.is_remote(self.folder):
            # What is above holds those of other runs too; it goes with the last of them.
            with suppress(OSError):
                storage.local_path(self.folder).parent.rmdir()

    def _uri(self, step: int) -> str:
        return storage.join(self.folder, f"step-{step:012d}")

    def _names(self) -> set[str]:
        try:
            found = storage.list_files(storage.join(self.folder, "*", "*"), ("",))
        except DataError:
            return set()
        return {uri.rsplit("/", 2)[1] for uri in found}

    def _write(self, step: int, facts: dict[str, Any], arrays: dict[str, Any], unbounded: Collection[str]) -> float:
        """The thread's work; seconds that it took."""
        began = self._clock()
        if wrong := sorted(not_finite(arrays) - set(unbounded)):
            raise NotFinite("the state is not finite", where=f"step {step}, {wrong[0]}", expected="finite numbers")
        uri = self._uri(step)
        with publishing(uri, None) as folder, storage.writing(uri):
            size, digest, described = _pack(folder / _ARRAYS, arrays)
            manifest = {
                "format": _FORMAT,
                "identity": self._identity,
                "step": step,
                "bytes": size,
                "sha256": digest,
                "arrays": described,
                "facts": facts,
            }
            storage.write_json(str(folder / _MANIFEST), manifest)
            _sync(folder)
        if not storage.is_remote(uri):
            _sync(storage.local_path(self.folder))
        self._prune(step)
        return self._clock() - began

    def _prune(self, newest: int) -> None:
        # Those after the newest are damaged: training went on from before them.
        names = {f"step-{step:012d}" for step in [s for s in self.steps() if s <= newest][: self._options.keep]}
        for name in self._names() - names:
            storage.remove(storage.join(self.folder, name))


def not_finite(arrays: Mapping[str, Any]) -> set[str]:
    """The names of arrays that hold infinity or NaN."""
    found = set()
    for name, array in arrays.items():
        # Of bfloat16, numpy knows only the bytes.
        values = array.astype(np.float32) if array.dtype.kind == "V" else array
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            found.add(name)
    return found


def _pack(path: Path, arrays: Mapping[str, Any]) -> tuple[int, str, list[dict[str, Any]]]:
    """Writes arrays one after the other: bytes, their SHA-256, and what they are."""
    digest, described = hashlib.sha256(), []
    with path.open("wb") as file:
        for name, array in arrays.items():
            content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            file.write(content)
            digest.update(content)
            described.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape)})
        file.flush()
        os.fsync(file.fileno())
        return file.tell(), digest.hexdigest(), described


def _unpack(content: bytes, described: list[dict[str, Any]]) -> dict[str, Any]:
    arrays, begin = {}, 0
    for entry in described:
        dtype = np.dtype(entry["dtype"])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        arrays[entry["name"]] = np.frombuffer(content, dtype, count, begin).reshape(entry["shape"])
        begin += count * dtype.itemsize
    return arrays


def _sync(folder: Path) -> None:
    """Puts the names in a local folder on disk, so that a machine that loses power still has them."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
