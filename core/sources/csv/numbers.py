"""CSV numbers with another decimal mark or with thousands separators, and the option that reads them."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.sources.csv_dialect import CsvDialect

# Numbers with marks that are not accepted by default, and the options that read them; the first match is proposed.
_MARKED = (
    (re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+,[0-9]+"), "--csv decimal=, --csv thousands=."),
    (re.compile(r"[+-]?[0-9]{1,3}( [0-9]{3})+,[0-9]+"), "--csv decimal=, --csv thousands=space"),
    (re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?"), "--csv thousands=, (or, for 1,234 as 1.234, decimal=,)"),
    (re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?"), "--csv decimal=,"),
    (re.compile(r"[+-]?[0-9]{1,3}('[0-9]{3})+(\.[0-9]+)?"), '--csv thousands="\'"'),
    (re.compile(r"[+-]?[0-9]{1,3}( [0-9]{3})+(\.[0-9]+)?"), "--csv thousands=space"),
)


# The spaces between thousands of spreadsheets and of R: no-break, narrow no-break and thin.
_SPACES = "[\u00a0\u202f\u2009]"


def with_points(batch: pa.RecordBatch, dialect: CsvDialect) -> pa.RecordBatch:
    """Columns of text in which numbers in the dialect's notation are rewritten with a decimal point only."""
    if dialect.decimal == "." and not dialect.thousands:
        return batch
    decimal, thousands = re.escape(dialect.decimal), re.escape(dialect.thousands)
    fraction, exponent = f"({decimal}[0-9]*)?", "([eE][+-]?[0-9]+)?"
    grouped = f"[0-9]{{1,3}}({thousands}[0-9]{{3}})+{fraction}" if thousands else ""
    forms = [f"[0-9]+{fraction}{exponent}", f"{decimal}[0-9]+{exponent}", *([grouped] if grouped else [])]
    pattern = rf"^\s*[+-]?({'|'.join(forms)})\s*$"
    return pa.RecordBatch.from_arrays(
        [_with_points(column, pattern, dialect) for column in batch.columns], names=batch.schema.names
    )


def _with_points(column: pa.Array, pattern: str, dialect: CsvDialect) -> pa.Array:
    written = pc.replace_substring_regex(column, _SPACES, " ") if dialect.thousands == " " else column
    marked = pc.match_substring(written, dialect.decimal)
    if dialect.thousands:
        marked = pc.or_(marked, pc.match_substring(written, dialect.thousands))
    if not pc.any(marked).as_py():
        return column
    number = pc.match_substring_regex(written, pattern)
    plain = pc.replace_substring(written, dialect.thousands, "") if dialect.thousands else written
    return pc.if_else(number, pc.replace_substring(plain, dialect.decimal, "."), column)


def reading_option(text: str) -> str | None:
    """The options that read a field with other marks as a number; None if there are none."""
    written = re.sub(_SPACES, " ", text).strip()
    return next((option for pattern, option in _MARKED if pattern.fullmatch(written)), None)
