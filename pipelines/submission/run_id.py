"""Run id, derived from the pipeline, its parameters and the data's version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.core.steps.step import identity

# Parameters that differ between submissions of the same run.
_OF_THE_SUBMISSION = ("run_id", "started")
# Characters reserved for the digest and the number of the attempt.
_RESERVED = 24
_LONGEST = 128


def derive(documents: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], name: str) -> str:
    """Derives the name of a run.

    Args:
        documents: of the compiled spec, including images: another image is another run.
        parameters: of the pipeline, including the data's version.
        name: prefix, such as the problem's name.

    Returns:
        NAME-DIGEST, in a-z, 0-9 and -, starting with a letter: platforms accept it as a name and as a label.
    """
    facts = {key: value for key, value in parameters.items() if key not in _OF_THE_SUBMISSION}
    digest = identity("submission", spec=[dict(document) for document in documents], parameters=facts)
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"run-{plain}".rstrip("-")
    return f"{plain[: _LONGEST - _RESERVED].rstrip('-')}-{digest[:12]}"


def attempt(run_id: str, number: int) -> str:
    """The name of the first, second, ... attempt at a run."""
    return run_id if number == 1 else f"{run_id}-{number}"
