"""Digest of a SavedModel: what names the version of one that names none."""

from __future__ import annotations

import hashlib

from headrace.core import storage


def saved_model_digest(folder: str) -> str:
    """What names the version of a SavedModel that names none: 16 hexadecimal digits of every file below its folder.

    Assets and `assets.extra` belong to it: a vocabulary that is read from a file decides what the model answers.
    """
    total = hashlib.sha256()
    for name, file in storage.files_below(folder).items():
        total.update(f"{name}\0{storage.fingerprint([file])}\n".encode())
    return total.hexdigest()[:16]
