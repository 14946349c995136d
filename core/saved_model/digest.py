"""SavedModel digest: the version of a SavedModel without a version of its own."""

from __future__ import annotations

import hashlib

from headrace.core import storage


def saved_model_digest(folder: str) -> str:
    """The version of a SavedModel without one: 16 hexadecimal digits of a digest of all files below its folder.

    Assets and `assets.extra` count: a vocabulary that is read from a file affects predictions.
    """
    total = hashlib.sha256()
    for name, file in storage.files_below(folder).items():
        total.update(f"{name}\0{storage.fingerprint([file])}\n".encode())
    return total.hexdigest()[:16]
