"""Coded Model: calls a Model with distinct texts and the codes of each row's texts."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import tensorflow as tf

from headrace.core.saved_model.signatures import (
    MAX_COMBINATIONS,
    PREDICT_BY_CODE,
    TEXT_TABLES,
    code_input,
    groups_of,
    number_input,
    texts_input,
)
from headrace.core.scoring.distinct_texts.vocabulary import Vocabulary
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.tensors import filled_up, to_tensor


class CodedModel:
    """The signatures of a Model with codes instead of texts; safe to call from several threads at a time."""

    def __init__(self, text_tables: Any, predict: Any) -> None:
        """Uses two ConcreteFunctions, which must live as long as this object; see `signatures`."""
        self._text_tables = text_tables
        self._predict = predict
        inputs = predict.structured_input_signature[1]
        self._groups = groups_of(inputs)
        self._columns = len(text_tables.structured_input_signature[1])
        self._vocabularies = [Vocabulary() for _ in range(self._columns)]
        self._made: tuple[tuple[pa.Array, ...], Mapping[str, Any]] = (), {}

    @classmethod
    def of(cls, signatures: Mapping[str, Any]) -> Self | None:
        """Opens the two signatures; None where a SavedModel lacks them."""
        if TEXT_TABLES not in signatures or PREDICT_BY_CODE not in signatures:
            return None
        return cls(signatures[TEXT_TABLES], signatures[PREDICT_BY_CODE])

    def __call__(self, feeds: Sequence[Feed], rows: int, filled: int) -> dict[str, Any] | None:
        """The outputs of the serving signature, without the key.

        Args:
            feeds: one per input, each of `rows` rows.
            rows: number of rows, 1 or more.
            filled: rows of the outputs, padded with copies of the last row.

        Returns:
            None where the rows have so many distinct texts that the serving signature is faster.

        Raises:
            OpError: the model failed.
        """
        by_name = {feed.taken.name: feed for feed in feeds}
        texts = [by_name[name].texts[0] for name in sorted(by_name) if by_name[name].numbers is None]
        coded = [each if pa.types.is_dictionary(each.type) else each.dictionary_encode() for each in texts]
        if any(2 * len(each.dictionary) > filled for each in coded):
            return None
        words = [vocabulary.words_of(each, filled) for vocabulary, each in zip(self._vocabularies, coded, strict=True)]
        sizes = [len(each.words) for each in words]
        if any(len(group) > 1 and math.prod(sizes[at] for at in group) > MAX_COMBINATIONS for group in self._groups):
            return None
        inputs = dict(self._tables(tuple(each.words for each in words)))
        for group in self._groups:
            codes = [words[at].codes for at in group]
            joined = codes[0] if len(group) == 1 else np.ravel_multi_index(codes, [sizes[at] for at in group])
            inputs[code_input(group)] = tf.constant(joined.astype(np.int32, copy=False))
        numbers = [by_name[name].numbers for name in sorted(by_name) if by_name[name].numbers is not None]
        for at, column in enumerate(numbers):
            inputs[number_input(at)] = tf.constant(filled_up(column, filled - rows))
        outputs: dict[str, Any] = self._predict(**inputs)
        return outputs

    def _tables(self, words: tuple[pa.Array, ...]) -> Mapping[str, Any]:
        """The tables of distinct texts, computed once for batches with the same texts."""
        made_of, tables = self._made
        if len(made_of) != len(words) or any(map(operator.is_not, made_of, words)):
            tables = self._text_tables(**{texts_input(at): to_tensor(each, len(each)) for at, each in enumerate(words)})
            self._made = words, tables
        return tables
