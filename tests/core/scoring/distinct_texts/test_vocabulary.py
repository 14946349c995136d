"""Texts as numbers of those that came so far."""

from __future__ import annotations

import pyarrow as pa
import pytest

from headrace.core.scoring.distinct_texts import vocabulary as module
from headrace.core.scoring.distinct_texts.vocabulary import Vocabulary, Words


def texts(words: Words) -> list[bytes]:
    found: list[bytes] = words.words.take(pa.array(words.codes)).to_pylist()
    return found


def test_texts_keep_their_numbers() -> None:
    vocabulary = Vocabulary()
    first = vocabulary.words_of(pa.array(["b", "a", "b"]), 5)
    assert (first.words.to_pylist(), first.codes.tolist()) == ([b"b", b"a"], [0, 1, 0, 0, 0])
    again = vocabulary.words_of(pa.array(["a", "a"]), 2)
    assert again.words is first.words
    assert again.codes.tolist() == [1, 1]
    more = vocabulary.words_of(pa.array(["c", "a"]), 2)
    assert (more.words.to_pylist(), more.codes.tolist()) == ([b"b", b"a", b"c"], [2, 1])


def test_dictionaries_and_bytes_are_texts_too() -> None:
    vocabulary = Vocabulary()
    repeating = pa.DictionaryArray.from_arrays(pa.array([2, 0, 1], pa.int8()), pa.array(["x", "y", "x"]))
    assert texts(vocabulary.words_of(repeating, 4)) == [b"x", b"x", b"y", b"y"]
    assert texts(vocabulary.words_of(pa.array([b"\xff", b"y"]), 2)) == [b"\xff", b"y"]
    assert len(vocabulary.words_of(pa.array(["y"]), 1).words) == 3


def test_it_begins_anew_before_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WORDS", 3)
    vocabulary = Vocabulary()
    vocabulary.words_of(pa.array(["a", "b"]), 2)
    assert texts(vocabulary.words_of(pa.array(["c", "d"]), 2)) == [b"c", b"d"]
    many = vocabulary.words_of(pa.array(["p", "q", "r", "s"]), 4)
    assert texts(many) == [b"p", b"q", b"r", b"s"]
    assert len(many.words) == 4
