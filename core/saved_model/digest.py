"""Digest of a SavedModel: what names the version of one that names none."""

from __future__ import annotations

from headrace.core import storage


def saved_model_digest(folder: str) -> str:
    """What names the version of a SavedModel that names none: 16 hexadecimal digits of its files."""
    files = storage.list_files(folder, ("",))
    variables = storage.join(folder, "variables")
    if storage.exists(variables):
        files += storage.list_files(variables, ("",))
    return storage.fingerprint(files)[:16]
