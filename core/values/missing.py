"""Missing values that a table writes as text: only the empty field is one, until the Problem says which others are."""

from __future__ import annotations

from collections.abc import Collection

# What R, pandas, spreadsheets and databases write; each may be a category too, such as NA for Namibia.
LOOKS_MISSING = frozenset(
    {"NA", "N/A", "n/a", "na", "#N/A", "<NA>", "NaN", "nan", "NAN", "-nan", "null", "NULL", "Null", "None", "NONE"}
    | {"none", "nil", "NIL", "-", "--", "?", ".", "missing", "MISSING"}
)
# These are hardly a category of any table.
HARDLY_A_CATEGORY = frozenset({"N/A", "n/a", "#N/A", "NaN", "nan", "<NA>", "null", "NULL"})


def declaration(words: Collection[str]) -> str:
    """What the Problem file says to make these texts missing values, such as missing=["NA"]."""
    quoted = ", ".join(f'"{word}"' for word in sorted(words))
    return f"missing=[{quoted}]"
