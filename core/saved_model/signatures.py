"""Signature names: the two signatures with which a Model is scored with one lookup per distinct text.

`TEXT_TABLES` maps distinct texts to tables, `PREDICT_BY_CODE` predicts rows from these tables and each row's codes.

A group is one or more text columns, by their places among the sorted text columns of the Model: "0_2". A code is the
number of a row's combination of texts: of one column the place among its distinct texts, of several that among all
combinations, in the order of numpy.ravel_multi_index.

- `TEXT_TABLES` reads `texts_0`, `texts_1`, ...: the distinct texts of each text column, [texts]; it returns tables.
- `PREDICT_BY_CODE` reads the same tables, `code_GROUP`, [rows] int32, and `number_0`, `number_1`, ..., [rows] float32:
  the numeric columns by their places among the sorted ones. It returns the serving signature's outputs without the key.

No name contains a column's name: TensorFlow requires argument names that differ in more than case.
"""

from __future__ import annotations

from collections.abc import Iterable

TEXT_TABLES = "text_tables"
PREDICT_BY_CODE = "predict_by_code"

# Maximum combinations of texts in a group. Looking up more takes longer than looking up the rows of a batch.
MAX_COMBINATIONS = 4096

Group = tuple[int, ...]


def texts_input(column: int) -> str:
    """The input for the distinct texts of a text column, by its place."""
    return f"texts_{column}"


def code_input(group: Group) -> str:
    """The input for the codes of a group."""
    return "code_" + "_".join(map(str, group))


def number_input(column: int) -> str:
    """The input for the values of a numeric column, by its place."""
    return f"number_{column}"


def table_name(table: int) -> str:
    """The name of a table."""
    return f"table_{table}"


def groups_of(inputs: Iterable[str]) -> list[Group]:
    """The groups among the names of inputs of `PREDICT_BY_CODE`, in order."""
    codes = (name.removeprefix("code_") for name in inputs if name.startswith("code_"))
    return sorted(tuple(map(int, code.split("_"))) for code in codes)
