"""Check of Predictions: verifies an artifact against its manifest before others read it."""

from __future__ import annotations

from dataclasses import dataclass

import google_crc32c

from headrace.core import storage
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.errors import DataError, UsageError
from headrace.core.progress import Progress, silent

_CHUNK = 4 << 20


@dataclass(frozen=True)
class CheckResult:
    """Result of a successful check.

    Attributes:
        manifest: the consistent manifest.
        bytes: number of bytes read.
        divergence: Jensen-Shannon divergence of the predictions from the label in training; None if unknown.
    """

    manifest: PredictionsManifest
    bytes: int
    divergence: float | None


def check(predictions: str, max_divergence: float = 0.0, report: Progress = silent) -> CheckResult:
    """Reads every file of a Predictions artifact, and compares it with the manifest.

    Args:
        predictions: the artifact.
        max_divergence: maximum divergence from the label in training; 0 for no limit.
        report: called with the file that is read.

    Raises:
        DataError: a file is missing or differs, rows are not accounted for, or the predictions have drifted.
        UsageError: a limit is set, but the training data's distribution is unknown.
    """
    if not 0 <= max_divergence <= 1:
        raise UsageError("max_divergence is wrong", expected="0 to 1", received=repr(max_divergence))
    manifest = PredictionsManifest.read(predictions)
    total = 0
    for number, file in enumerate(manifest.files, 1):
        where = storage.join(predictions, file.file)
        size, crc32c = _measured(where)
        if (size, crc32c) != (file.bytes, file.crc32c):
            raise DataError(
                "the file is not the one that the manifest lists",
                where=where,
                expected=f"{file.bytes:,} bytes with CRC-32C {file.crc32c}",
                received=f"{size:,} bytes with {crc32c}",
                fix="Score again, or restore the file",
            )
        total += size
        report(f"{number} of {len(manifest.files)} files checked", done=number, total=len(manifest.files))
    kept = sum(_lines(storage.join(predictions, file)) for file in manifest.quarantine.files)
    if kept != manifest.rows_quarantined:
        raise DataError(
            "the quarantine does not hold the rows that the manifest counts",
            where=predictions,
            expected=f"{manifest.rows_quarantined:,}",
            received=f"{kept:,}",
        )
    return CheckResult(manifest, total, _divergence(predictions, manifest, max_divergence))


def _divergence(predictions: str, manifest: PredictionsManifest, most: float) -> float | None:
    training = manifest.distribution.get("training")
    apart = None if training is None else float(training["jensen_shannon"])
    if not most:
        return apart
    if apart is None:
        raise UsageError(
            "nothing is known of the data that the model learned from",
            where=predictions,
            expected="a Model that predicts its label",
            fix="Leave out --max-divergence",
        )
    if apart > most:
        raise DataError(
            "the predictions have drifted from the label in training",
            where=predictions,
            expected=f"a Jensen-Shannon divergence of at most {most:g}",
            received=f"{apart:.4g}",
            fix="Look at the distribution in manifest.json; train on newer data, or allow more by --max-divergence",
        )
    return apart


def _measured(where: str) -> tuple[int, str]:
    """Bytes and CRC-32C of a file."""
    size, checksum = 0, google_crc32c.Checksum()
    try:
        with storage.open_input(where) as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
                checksum.update(chunk)
    except FileNotFoundError as error:
        raise DataError("a file of the predictions is missing", where=where) from error
    return size, checksum.digest().hex()


def _lines(where: str) -> int:
    try:
        with storage.open_input(where) as file:
            return sum(1 for _ in file)
    except FileNotFoundError as error:
        raise DataError("a file of the quarantine is missing", where=where) from error
