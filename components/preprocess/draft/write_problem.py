"""Writes a first Problem file from a table, with what was seen and chosen as comments, to be edited."""

from __future__ import annotations

import math
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pyarrow as pa

from headrace.components.preprocess.draft.infer import (
    Inferred,
    chosen_key,
    chosen_label,
    first_rows,
    key_candidates,
    label_candidates,
    look_at,
    missing_words,
    quoted,
)
from headrace.core.errors import DataError
from headrace.core.rows.validate import listed
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.values.columns import blank
from headrace.core.values.missing import declaration

# Up to so many values are written out as a vocabulary; more are hashed and embedded.
_VOCABULARY = 50
# What values that were not among the rows looked at may come to.
_MAX_UNKNOWN = 0.01
# Of two classes, those that mean no: the other one is the positive class.
_NEGATIVE = ("0", "false", "no", "n", "f", "negative", "none")


@dataclass(frozen=True)
class FirstProblem:
    """A Problem file and how it came about: its text, what was chosen, the rows looked at and whether these are all."""

    source: str
    key: str
    label: str
    rows: int
    complete: bool


def draft(
    data: str,
    *,
    label: str = "",
    key: str = "",
    name: str = "",
    rows: int = 100_000,
    csv: CsvDialect = RFC_4180,
) -> FirstProblem:
    """Looks at the first rows of a table, and writes a Problem that fits them.

    Args:
        data: a file, a folder or a glob; the columns are those of its first file.
        label: the column to predict; chosen by its name and place if "".
        key: the column that identifies a row; chosen among those whose values all differ if "".
        name: the problem's name; the file's if "".
        rows: look at so many rows at most.
        csv: how CSV files are written.

    Raises:
        DataError: there are no rows, no column can be the key, the label or a feature.
        UsageError: there is no such column, or it cannot be what is asked.
    """
    table, complete = first_rows(data, rows, csv)
    words = missing_words(table)
    columns = [
        look_at(field.name, pa.chunked_array([blank(chunk, words) for chunk in table.column(field.name).chunks]))
        for field in table.schema
    ]
    keys = key_candidates(columns)
    the_key = chosen_key(columns, keys, key, data)
    labels = label_candidates(columns, the_key.name)
    the_label = chosen_label(columns, labels, label, the_key, data)
    others = [column for column in columns if column not in (the_key, the_label)]
    features = [column for column in others if column.kind != "neither" and not (column.unique and column.values)]
    if not features:
        raise DataError("no column can be a feature", where=data, expected="numbers or categories beside key and label")
    problem = name or _problem_name(data)
    seen = f"{'all' if complete else 'the first'} {table.num_rows:,}"
    lines = [
        f'"""{problem}: predicts {the_label.name}. A first draft by `headrace init`: read it, and correct it."""',
        "",
        f"# Inferred from {seen} rows of {quoted(PurePath(data).name)}.",
        *([] if complete else ["# Later rows may hold other values: ranges are wider, and vocabularies not closed."]),
        "",
        "from headrace import Categorical, Numeric, Problem",
        "",
        "problem = Problem(",
        f'    name="{problem}",',
        *_comment(_about_key(keys, the_key, key)),
        f"    key={quoted(the_key.name)},",
        *_comment(_about_label(labels, the_label, label)),
        *_declaration(the_label, complete, "label=", as_label=True),
        "    features=[",
        *(
            line
            for column in others
            for line in (
                _declaration(column, complete, "    ") if column in features else _left_out(column)
            )
        ),
        "    ],",
        *_missing(words),
        *_comment("A model must do so to be blessed; import Gate too:"),
        *_comment(f"gate=Gate(metric={_metric(the_label)}),"),
        ")",
        "",
    ]  # fmt: skip
    return FirstProblem("\n".join(lines), the_key.name, the_label.name, table.num_rows, complete)


def _missing(words: Sequence[str]) -> list[str]:
    if not words:
        return []
    return [*_comment("How this table writes a missing value, beside an empty field:"), f"    {declaration(words)},"]


