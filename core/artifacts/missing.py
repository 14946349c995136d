"""The error for a folder that holds no artifact of the kind that a step needs."""

from __future__ import annotations

from typing import Literal

from headrace.core import storage
from headrace.core.errors import UsageError

Kind = Literal["Examples", "Model", "Predictions"]

# The file that is written last, and the command that writes it.
_MARKERS: dict[Kind, tuple[str, str]] = {
    "Examples": ("manifest.json", "preprocess"),
    "Model": ("training.json", "train"),
    "Predictions": ("manifest.json", "score"),
}


def marker_of(kind: Kind, uri: str) -> str:
    """URI of the file by which an artifact is known, whether it is there or not."""
    return storage.join(uri, _MARKERS[kind][0])


def is_there(kind: Kind, uri: str) -> bool:
    """Whether a folder may be such an artifact: the file that is written last is in it."""
    return storage.exists(marker_of(kind, uri))


def no_artifact(kind: Kind, uri: str, *, option: str = "", received: str = "") -> UsageError:
    """The error to raise.

    Args:
        kind: what is needed.
        uri: the folder that was given.
        option: of the command line that named it; "" where that is not known.
        received: what is there instead; by default, what can be seen.
    """
    marker, command = _MARKERS[kind]
    if not received:
        received = f"a folder without {marker}" if storage.exists(uri) else "no such folder"
    return UsageError(
        f"this folder holds no {kind}",
        where=f"{option} {uri}".strip(),
        expected=f"a folder with {marker}, which `headrace {command}` writes last",
        received=received,
        fix=f"Give a folder that `headrace {command}` wrote, or run it again where it was interrupted",
    )
