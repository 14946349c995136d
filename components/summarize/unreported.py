"""Error of a run whose steps reported none, and whose records are not those of a whole run."""

from __future__ import annotations

from headrace.core.errors import PlatformError
from headrace.core.steps import identity


def unreported(step: str, fix: str) -> PlatformError:
    """The error of a run without the record of a step.

    Args:
        step: the first one without a record, or "the pipeline".
        fix: what to do.
    """
    if identity.code_changed():
        return PlatformError(
            "the code of headrace changed while the run was under way",
            where="core or components of headrace",
            expected="the same code in all steps",
            received="another digest of the source than at the start",
            fix=fix,
        )
    return PlatformError(f"{step} exited without an error message: it was killed, or ran out of memory", fix=fix)
