"""Missing artifact: the error for a folder that does not contain the kind of artifact that a step needs."""

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
    """URI of the file that marks a complete artifact, whether or not it exists."""
    return storage.join(uri, _MARKERS[kind][0])


def is_there(kind: Kind, uri: str) -> bool:
    """Whether the file that is written last exists in the folder."""
    return storage.exists(marker_of(kind, uri))


def no_artifact(kind: Kind, uri: str, *, option: str = "", received: str = "") -> UsageError:
    """Returns the error to raise.

    Args:
        kind: the required kind of artifact.
        uri: the folder.
        option: the option of the command line that named it; "" if unknown.
        received: the content of the folder; determined here by default.
    """
    marker, command = _MARKERS[kind]
    if not received:
        received = f"a folder without {marker}" if storage.exists(uri) else "the folder does not exist"
    return UsageError(
        f"this folder holds no {kind}",
        where=f"{option} {uri}".strip(),
        expected=f"a folder with {marker}, which `headrace {command}` writes last",
        received=received,
        fix=f"Pass a folder that `headrace {command}` wrote, or run the command again if it was interrupted",
    )
