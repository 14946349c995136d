"""Vocabulary of the distinct texts so far, so that each one is computed once for many batches."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int32]

# A column with more distinct texts has mostly unique texts, which differ in the next batch.
MOST_WORDS = 1 << 16


@dataclass(frozen=True)
class Words:
    """Distinct texts, and the rows' texts as codes.

    Attributes:
        words: the distinct texts, as binary; the same object as long as no text is added.
        codes: the index of each row's text, [rows].
    """

    words: pa.Array
    codes: Codes


class Vocabulary:
    """The distinct texts of an input; safe to use from several threads at a time."""

    def __init__(self) -> None:
        """An empty vocabulary."""
        self._lock = threading.Lock()
        self._words = pa.array([], pa.binary())
        self._last: tuple[pa.Array, Codes] = self._words, np.zeros(0, np.int32)

    def words_of(self, texts: pa.Array, rows: int) -> Words:
        """Encodes texts as codes of distinct texts; new texts are added.

        Args:
            texts: strings or binary, plain or dictionary-encoded, one or more, without nulls.
            rows: number of codes, at least the number of texts; the last text pads them.
        """
        coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        words, places = self._placed(coded.dictionary.cast(pa.binary()))
        codes = places[coded.indices.to_numpy(zero_copy_only=False)]
        if rows > len(codes):
            codes = np.concatenate([codes, np.repeat(codes[-1:], rows - len(codes))])
        return Words(words, codes)

    def _placed(self, dictionary: pa.Array) -> tuple[pa.Array, Codes]:
        """The vocabulary, and the indices of a dictionary's texts in it."""
        with self._lock:
            if not dictionary.equals(self._last[0]):
                new = pc.unique(dictionary.filter(pc.invert(pc.is_in(dictionary, self._words))))
                if len(self._words) + len(new) > MOST_WORDS:
                    self._words = pc.unique(dictionary)
                elif len(new):
                    self._words = pa.concat_arrays([self._words, new])
                places = pc.index_in(dictionary, self._words).to_numpy(zero_copy_only=False)
                self._last = dictionary, places.astype(np.int32, copy=False)
            return self._words, self._last[1]
