"""A signature that is given distinct texts, and for each row the number of its."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from headrace.core.scoring.distinct_texts.flat_graph import FlatGraph
from headrace.core.scoring.distinct_texts.rowwise import MOST_COMBINATIONS, Rowwise
from headrace.core.scoring.distinct_texts.vocabulary import Codes, Vocabulary, Words
from headrace.core.scoring.tensors import to_tensor

# With texts that no vocabulary of the model knows there are more than was told beforehand.
_MOST_EVERY = 4 * MOST_COMBINATIONS


@dataclass(frozen=True)
class _Group:
    """What follows from the same sources.

    Attributes:
        texts: names of inputs, one or more.
        buckets: names of tensors that are numbers of buckets, and how many of them there are.
        ends: names of the tensors that follow.
    """

    texts: tuple[str, ...]
    buckets: tuple[tuple[str, int], ...]
    ends: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """How a graph is cut.

    Attributes:
        graph: what is cut.
        groups: what is run once for each distinct text or combination.
        outputs: the tensors that are asked for, by name.
        others: names of the inputs of the rest.
    """

    graph: FlatGraph
    groups: tuple[_Group, ...]
    outputs: Mapping[str, Any]
    others: tuple[str, ...]

    @classmethod
    def of(cls, signature: Any, outputs: Sequence[str]) -> Self | None:
        """None where nothing is gained, or the graph does not allow it."""
        specs = signature.structured_input_signature[1]
        texts = {name for name, spec in specs.items() if spec.dtype == tf.string and spec.shape.rank == 1}
        graph = FlatGraph.of(signature) if texts else None
        if graph is None:
            return None
        wanted = {name: graph.outputs[name] for name in outputs}
        rowwise = Rowwise(texts, graph.captured, graph.vocabularies())
        last = rowwise.last_of(list(wanted.values()))
        if all(name.removesuffix(":0") in specs for name in last):
            return None
        groups = []
        for sources in sorted(set(last.values()), key=sorted):
            buckets = tuple((name, rowwise.sizes[name]) for name in sorted(sources - texts))
            ends = tuple(name for name, of in last.items() if of == sources)
            groups.append(_Group(tuple(sorted(sources & texts)), buckets, ends))
        begun = [*(tensor.name for tensor in wanted.values()), *(name for group in groups for name, _ in group.buckets)]
        others = set(graph.leading_to(begun, last)[0]) & set(specs)
        return cls(graph, tuple(groups), wanted, tuple(sorted(others)))

    @property
    def combined(self) -> list[tuple[str, ...]]:
        """The inputs whose texts are combined, and those that stand alone."""
        return sorted({group.texts for group in self.groups})

    def tables(self, words: Sequence[Any]) -> list[Any]:
        """The ends of each group, for each combination of its texts and buckets.

        Args:
            words: for each of `combined` and each text of it, that of each combination.
        """
        given = iter(words)
        of_combined = {names: [next(given) for _ in names] for names in self.combined}
        made: list[Any] = []
        for group in self.groups:
            texts = of_combined[group.texts]
            sizes = [size for _, size in group.buckets]
            many, count = math.prod(sizes), tf.shape(texts[0])[:1]
            stand = {
                f"{name}:0": tf.repeat(tensor, many) if sizes else tensor
                for name, tensor in zip(group.texts, texts, strict=True)
            }
            if sizes:
                numbers = np.unravel_index(np.arange(many), sizes)
                for (name, _), each in zip(group.buckets, numbers, strict=True):
                    stand[name] = tf.tile(tf.constant(each, tf.int32), count)
            made += self.graph.copied(map(self.graph.graph.get_tensor_by_name, group.ends), stand)
        return made

    def rest(self, tables: Sequence[Any], codes: Sequence[Any], others: Sequence[Any]) -> dict[str, Any]:
        """The outputs.

        Args:
            tables: what `tables` gave.
            codes: for each of `combined`, the combination of each row.
            others: the inputs `others`.
        """
        stand = {f"{name}:0": tensor for name, tensor in zip(self.others, others, strict=True)}
        buckets = sorted({name for group in self.groups for name, _ in group.buckets})
        stand |= dict(
            zip(buckets, self.graph.copied(map(self.graph.graph.get_tensor_by_name, buckets), stand), strict=True)
        )
        of_combined = dict(zip(self.combined, codes, strict=True))
        given = iter(tables)
        fetched: dict[str, Any] = {}
        for group in self.groups:
            code = of_combined[group.texts]
            for name, size in group.buckets:
                code = code * size + stand[name]
            fetched |= {name: tf.gather(next(given), code) for name in group.ends}
        return dict(zip(self.outputs, self.graph.copied(self.outputs.values(), stand | fetched), strict=True))


class Lifted:
    """A signature, of which what follows from texts is run apart; safe to call from several threads at a time.

    Attributes:
        texts: names of the inputs that it takes as arrays of texts.
        others: names of those that it takes as tensors.
    """

    def __init__(self, plan: _Plan, tables: Callable[..., Sequence[Any]], rest: Callable[..., dict[str, Any]]) -> None:
        """Of what `of` makes."""
        self.texts = tuple(sorted({name for names in plan.combined for name in names}))
        self.others = plan.others
        self._combined = plan.combined
        # What is run reads its variables.
        self._graph = plan.graph
        self._tables = tables
        self._rest = rest
        self._vocabularies = {name: Vocabulary() for name in self.texts}
        self._made: tuple[tuple[pa.Array, ...], Sequence[Any]] = (), ()

    @classmethod
    def of(cls, signature: Any, outputs: Sequence[str]) -> Self | None:
        """Cuts a signature into what follows from texts alone, or from texts and buckets, and the rest.

        Args:
            signature: a ConcreteFunction, which must live as long as what is returned.
            outputs: those that are asked for.

        Returns:
            None where nothing is gained, or the graph does not allow it.
        """
        plan = _Plan.of(signature, outputs)
        if plan is None:
            return None
        specs = signature.structured_input_signature[1]
        words = [tf.TensorSpec([None], tf.string) for names in plan.combined for _ in names]
        tables = tf.function(plan.tables, autograph=False).get_concrete_function(words)
        try:
            # Of what comes from tables and variables the shape shows only now, and it decides how the rest is compiled.
            made = tables([tf.constant(["", ""]) for _ in words])
        except tf.errors.OpError:
            return None
        rest = tf.function(plan.rest, autograph=False).get_concrete_function(
            [tf.TensorSpec([None, *table.shape[1:]], table.dtype) for table in made],
            [tf.TensorSpec([None], tf.int32) for _ in plan.combined],
            [specs[name] for name in plan.others],
        )
        return cls(plan, tables, rest)

    def __call__(self, texts: Mapping[str, pa.Array], others: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """The outputs asked for.

        Args:
            texts: by input; strings or binary, or either as a dictionary, as many each, without null.
            others: tensors by input, of `rows` rows.
            rows: at least as many as there are texts: the last of each fills the rest.

        Raises:
            OpError: the model failed on a row.
        """
        given = [others[name] for name in self.others]
        try:
            words = [self._vocabularies[name].words_of(texts[name], rows) for name in self.texts]
            return self._answers(words, given, _MOST_EVERY)
        except tf.errors.OpError:
            # Perhaps on a text, or on a combination of texts, that no row has.
            self._made = (), ()
            self._vocabularies = {name: Vocabulary() for name in self.texts}
            return self._answers([Vocabulary().words_of(texts[name], rows) for name in self.texts], given, 0)

    def _answers(self, words: Sequence[Words], others: Sequence[Any], most_every: int) -> dict[str, Any]:
        of_input = dict(zip(self.texts, words, strict=True))
        combinations = [_combined([of_input[name] for name in names], most_every) for names in self._combined]
        every = all(of.found is None for of in combinations)
        vocabularies = tuple(one.words for one in words) if every else ()
        made_of, tables = self._made
        if not every or len(made_of) != len(words) or any(map(operator.is_not, made_of, vocabularies)):
            tables = self._tables(
                [
                    to_tensor(of_input[name].words.take(pa.array(at)), len(at))
                    for names, of in zip(self._combined, combinations, strict=True)
                    for name, at in zip(names, of.at(), strict=True)
                ]
            )
            self._made = vocabularies, tables
        return self._rest(tables, [of.codes for of in combinations], others)


@dataclass(frozen=True)
class _Combinations:
    """Combinations of texts.

    Attributes:
        sizes: how many texts there are of each input.
        found: by combination the index of each input's text, [combinations, inputs]; None for every combination.
        codes: for each row its combination.
    """

    sizes: tuple[int, ...]
    found: Codes | None
    codes: Codes

    def at(self) -> Sequence[npt.NDArray[Any]]:
        """By input, the index of each combination's text."""
        count = math.prod(self.sizes) if self.found is None else len(self.found)
        # Some operations go another way about a single row.
        numbers = np.resize(np.arange(count), max(count, 2))
        return np.unravel_index(numbers, self.sizes) if self.found is None else list(self.found[numbers].T)


def _combined(words: Sequence[Words], most_every: int) -> _Combinations:
    """Of one input every text; of several every combination, or those that occur where they would be too many."""
    sizes = tuple(len(one.words) for one in words)
    codes = [one.codes for one in words]
    if len(words) == 1:
        return _Combinations(sizes, None, codes[0])
    if math.prod(sizes) <= most_every:
        return _Combinations(sizes, None, np.ravel_multi_index(codes, sizes).astype(np.int32))
    found, number = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    return _Combinations(sizes, found, number.reshape(-1).astype(np.int32))
