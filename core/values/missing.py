"""Missing values that a table writes as text: only the empty field is one, until the Problem says which others are."""

from __future__ import annotations

from collections.abc import Collection

# What R, pandas, spreadsheets and databases write. These are hardly a category of any table but one of codes, in which
# NA is Namibia.
HARDLY_A_CATEGORY = frozenset(
    {"NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-NaN", "-nan", "null", "NULL", "-", "--", "?", "."}
)
# Each of these may be a category too; among numbers it is none.
LOOKS_MISSING = HARDLY_A_CATEGORY | frozenset(
    {"na", "NAN", "Null", "None", "NONE", "none", "nil", "NIL", "missing", "MISSING", "unknown", "Unknown", "UNKNOWN"}
)


def declaration(words: Collection[str]) -> str:
    """What the Problem file says to make these texts missing values, such as missing=["NA"]."""
    quoted = ", ".join(f'"{word}"' for word in sorted(words))
    return f"missing=[{quoted}]"
