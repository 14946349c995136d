"""Feeds: the values of a model's inputs as columns, and the faults of rows; without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.rules.fault import RuleViolation
from headrace.core.saved_model.interface import ModelInput
from headrace.core.values.columns import Mask

Numbers = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Feed:
    """The values of one input, [rows] or [rows, n].

    Attributes:
        taken: the input.
        numbers: values other than text, of the input's dtype, or float32 for bfloat16.
        texts: text, one array per column: strings or binary, plain or dictionary-encoded; never null.
        lengths: [rows], the lengths of the rows' lists, where they differ. `numbers`, or the only array of `texts`,
            then holds the concatenated lists, and `take` of rows with equal lengths makes them [rows, n].
        shapes: [rows, levels], the dimensions of the rows' nested lists, for an input with open dimensions; their
            products are `lengths`.
        dims: the dimensions of nested lists that have one shape, for such an input.
    """

    taken: ModelInput
    numbers: Numbers | None = None
    texts: tuple[pa.Array, ...] = ()
    lengths: npt.NDArray[np.int64] | None = None
    shapes: npt.NDArray[np.int64] | None = None
    dims: tuple[int, ...] = ()

    def slice(self, begin: int, end: int) -> Feed:
        """Rows from `begin` up to `end`, without a copy."""
        if self.lengths is not None:
            return self.take(np.arange(begin, end))
        if self.numbers is not None:
            return replace(self, numbers=self.numbers[begin:end])
        return replace(self, texts=tuple(text.slice(begin, end - begin) for text in self.texts))

    def where(self, mask: Mask) -> Feed:
        """The rows where the mask is true."""
        if self.lengths is not None:
            return self.take(np.flatnonzero(mask))
        if self.numbers is not None:
            return replace(self, numbers=self.numbers[mask])
        chosen = pa.array(mask)
        return replace(self, texts=tuple(text.filter(chosen) for text in self.texts))

    def take(self, at: npt.NDArray[np.int64]) -> Feed:
        """The rows at these indices; dense if their lists have one length."""
        if self.lengths is not None:
            return self._lists_at(self.lengths, at)
        if self.numbers is not None:
            return replace(self, numbers=self.numbers[at])
        chosen = pa.array(at)
        return replace(self, texts=tuple(text.take(chosen) for text in self.texts))

    def _lists_at(self, lengths: npt.NDArray[np.int64], at: npt.NDArray[np.int64]) -> Feed:
        begins = np.cumsum(lengths) - lengths
        kept = lengths[at]
        inside = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
        flat = np.repeat(begins[at], kept) + inside
        shapes = None if self.shapes is None else self.shapes[at]
        each = kept[:, None] if shapes is None else shapes
        width = int(kept[0]) if len(kept) and (each == each[0]).all() else None
        dims = () if shapes is None or width is None else tuple(shapes[0].tolist())
        if self.numbers is not None:
            numbers = self.numbers[flat]
            return (
                Feed(self.taken, numbers, (), kept, shapes)
                if width is None
                else Feed(self.taken, numbers.reshape(len(kept), width), dims=dims)
            )
        texts = self.texts[0].take(pa.array(flat))
        if width is None:
            return Feed(self.taken, None, (texts,), kept, shapes)
        places = np.arange(len(kept)) * width
        columns = tuple(texts.take(pa.array(places + column)) for column in range(width))
        return Feed(self.taken, None, columns, dims=dims)


@dataclass
class Feeds:
    """All inputs of a batch, and the faults of its rows. The values of rows at fault are meaningless.

    Attributes:
        rows: number of rows.
        feeds: one per input.
        faults: faults of all columns, in their order.
    """

    rows: int
    feeds: list[Feed] = field(default_factory=list)
    faults: list[RuleViolation] = field(default_factory=list)


def rows_of_one_shape(feeds: Sequence[Feed]) -> list[npt.NDArray[np.int64]] | None:
    """The indices of rows whose lists have equal lengths, by group; None where those of all rows are equal."""
    shapes = [
        feed.lengths[:, None] if feed.shapes is None else feed.shapes for feed in feeds if feed.lengths is not None
    ]
    if not shapes:
        return None
    _, group = np.unique(np.concatenate(shapes, axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def joined_feeds(pieces: Sequence[Sequence[Feed]]) -> list[Feed]:
    """Concatenates the feeds of pieces of the rows, which have the same inputs.

    Args:
        pieces: one or more, without lists of different lengths.
    """
    return [_joined(list(feeds)) for feeds in zip(*pieces, strict=True)]


def _joined(feeds: Sequence[Feed]) -> Feed:
    first = feeds[0]
    if first.numbers is not None:
        return replace(first, numbers=np.concatenate([feed.numbers for feed in feeds if feed.numbers is not None]))
    columns = zip(*(feed.texts for feed in feeds), strict=True)
    return replace(first, texts=tuple(pa.concat_arrays([_binary(text) for text in column]) for column in columns))


def _binary(texts: pa.Array) -> pa.Array:
    plain = texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts
    return plain.cast(pa.binary())
