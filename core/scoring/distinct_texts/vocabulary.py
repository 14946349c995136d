"""The distinct texts that came so far, so that what follows from one is worked out once for many batches."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int32]

# A column with more distinct texts is one of unique ones, of which the next batch has others.
MOST_WORDS = 1 << 16


@dataclass(frozen=True)
class Words:
    """Distinct texts, and those of rows as numbers of them.

    Attributes:
        words: the distinct ones, as binary; the same object as long as none is added.
        codes: for each row the index of its text, [rows].
    """

    words: pa.Array
    codes: Codes


class Vocabulary:
    """The distinct texts of an input; safe to use from several threads at a time."""

    def __init__(self) -> None:
        """Begins with none."""
        self._lock = threading.Lock()
        self._words = pa.array([], pa.binary())
        self._last: tuple[pa.Array, Codes] = self._words, np.zeros(0, np.int32)

    def words_of(self, texts: pa.Array, rows: int) -> Words:
        """Texts as numbers of distinct ones, to which new ones are added.

        Args:
            texts: strings or binary, or either as a dictionary, one or more, without null.
            rows: as many as are wanted, at least as many as there are texts: the last one fills the rest.
        """
        coded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        words, places = self._placed(coded.dictionary.cast(pa.binary()))
        codes = places[coded.indices.to_numpy(zero_copy_only=False)]
        if rows > len(codes):
            codes = np.concatenate([codes, np.repeat(codes[-1:], rows - len(codes))])
        return Words(words, codes)

    def _placed(self, dictionary: pa.Array) -> tuple[pa.Array, Codes]:
        """The vocabulary, and where in it the texts of a dictionary are."""
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
