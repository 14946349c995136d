"""Texts for missing values: only an empty field is missing, unless the Problem declares other texts."""

from __future__ import annotations

from collections.abc import Collection

# Texts written by R, pandas, spreadsheets and databases. They are categories in tables of codes only, in which NA is
# Namibia.
HARDLY_A_CATEGORY = frozenset(
    {"NA", "N/A", "n/a", "N.A.", "n.a.", "<NA>", "NaN", "nan", "-NaN", "-nan", "NaT", "null", "NULL", "(null)", "\\N",
     "-", "--", "?", ".", "..", "#N/A", "#N/A N/A", "#NA", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!",
     "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)  # fmt: skip
# Each of these may be a category, but is not one in a column of numbers.
LOOKS_MISSING = HARDLY_A_CATEGORY | frozenset(
    {"na", "NAN", "Null", "None", "NONE", "none", "nil", "NIL", "missing", "MISSING", "unknown", "Unknown", "UNKNOWN"}
)


def declaration(words: Collection[str]) -> str:
    """The declaration in a Problem file that makes these texts missing values, such as missing=["NA"]."""
    quoted = ", ".join(f'"{word}"' for word in sorted(words))
    return f"missing=[{quoted}]"
