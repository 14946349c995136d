"""Rows of the birth-weight example: births.csv, which examples/natality/fetch.py downloads once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NATALITY = Path(__file__).parents[2] / "examples" / "natality"
BIRTHS = NATALITY / "births.csv"


def fetch_births() -> None:
    """Makes `BIRTHS`, if it is not there.

    Raises:
        RuntimeError: it cannot be downloaded.
    """
    if BIRTHS.exists():
        return
    done = subprocess.run([sys.executable, str(NATALITY / "fetch.py")], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the rows of examples/natality are missing: {done.stderr.strip()}")
