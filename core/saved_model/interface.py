"""Model interface: the inputs and outputs of a SavedModel, and the columns that feed it; without TensorFlow."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from headrace.core.errors import DataError, UsageError
from headrace.core.rules.column import Rule
from headrace.core.rules.model import ModelRules
from headrace.core.tfrecord import EXAMPLE_COLUMN

SERVING_DEFAULT = "serving_default"

# The input through which many models pass the key of a row.
KEY = "key"
# Its field in the metadata of headrace's server, if the model only returns it.
KEY_INPUT = "key_input"
# Its field in that metadata for the mode in which a Model's rules are applied.
RULES = "rules"
# The model's use of the key: it only returns it, it uses and returns it, or unknown.
KeyUse = Literal["passes", "repeats", ""]

# The types that a column can be converted to, by TensorFlow's names of dtypes.
FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = (*FLOATS, *INTEGERS, "bool", "string")

# One column for an input, or several columns, in order, for a dense input.
Feeding = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class ModelInput:
    """An input tensor of the signature.

    Attributes:
        name: in the signature.
        dtype: one of DTYPES.
        width: None for one value per row, [rows]; n for a dense tensor [rows, n]; 0 where the SavedModel leaves the
            width open, [rows, None], or an inner dimension.
        columns: the columns that feed it: one, or `width` columns in order, or one column of lists.
        optional: whether a value may be missing: the model then gets NaN or "".
        spellings: the spellings of typed values, for a category learned from text; see `values.spellings`.
        missing: texts that stand for a missing value, besides the empty text.
        rule: the rule of a Model; None for inputs of other SavedModels.
        dims: the inner dimensions of a tensor of rank 3 or more, [rows, *dims], whose columns hold nested lists; their
            product is `width`. A dimension that the SavedModel leaves open is 0.
    """

    name: str
    dtype: str
    width: int | None = None
    columns: tuple[str, ...] = ()
    optional: bool = False
    spellings: Mapping[str, str] = field(default_factory=dict, hash=False)
    missing: tuple[str, ...] = ()
    rule: Rule | None = field(default=None, hash=False)
    dims: tuple[int, ...] = ()

    @property
    def shape(self) -> str:
        """The shape for messages: [rows], [rows, n] or [rows, n, m]."""
        return _shape(self.width, self.dims)

    @property
    def from_lists(self) -> bool:
        """Whether it is wider than 1 and fed from one column, which must hold lists."""
        return self.width is not None and (self.width != 1 or bool(self.dims)) and len(self.columns) == 1


@dataclass(frozen=True)
class Constant:
    """An input tensor of shape []: one value per call.

    Attributes:
        name: in the signature.
        dtype: one of DTYPES.
        value: the value, of the dtype; None where it is not set yet.
    """

    name: str
    dtype: str
    value: float | int | bool | str | None = None


@dataclass(frozen=True)
class ModelOutput:
    """An output tensor of the signature.

    Attributes:
        name: in the signature, and of its column in the predictions.
        dtype: one of DTYPES.
        width: None for one value per row, [rows] or [rows, 1]; n for [rows, n]; 0 for [rows, None], or where an inner
            dimension is open.
        binary: whether its strings are bytes, not text.
        listed: whether it is of shape [rows, 1]: the model answers each row with a list of one value.
        dims: as of ModelInput.
        per_call: whether it has shape [], one value for a whole call, which is repeated in each row.
    """

    name: str
    dtype: str
    width: int | None = None
    binary: bool = False
    listed: bool = False
    dims: tuple[int, ...] = ()
    per_call: bool = False

    @property
    def shape(self) -> str:
        """The shape for messages: [rows], [rows, n] or [rows, n, m]; [] for one value per call."""
        return "[]" if self.per_call else _shape(self.width, self.dims)


@dataclass(frozen=True)
class ModelBinding:
    """The inputs and outputs of a model, and the columns that feed it.

    Attributes:
        signature: of the SavedModel.
        inputs: sorted by name, each with its columns, without the key's input.
        outputs: sorted by name, without the key.
        key: the column that identifies a row, or None.
        key_input: the input and output that the model passes its key through, or None.
        declared: whether the SavedModel is of a Model artifact, whose schema states which columns are optional.
        rules: the rules of that Model's Problem; None for other SavedModels.
        key_use: the model's use of an input `key` that an output may return.
        constants: the inputs with one value for all rows.
        batch: rows that every call must have, where the signature fixes them; else None.
    """

    signature: str
    inputs: tuple[ModelInput, ...]
    outputs: tuple[ModelOutput, ...]
    key: str | None = None
    key_input: str | None = None
    declared: bool = False
    rules: ModelRules | None = None
    key_use: KeyUse = ""
    constants: tuple[Constant, ...] = ()
    batch: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read, each once: the key, then the inputs' columns."""
        names = [] if self.key is None else [self.key]
        return tuple(dict.fromkeys([*names, *(column for taken in self.inputs for column in taken.columns)]))

    @property
    def texts(self) -> frozenset[str]:
        """The columns used only as texts of the model, which may therefore be dictionary-encoded."""
        texts = {name for taken in self.inputs if taken.dtype == "string" for name in taken.columns}
        return frozenset(texts - {self.key})

    def columns_among(self, available: Collection[str]) -> tuple[str, ...]:
        """The subset of `columns` in `available`; columns of optional inputs may be absent.

        Raises:
            DataError: a required column is absent.
        """
        wanted = self._required()
        for name in self.columns:
            if name not in available and name in wanted:
                raise _no_column(name, wanted[name], available)
        return tuple(name for name in self.columns if name in available)

    def fed(self, feeding: Feeding) -> ModelBinding:
        """Feeds inputs from columns with other names.

        Args:
            feeding: the column, or the columns in order, by the input's name.

        Raises:
            UsageError: the input does not exist, or the number of columns is not its width.
        """
        names = [taken.name for taken in self.inputs]
        for name in feeding:
            if name not in names:
                raise UsageError(
                    "the input does not exist in the model",
                    expected=_either(names),
                    received=name,
                    fix=_close(name, names),
                )
        return replace(self, inputs=tuple(_fed(taken, feeding.get(taken.name)) for taken in self.inputs))

    def dense(self, columns: Sequence[str]) -> ModelBinding:
        """Feeds the only dense input from `columns`, in this order.

        Raises:
            UsageError: the model does not have exactly one dense input, or its width differs.
        """
        wide = [taken for taken in self.inputs if taken.width is not None]
        if len(wide) != 1 or len(self.inputs) != 1:
            raise UsageError(
                "columns without the name of an input go to a model with one dense input",
                expected="INPUT=COLUMN,COLUMN,... for each input",
                received=f"a model with the inputs {', '.join(f'{i.name} {i.dtype} {i.shape}' for i in self.inputs)}",
            )
        return self.fed({wide[0].name: tuple(columns)})

    def text(self) -> str:
        """Formats the inputs, outputs and their columns as lines."""
        rows = [("takes", "dtype", "shape", "from")]
        for taken in self.inputs:
            origin = f"{taken.columns[0]}, a column of lists" if taken.from_lists else ", ".join(taken.columns)
            missing = (
                ""
                if not taken.optional
                else ' (may be missing: "")'
                if taken.dtype == "string"
                else " (may be missing: NaN)"
            )
            rows.append((taken.name, taken.dtype, taken.shape, origin + missing))
        if self.key_input is not None:
            rows.append((self.key_input, "string", "[rows]", "the key, which passes through"))
        rows += [(c.name, c.dtype, "[]", f"the constant {c.value}") for c in self.constants]
        gives = [("gives", "dtype", "shape", "to")]
        gives += [(o.name, "bytes" if o.binary else o.dtype, o.shape, o.name) for o in self.outputs]
        batch = f", {self.batch} rows per call" if self.batch else ""
        lines = [f"signature {self.signature}, key {self.key or 'none'}{batch}", "", *_table(rows), "", *_table(gives)]
        return "\n".join(lines)

    def _required(self) -> dict[str, str]:
        """The inputs that need each required column."""
        needed = {c: f"the model's input {t.name}" for t in self.inputs if not t.optional for c in t.columns}
        return needed if self.key is None else {**needed, self.key: "the key"}


