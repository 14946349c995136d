"""Names of features: unique identifiers derived from the names of columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from headrace.core.problem.features import COLUMN_NAME, RESERVED_NAMES

_LENGTH = 63


def feature_names(columns: Iterable[str], *, taken: Iterable[str] = ()) -> dict[str, str]:
    """The feature name of each column: the column's name if it is valid, else a similar one.

    "Body Mass (g)" becomes "body_mass_g". No two names differ in case only.

    Args:
        columns: unique names.
        taken: names that are already in use.
    """
    used = {name.lower() for name in taken}
    found: dict[str, str] = {}
    for column in sorted(columns, key=lambda name: not _plain(name)):
        stem = column if _plain(column) else _like(column)
        name, number = stem, 1
        while name.lower() in used or name in RESERVED_NAMES:
            number += 1
            name = f"{stem[: _LENGTH - len(f'_{number}')]}_{number}"
        used.add(name.lower())
        found[column] = name
    return found


def _plain(column: str) -> bool:
    return bool(COLUMN_NAME.match(column)) and column not in RESERVED_NAMES


def _like(column: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", ascii_text.lower()).strip("_")
    return (name if name[:1].isalpha() else f"column_{name}".rstrip("_"))[:_LENGTH]