def _declaration(column: Inferred, complete: bool, indent: str, *, as_label: bool = False) -> list[str]:
    """The lines that declare a column, indented by 4 and by `indent`, which for the label is its argument."""
    arguments = [quoted(column.name)]
    notes = []
    if column.kind == "numeric":
        low, high = _outward(column.low, column.high, complete)
        arguments += [f"minimum={low}", f"maximum={high}"]
        notes.append(f"{column.low:.6g} to {column.high:.6g}")
        if column.wrong:
            kind = "value is no number, and goes" if column.wrong == 1 else "values are no numbers, and go"
            notes.append(f"{column.wrong:,} {kind} to quarantine")
    elif as_label or column.distinct <= _VOCABULARY:
        values = _classes(column.values) if as_label else column.values
        arguments.append(f"vocabulary=[{', '.join(map(quoted, values))}]")
        if not complete and not as_label:
            arguments.append(f"max_unknown={_MAX_UNKNOWN}")
        if as_label and len(values) == 2:
            notes.append(f"{values[1]} is the positive class")
    else:
        buckets = min(1 << (2 * column.distinct - 1).bit_length(), 1 << 20)
        # The fourth root of the number of categories: a rule of thumb of TensorFlow's feature columns.
        arguments += [f"hash_buckets={buckets}", f"embedding={max(4, math.ceil(column.distinct**0.25))}"]
        notes.append(f"{column.distinct:,} values")
    if column.missing:
        share = f"{column.missing / column.rows:.1%} missing"
        notes.append(f"{share}, which go to quarantine" if as_label else share)
        if not as_label:
            arguments.append("optional=True")
    name = "Numeric" if column.kind == "numeric" else "Categorical"
    start = f"    {indent}{name}("
    line = f"{start}{', '.join(arguments)}),"
    comment = f"  # {'; '.join(notes)}" if notes else ""
    if len(line + comment) <= 120:
        return [line + comment]
    inner = " " * (len(start) - len(start.lstrip()) + 4)
    wrapped = [
        f"{inner}{wrapped_line}"
        for argument in arguments
        for wrapped_line in textwrap.wrap(f"{argument},", 100, break_long_words=False, break_on_hyphens=False)
    ]
    # Wrapping would lose spaces within values; such a line stays long.
    if " ".join(line.strip() for line in wrapped) != ", ".join(arguments) + ",":
        wrapped = [f"{inner}{argument}," for argument in arguments]
    outer = " " * (len(start) - len(start.lstrip()))
    return [f"{start}{comment}", *wrapped, f"{outer}),"]


def _left_out(column: Inferred) -> list[str]:
    why = column.note or "every row has a value of its own: it would be learned by heart"
    return [f"        # {quoted(column.name)} is left out: {why}"]


def _outward(low: float, high: float, complete: bool) -> tuple[str, str]:
    """Bounds that are round, and no narrower; a step wider where only some rows were looked at; not across zero."""
    largest, smallest = sys.float_info.max, sys.float_info.min
    # The width of the widest range overflows, and half of the narrowest one is 0.
    width = min(max(high - low, smallest), largest)
    step = 10.0 ** math.floor(math.log10(width)) / 2 if high > low else max(abs(high), 1.0) / 2
    margin = 0 if complete else 1
    bottom = max((math.floor(low / step) - margin) * step, -largest)
    top = min((math.ceil(high / step) + margin) * step, largest)
    if low >= 0:
        bottom = max(bottom, 0.0)
    if high <= 0:
        top = min(top, 0.0)
    # Rounding to the step's digits removes what binary fractions add, but not what keeps the values inside.
    return _number(min(float(f"{bottom:.12g}"), low)), _number(max(float(f"{top:.12g}"), high))


def _number(value: float) -> str:
    """A number in as few digits as say it exactly: 10, not 10.0."""
    return repr(value).removesuffix(".0")


def _classes(values: Sequence[str]) -> list[str]:
    ordered = sorted(values)
    if len(ordered) == 2 and ordered[1].lower() in _NEGATIVE and ordered[0].lower() not in _NEGATIVE:
        ordered.reverse()
    return ordered


def _about_key(candidates: Sequence[Inferred], chosen: Inferred, asked: str) -> str:
    others = [c.name for c in candidates if c is not chosen]
    said = "Every row has a value of its own in it." if asked else "Chosen: every row has a value of its own in it."
    return said + (f" So has {listed(others)}." if others else "")


def _about_label(candidates: Sequence[Inferred], chosen: Inferred, asked: str) -> str:
    if asked:
        return "What is predicted."
    others = [c.name for c in candidates if c is not chosen]
    return "CHOSEN by its name and place: is it what you want to predict?" + (
        f" Others that could be: {listed(others)}." if others else ""
    )


def _metric(label: Inferred) -> str:
    return '"root_mean_squared_error", at_most=...' if label.kind == "numeric" else '"accuracy", at_least=...'


def _comment(text: str) -> list[str]:
    return [f"    # {line}" for line in textwrap.wrap(text, 110)]


def _problem_name(data: str) -> str:
    stem = re.sub(r"[^a-z0-9_-]+", "_", PurePath(data).name.split(".")[0].lower()).strip("_-")
    return stem[:48] if stem[:1].isalpha() else f"problem_{stem}"[:48].rstrip("_-")