def _shape(width: int | None, dims: Sequence[int]) -> str:
    inner = [size or "any" for size in dims] if dims else [] if width is None else [width or "any"]
    return f"[{', '.join(['rows', *map(str, inner)])}]"


def refuse_per_call(takes: ModelBinding, where: str, instead: str) -> None:
    """Refuses a model with an output of one value per call, which depends on the rows that are in the call.

    Raises:
        DataError: it has one.
    """
    for given in takes.outputs:
        if given.per_call:
            raise DataError(
                f"the model's output {given.name} is one value per call, not one per row",
                where=where,
                expected="one prediction per row in each output",
                received=f"{given.dtype} of shape []",
                fix=f"Export a signature without it, or with it for each row; or {instead}",
            )


def is_bytes(name: str, dtype: str) -> bool:
    """Whether an output's name marks its strings as bytes ({"b64": ...}), by TensorFlow Serving's convention."""
    return dtype == "string" and name.endswith("_bytes")


def is_key(inputs: Iterable[ModelInput], outputs: Collection[ModelOutput]) -> bool:
    """Whether there is a string input `key`, and an output that may return it."""
    keys = [t for t in inputs if (t.name, t.dtype, t.width) == (KEY, "string", None)]
    return bool(keys) and ModelOutput(KEY, "string") in outputs


def _fed(taken: ModelInput, columns: str | Sequence[str] | None) -> ModelInput:
    if columns is None:
        return taken
    chosen = (columns,) if isinstance(columns, str) else tuple(columns)
    # A lone column may hold lists as wide as the input is.
    if not chosen or (len(chosen) > 1 and taken.width != 0 and len(chosen) != (taken.width or 1)):
        raise UsageError(
            "the number of columns does not match the width of the input",
            where=taken.name,
            expected=f"{taken.width or 1} column{'' if taken.width in (None, 1) else 's, or one of lists'}",
            received=f"{len(chosen)}: {', '.join(chosen)}",
        )
    width = len(chosen) if taken.width == 0 and len(chosen) > 1 else taken.width
    return replace(taken, columns=chosen, width=width)


def _no_column(name: str, needed_by: str, available: Iterable[str]) -> DataError:
    names = list(available)
    if name == EXAMPLE_COLUMN:
        return DataError(
            "the signature reads serialized tf.train.Examples, which these rows are not",
            expected=f"TFRecord files, for {needed_by}",
            received=f"columns {', '.join(names)}",
            fix="Score TFRecord files, choose another signature (--signature), or name a column that holds serialized "
            "Examples (--input)",
        )
    return DataError(
        "a column is missing from the rows",
        where=name,
        expected=f"a column {name}, for {needed_by}",
        received=f"columns {', '.join(names)}",
        fix=_close(name, names) or "Say which column each input is fed from",
    )


def _either(names: Sequence[str]) -> str:
    return "one of " + ", ".join(names)


def _close(name: str, names: Sequence[str]) -> str | None:
    close = difflib.get_close_matches(name, names, n=1)
    return f'Perhaps "{close[0]}" is meant' if close else None


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
