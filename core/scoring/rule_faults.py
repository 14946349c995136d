"""Derived-feature rules on Arrow, checked on the model's inputs; without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from headrace.core.expressions.binding import raw_columns
from headrace.core.expressions.lower_arrow import derive
from headrace.core.rows.column_faults import category_faults, parsed_numbers
from headrace.core.rules.column import NumberRule
from headrace.core.rules.fault import RuleViolation
from headrace.core.rules.model import ModelRules
from headrace.core.scoring.feeds import Feed


def derived_faults(
    rules: ModelRules, feeds: Sequence[Feed], rows: int
) -> tuple[list[RuleViolation], Mapping[str, pa.Array]]:
    """The rules that derived features break.

    Args:
        rules: the Model's rules.
        feeds: its inputs.
        rows: number of rows.

    Returns:
        The faults, and the derived features by name.
    """
    if not rules.derived:
        return [], {}
    read = raw_columns(rules.expressions)
    made = derive(rules.expressions, {f.taken.name: _column(f) for f in feeds if f.taken.name in read}, rows)
    found: list[RuleViolation] = []
    for name, rule in rules.derived.items():
        column = made[name]
        if not isinstance(rule, NumberRule):
            found += category_faults(rule, name, column, np.zeros(rows, np.bool_))
        elif not rule.hold(column.to_numpy(zero_copy_only=False)):
            found += parsed_numbers(rule, name, column)[2]
    return found, made


def _column(feed: Feed) -> pa.Array:
    if feed.numbers is not None:
        return pa.array(feed.numbers)
    (text,) = feed.texts
    return text.dictionary_decode() if pa.types.is_dictionary(text.type) else text
