"""Checkpoints: the state of a training as files, written during training and verified when read.

A checkpoint is a folder `step-NNNNNNNNNNNN` with `arrays.bin`, the concatenated arrays, and `manifest.json`, which
is written last and holds their names, shapes, types and digest. Its parent folder is named by the run's identity:
a training never reads the state of another one.
"""

from __future__ import annotations

import hashlib
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
    """The content of a checkpoint.

    Attributes:
        step: number of steps before it.
        facts: a JSON object.
        arrays: by name.
    """

    step: int
    facts: dict[str, Any]
    arrays: dict[str, Any]


class NotFiniteState(DataError):
    """A state with numbers that are not finite, which is not saved. Exit 2."""


class Checkpoints:
    """The checkpoints of one run.

    A thread writes one checkpoint at a time. The state is already a copy in host memory, so training continues
    meanwhile. A failed write is reported and retried when the next checkpoint is due: earlier checkpoints still exist.

    Args:
        options: the folder, the intervals and the number of checkpoints to retain.
        identity: of the run; checkpoints of other runs are ignored.
        tell: called with a message per checkpoint that is skipped or cannot be written.
        clock: seconds from any origin.

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
        """Checks that the folder is writable before hours of work depend on it.

        Raises:
            UsageError: the folder is not writable.
            PlatformError: the store failed.
        """
        probe = storage.join(self.folder, ".writable")
        storage.write_bytes(probe, b"")
        storage.remove(probe)

    def clear(self) -> None:
        """Removes partial files of a killed process. Only the process that writes checkpoints calls this."""
        if not storage.is_remote(self.folder):
            for remains in storage.local_path(self.folder).glob(".step-*"):
                storage.remove(str(remains))

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, complete or damaged, newest first."""
        return sorted((int(match[1]) for name in self._names() if (match := _FOLDER.match(name))), reverse=True)

    def read(self, step: int) -> Checkpoint:
        """Reads the checkpoint of a step.

        Raises:
            DataError: it is damaged, incomplete or of another run.
        """
        uri = self._uri(step)
        manifest = storage.read_json(storage.join(uri, _MANIFEST))
        if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
            raise DataError("the manifest has another format", where=uri, expected=f"format {_FORMAT}")
        if (manifest["identity"], manifest["step"]) != (self._identity, step):
            raise DataError(
                "the checkpoint is of another run",
                where=uri,
                expected=f"{self._identity}, step {step}",
                received=f"{manifest['identity']}, step {manifest['step']}",
            )
        try:
            content = storage.read_bytes(storage.join(uri, _ARRAYS))
        except FileNotFoundError as error:
            raise DataError(f"{_ARRAYS} is missing", where=uri) from error
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            raise DataError(
                f"{_ARRAYS} is damaged", where=uri, expected=f"{manifest['bytes']} bytes with the manifest's digest"
            )
        return Checkpoint(step, manifest["facts"], _unpack(content, manifest["arrays"]))

    def newest(self, *, at_most: int | None = None) -> Checkpoint | None:
        """The newest complete checkpoint, up to the step `at_most`; each damaged one is reported."""
        for step in self.steps():
            if at_most is not None and step > at_most:
                continue
            try:
                return self.read(step)
            except (DataError, KeyError, OSError, TypeError, ValueError) as error:
                received = error.paragraph if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
                self._tell(f"the checkpoint of step {step} is skipped and the previous one is used: {received}")
        return None

    def begin(self, step: int) -> None:
        """Starts the intervals: training starts or resumes at `step`."""
        self._last_step, self._last_time = step, self._clock()

    def due(self, step: int, call_seconds: float = 0.0) -> bool:
        """Whether to save now.

        Args:
            step: number of steps so far.
            call_seconds: time to the next check. It and the time of the last write are subtracted from the interval,
                because a kill during a write loses all steps since the start of the previous checkpoint.
        """
        if self._options.steps is not None and step - self._last_step >= self._options.steps:
            return True
        passed = self._clock() - self._last_time + call_seconds + self._write_seconds
        return step > self._last_step and passed >= self._options.minutes * 60

    def steps_to_next(self, step: int) -> int | None:
        """Steps until the next checkpoint; None if the interval is in minutes only."""
        return None if self._options.steps is None else max(1, self._last_step + self._options.steps - step)

    def save(
        self, step: int, facts: Mapping[str, Any], arrays: Mapping[str, Any], *, unbounded: Collection[str] = ()
    ) -> None:
        """Writes a checkpoint in the background, after the previous one is written.

        Args:
            step: number of steps so far.
            facts: a JSON object.
            arrays: by name; they must not change afterwards.
            unbounded: names of arrays that may hold infinity or NaN. If any other array does, nothing is saved.
        """
        self.wait()
        self.begin(step)
        self._writing = self._pool.submit(self._write, step, dict(facts), dict(arrays), unbounded)

    def wait(self, *, strict: bool = False) -> None:
        """Waits until the last checkpoint is written, and reports a failure.

        Args:
            strict: raises the failure instead.

        Raises:
            HeadraceError: with `strict`, the checkpoint could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            self._write_seconds = writing.result()
        except HeadraceError as error:
            if strict:
                raise
            self._tell(f"a checkpoint could not be written, and training continues: {error.paragraph}")

    def close(self) -> None:
        """Waits for the current write and ends the thread."""
        self.wait()
        self._pool.shutdown()

    def remove(self) -> None:
        """Removes all checkpoints of the run after its Model is published; no checkpoint can be saved afterwards."""
        self.close()
        storage.remove(self.folder)
        if not storage.is_remote(self.folder):
            # The parent folder holds other runs' checkpoints too; it is removed with the last of them.
            with suppress(OSError):
                storage.local_path(self.folder).parent.rmdir()

    def _uri(self, step: int) -> str:
        return storage.join(self.folder, f"step-{step:012d}")

    def _names(self) -> set[str]:
        try:
            uris = storage.list_files(storage.join(self.folder, "*", "*"), ("",))
        except DataError:
            return set()
        return {uri.rsplit("/", 2)[1] for uri in uris}

    def _write(self, step: int, facts: dict[str, Any], arrays: dict[str, Any], unbounded: Collection[str]) -> float:
        """Writes a checkpoint, in the thread; returns the seconds of the write."""
        began = self._clock()
        if wrong := sorted(not_finite(arrays) - set(unbounded)):
            raise NotFiniteState("the state is not finite", where=f"step {step}, {wrong[0]}", expected="finite numbers")
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
        self._prune(step)
        return self._clock() - began

    def _prune(self, newest: int) -> None:
        # Checkpoints after the newest are damaged: training resumed from an earlier one.
        names = {f"step-{step:012d}" for step in [s for s in self.steps() if s <= newest][: self._options.keep]}
        for name in self._names() - names:
            storage.remove(storage.join(self.folder, name))


def not_finite(arrays: Mapping[str, Any]) -> set[str]:
    """The names of arrays that hold infinity or NaN."""
    names = set()
    for name, array in arrays.items():
        # numpy reads bfloat16 as raw bytes.
        values = array.astype(np.float32) if array.dtype.kind == "V" else array
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            names.add(name)
    return names


def _pack(path: Path, arrays: Mapping[str, Any]) -> tuple[int, str, list[dict[str, Any]]]:
    """Writes concatenated arrays; returns their bytes, their SHA-256 and their descriptions."""
    digest, described = hashlib.sha256(), []
    with path.open("wb") as file:
        for name, array in arrays.items():
            content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            file.write(content)
            digest.update(content)
            described.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape)})
        return file.tell(), digest.hexdigest(), described


def _unpack(content: bytes, described: list[dict[str, Any]]) -> dict[str, Any]:
    arrays, begin = {}, 0
    for entry in described:
        dtype = np.dtype(entry["dtype"])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        arrays[entry["name"]] = np.frombuffer(content, dtype, count, begin).reshape(entry["shape"])
        begin += count * dtype.itemsize
    return arrays
