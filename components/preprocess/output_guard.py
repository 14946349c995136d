"""Output guard: refuses to overwrite Examples with spans or appended rows, which one run's data cannot restore."""

from __future__ import annotations

from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.artifacts.missing import is_there
from headrace.core.errors import UsageError
from headrace.core.storage.output_check import check_output
from headrace.core.text import counted, listed


def check_place(output: str, *, problem: str, data: str, baseline: str = "") -> None:
    """Checks that `output` is unused or holds Examples, and does not hold an input.

    Raises:
        UsageError: it holds something else, or an input.
    """
    check_output(output, EXAMPLES, inputs={"--data": data, "--problem": problem, "--baseline": baseline})


def check_replaceable(output: str) -> None:
    """Checks that Examples at `output`, if any, were made by one run, so that they can be made again.

    Raises:
        UsageError: they have spans or appended rows.
        DataError: there is a manifest.json of something else.
    """
    if not is_there("Examples", output):
        return
    there = Manifest.read(output)
    if there.spans:
        names = [span.span for span in there.spans]
        raise UsageError(
            f"the Examples there consist of {counted(len(names), 'span')}, which this would replace",
            where=output,
            expected="--span to add to them, or another --output",
            received=f"the {'spans' if len(names) > 1 else 'span'} {listed(names)}, {counted(there.rows_in, 'row')}",
            fix="Give --replace if they are to go",
        )
    if there.appended:
        rows = sum(added.rows for added in there.appended)
        were = "was" if rows == 1 else "were"
        raise UsageError(
            f"{counted(rows, 'row')} {were} appended to the Examples there, which this would replace",
            where=output,
            expected="--append to add to them, or another --output",
            received=f"{counted(there.rows_in, 'row')} in all",
            fix="Give --replace if they are to go",
        )
