"""Places of submitted Problem files: below a run's root, where each step finds the file by a digest of what it reads.

    ROOT/problems/DIGEST/natality.py   a Problem file, and beside it the user's modules; never changed
    ROOT/problems/DIGEST.json          which of them a step reads, by the digest of the part that it reads

The steps of a run get one text, ROOT/problems/{digest}.json, and a digest each. So an edited gate changes no input of
the step that trains, and an engine's cache answers for it.
"""

from __future__ import annotations

from headrace.core import storage
from headrace.core.errors import DataError, ProblemError

_PLACEHOLDER = "{digest}"
# Digits that tell one file from another in a name.
DIGITS = 16


def template(root: str) -> str:
    """What the steps of a run below `root` get for the Problem file."""
    return storage.join(root, "problems", f"{_PLACEHOLDER}.json")


def resolve(path: str, digest: str) -> str:
    """Where the Problem file is.

    Args:
        path: a place, or a template.
        digest: of what the step reads.

    Raises:
        ProblemError: nothing was submitted under that digest.
    """
    if _PLACEHOLDER not in path:
        return path
    where = filled(path, digest)
    try:
        return str(storage.read_json(where)["problem"])
    except (DataError, KeyError, TypeError) as error:
        raise ProblemError(
            "there is no such Problem file",
            where=where,
            expected="the file that `headrace submit` wrote",
            received="no file" if isinstance(error, DataError) else "another file",
            fix="Submit the run again",
        ) from error


def filled(path: str, digest: str) -> str:
    """A template with its digest filled in."""
    return path.replace(_PLACEHOLDER, digest[:DIGITS])
