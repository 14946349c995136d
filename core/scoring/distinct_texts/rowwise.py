"""Which tensors of a graph follow from few values: row by row, from texts and from the buckets of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

Names = frozenset[str]

# Combinations of texts and buckets that are made for a batch, at most, as far as vocabularies tell beforehand.
MOST_COMBINATIONS = 2048

# Each value follows from the value at its place.
_OF_ONE = (
    "Cast",
    "Identity",
    "LogicalNot",
    "RegexReplace",
    "StaticRegexReplace",
    "StringLength",
    "StringLower",
    "StringStrip",
    "StringToHashBucket",
    "StringToHashBucketFast",
    "StringToHashBucketStrong",
    "StringUpper",
)
# Each value follows from the values at its place, or from one for all.
_OF_SEVERAL = (
    "AddV2",
    "Equal",
    "FloorMod",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalOr",
    "Maximum",
    "Minimum",
    "Mul",
    "NotEqual",
    "SelectV2",
    "Sub",
)


class Rowwise:
    """Follows texts and buckets through a graph.

    Attributes:
        sizes: how many values each of them has, about: texts by the name of their placeholder, buckets by that of their
            tensor. Of a text that is not in it, nothing is known.
    """

    def __init__(self, texts: Collection[str], captured: Collection[str], sizes: Mapping[str, int]) -> None:
        """Begins.

        Args:
            texts: names of the placeholders of texts, [rows].
            captured: names of the placeholders of what does not depend on rows.
            sizes: of texts.
        """
        self.sizes = dict(sizes)
        self._texts = frozenset(texts)
        self._captured = frozenset(captured)
        self._known: dict[str, Names | None] = {}

    def of(self, tensor: Any) -> Names | None:
        """The texts and buckets that a tensor follows from, row by row: none for what does not depend on rows.

        Returns:
            None where it depends on other inputs too, on too many combinations, or perhaps on other rows.
        """
        if tensor.name not in self._known:
            self._known[tensor.name] = self._follow(tensor)
        return self._known[tensor.name]

    def last_of(self, outputs: Sequence[Any]) -> dict[str, Names]:
        """The last tensors on the way to `outputs` that follow from texts, with or without buckets: their sources."""
        found: dict[str, Names] = {}
        seen: set[str] = set()
        open_ones = list(outputs)
        while open_ones:
            tensor = open_ones.pop()
            if tensor.name in seen:
                continue
            seen.add(tensor.name)
            names = self.of(tensor)
            if names and names & self._texts:
                found[tensor.name] = names
            elif names is None or names:
                open_ones += tensor.op.inputs
        return dict(sorted(found.items()))

    def _follow(self, tensor: Any) -> Names | None:
        operation = tensor.op
        if operation.type == "Placeholder":
            if operation.name in self._captured:
                return frozenset()
            return frozenset([operation.name]) if operation.name in self._texts else None
        if operation.type == "Bucketize" and tensor.shape.rank == 1:
            self.sizes[tensor.name] = len(operation.get_attr("boundaries")) + 1
            return frozenset([tensor.name])
        if _is_cross(operation):
            crossed = operation.inputs[0].op
            return self._together(crossed.inputs) if _is_of_columns(crossed) else None
        names = self._together(operation.inputs)
        if not names:
            return names
        rule = _RULES.get(operation.type)
        rows = [bool(self.of(tensor)) for tensor in operation.inputs]
        if rule is None or not rule(operation, rows) or (operation.type == "Sum" and len(names) == 1):
            return None
        return names

    def _together(self, tensors: Sequence[Any]) -> Names | None:
        names: Names = frozenset()
        for tensor in tensors:
            of = self.of(tensor)
            if of is None:
                return None
            names |= of
        # A text alone is run once for each, however many there are.
        few = len(names) < 2 or math.prod(self.sizes.get(n, MOST_COMBINATIONS) for n in names) <= MOST_COMBINATIONS
        return names if few else None


def _rank(tensor: Any) -> int | None:
    """How many axes it has; TensorFlow does not know it of what comes from a table."""
    rank, operation = tensor.shape.rank, tensor.op
    if rank is None and operation.type == "LookupTableFindV2" and operation.inputs[2].shape.rank == 0:
        return _rank(operation.inputs[1])
    if rank is None and operation.type in (*_OF_ONE, *_OF_SEVERAL):
        ranks = [_rank(tensor) for tensor in operation.inputs]
        return None if None in ranks else max(ranks)  # type: ignore[type-var]
    return None if rank is None else int(rank)


def _several(operation: Any, rows: Sequence[bool]) -> bool:
    """What does not depend on rows must not be spread along them, nor they along it."""
    ranks = {_rank(tensor) for tensor, of_rows in zip(operation.inputs, rows, strict=True) if of_rows}
    if len(ranks) != 1 or None in ranks:
        return False
    (rank,) = ranks
    others = [tensor.shape.rank for tensor, of_rows in zip(operation.inputs, rows, strict=True) if not of_rows]
    return all(other is not None and other < rank for other in others)


def _one(_: Any, rows: Sequence[bool]) -> bool:
    return rows[0] and not any(rows[1:])


def _lookup(_: Any, rows: Sequence[bool]) -> bool:
    return list(rows) == [False, True, False]


def _gather(operation: Any, rows: Sequence[bool]) -> bool:
    along = 0 if operation.type == "ResourceGather" else tf.get_static_value(operation.inputs[2])
    return rows[0] is False and rows[1] and along == 0 and operation.get_attr("batch_dims") == 0


def _expand(operation: Any, _: Sequence[bool]) -> bool:
    axis, rank = tf.get_static_value(operation.inputs[1]), _rank(operation.inputs[0])
    return axis is not None and rank is not None and int(axis) % (rank + 1) > 0


def _squeeze(operation: Any, _: Sequence[bool]) -> bool:
    axes, rank = operation.get_attr("squeeze_dims"), _rank(operation.inputs[0])
    return bool(axes) and rank is not None and all(axis % rank > 0 for axis in axes)


def _pack(operation: Any, rows: Sequence[bool]) -> bool:
    return all(rows) and operation.get_attr("axis") > 0


def _sum(operation: Any, rows: Sequence[bool]) -> bool:
    """Along a row. One of a single row is added up in another order, so that it has to be of several, see `lifted`."""
    axes = tf.get_static_value(operation.inputs[1])
    return rows[0] and axes is not None and bool((axes > 0).all())


_RULES: dict[str, Callable[[Any, Sequence[bool]], bool]] = {
    **dict.fromkeys(_OF_ONE, _one),
    **dict.fromkeys(_OF_SEVERAL, _several),
    "ExpandDims": _expand,
    "GatherV2": _gather,
    "LookupTableFindV2": _lookup,
    "Pack": _pack,
    "ResourceGather": _gather,
    "Squeeze": _squeeze,
    "Sum": _sum,
}


def _is_cross(operation: Any) -> bool:
    """A cross of features is sparse, and made dense at once, as Keras' HashedCrossing does."""
    if operation.type != "SparseToDense" or operation.inputs[3].shape.rank != 0:
        return False
    crossed = operation.inputs[0].op
    parts = [f"{crossed.name}:{at}" for at in (0, 2, 1)]
    return crossed.type == "SparseCross" and [tensor.name for tensor in operation.inputs[:3]] == parts


def _is_of_columns(crossed: Any) -> bool:
    """Each of its features is one value a row, of which there is one cross a row."""
    return crossed.get_attr("N") == 0 and all(
        tensor.shape.rank == 2 and tensor.shape[1] == 1 for tensor in crossed.inputs
    )
