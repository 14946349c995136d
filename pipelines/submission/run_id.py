"""A run's name follows from what is run: the pipeline, its parameters and the data's version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.core.steps.step import identity

# What differs from one submission of the same run to the next.
_OF_THE_SUBMISSION = ("run_id", "started")
# What a digest adds to a name, and what attempts may add to that.
_RESERVED = 24
_LONGEST = 128


def derive(documents: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], name: str) -> str:
    """The name of a run.

    Args:
        documents: the compiled spec, images and all: another image is another run.
        parameters: of the pipeline, the data's version among them.
        name: what it starts with, such as the problem's name.

    Returns:
        NAME-DIGEST, in a-z, 0-9 and -, beginning with a letter: platforms take it as a name and as a label.
    """
    facts = {key: value for key, value in parameters.items() if key not in _OF_THE_SUBMISSION}
    digest = identity("submission", spec=[dict(document) for document in documents], parameters=facts)
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"run-{plain}".rstrip("-")
    return f"{plain[: _LONGEST - _RESERVED].rstrip('-')}-{digest[:12]}"


def attempt(run_id: str, number: int) -> str:
    """The name of the first, second, ... attempt at a run."""
    return run_id if number == 1 else f"{run_id}-{number}"
