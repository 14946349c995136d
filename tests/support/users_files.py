"""Files of the user's in an artifact: one in each of its folders, none of which a new artifact may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.errors import UsageError
from headrace.core.storage.output import publishing
from headrace.core.storage.output_check import Artifact, check_output


def check_users_files_stay(artifact: Path, kind: Artifact, *folders: str) -> None:
    """Checks that an artifact can be replaced, and with a file of the user's in any of its folders cannot.

    Args:
        artifact: as headrace wrote it; it is as before at the end.
        kind: of the artifact.
        folders: some that it must have, so that they are among those checked.
    """
    check_output(str(artifact), kind)
    within = [artifact, *sorted(path for path in artifact.rglob("*") if path.is_dir())]
    assert {artifact / name for name in folders} <= set(within)
    for folder in within:
        # Names as of headrace's files nearby, too: what the manifest does not list is not headrace's.
        for name in ("thesis.txt", "corrected.csv", "part-00099-of-00100.jsonl", "notes/years/thesis.txt"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("years of work")
            shown = path.relative_to(artifact).as_posix() if folder != artifact or "/" not in name else "notes"
            with pytest.raises(UsageError, match="the output already holds something else") as caught:
                check_output(str(artifact), kind)
            assert shown in str(caught.value.received)
            with pytest.raises(UsageError, match="Nothing was changed"), publishing(str(artifact), kind):
                pass
            assert path.read_text() == "years of work"
            path.unlink()
        (folder / "notes" / "years").rmdir()
        (folder / "notes").rmdir()
    check_output(str(artifact), kind)
