"""Paths of submitted Problem files below a pipeline root, from which each step reads the file by a digest of its part.

    ROOT/problems/DIGEST/natality.py   a Problem file, with the user's modules in its folder; never changed
    ROOT/problems/DIGEST.json          the Problem file that a step reads, by the digest of the step's part

The steps of a run receive one text, ROOT/problems/{digest}.json, and a digest each. An edited gate therefore changes no
input of the training step, which is a cache hit.
"""

from __future__ import annotations

from headrace.core import storage
from headrace.core.errors import DataError, ProblemError

_PLACEHOLDER = "{digest}"
# Number of digits of a digest in a name.
DIGITS = 16


def template(root: str) -> str:
    """The path of the Problem file that the steps of a run below `root` receive."""
    return storage.join(root, "problems", f"{_PLACEHOLDER}.json")


def resolve(path: str, digest: str) -> str:
    """Finds the Problem file.

    Args:
        path: a path, or a template.
        digest: digest of the part that the step reads.

    Raises:
        ProblemError: no file was submitted with that digest.
    """
    if _PLACEHOLDER not in path:
        return path
    where = filled(path, digest)
    try:
        return str(storage.read_json(where)["problem"])
    except (DataError, KeyError, TypeError) as error:
        raise ProblemError(
            "the Problem file does not exist",
            where=where,
            expected="the file that `headrace submit` wrote",
            received="no file" if isinstance(error, DataError) else "another file",
            fix="Submit the run again",
        ) from error


def filled(path: str, digest: str) -> str:
    """A template with its digest filled in."""
    return path.replace(_PLACEHOLDER, digest[:DIGITS])
