"""Rows as preprocessing judges them: one column of theirs as the key, as a category and as a number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from headrace.core.problem import Categorical, Numeric, Problem
from headrace.core.rows.read import as_declared
from headrace.core.rows.validate import validate
from headrace.core.sources.source import Rows
from headrace.core.values.columns import is_text, texts
from headrace.core.values.mixed import is_mixed, typed_in
from headrace.core.values.numbers import parse_numbers

_LABEL = Numeric("y")
_KEY = Problem("doors", key="v", label=_LABEL, features=[Numeric("x")])
_CATEGORY = Problem("doors", key="id", label=_LABEL, features=[Categorical("c", column="v", optional=True)])
_NUMBER = Problem("doors", key="id", label=_LABEL, features=[Numeric("n", column="v", optional=True)])
_BOOLEANS = {"true": "1", "false": "0"}
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_duration, is_text)


def check_meaning(rows: Rows) -> None:
    """Asserts that key, category and number of each value of the column `v` are those of its text.

    Args:
        rows: with the columns `id`, unique numbers, and `v`.
    """
    column = rows.batch.column("v")
    written = texts(column)[0].to_pylist()
    assert _judged(_CATEGORY, rows, "c") == dict(zip(rows.numbers.tolist(), written, strict=True))
    assert list(_judged(_KEY, rows, "v").values()) == [text for text in written if text is not None]
    if any(is_kind(column.type) for is_kind in _NUMBERS):
        width = np.float16 if pa.types.is_float16(column.type) else np.float32
        typed = typed_in(column) if is_mixed(column.type) else np.zeros(len(written), np.bool_)
        # Of a boolean beside other types.
        said = [_BOOLEANS.get(text, text) if is_typed else text for text, is_typed in zip(written, typed, strict=True)]
        values, missing, wrong = parse_numbers(pa.array(said, pa.string()))
        held = ~wrong & (np.abs(values) <= np.finfo(np.float32).max)
        expected = {
            number: None if absent else float(width(value))
            for number, value, absent in zip(rows.numbers[held].tolist(), values[held], missing[held], strict=True)
        }
        found = _judged(_NUMBER, rows, "n")
        assert {row: None if value is None else float(width(value)) for row, value in found.items()} == expected


def _judged(problem: Problem, rows: Rows, name: str) -> dict[int, str | float | None]:
    """The values of a column, by row, of the rows that break no rule."""
    ones = pa.array(np.ones(rows.batch.num_rows))
    batch = rows.batch.append_column("x", ones).append_column("y", ones)
    checked = validate(problem, as_declared(problem, replace(rows, batch=batch)))
    return dict(zip(checked.numbers.tolist(), checked.batch.column(name).to_pylist(), strict=True))
