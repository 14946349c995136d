"""Fingerprints against TensorFlow's, and the splits and shards that follow from them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.problem import Splits
from headrace.core.rows.splits import Sharding, fingerprint

KEYS = pa.array([str(number) for number in range(1, 20_001)])
# 2 to the 63rd is more than to_hash_bucket takes; two coprime moduli pin all 64 bits (Chinese remainder theorem).
MODULI = (2**62, 2**61 - 1)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.binary(max_size=40).map(repr)))
@max_examples(60)
def test_fingerprints_are_those_of_tensorflow(keys: list[str]) -> None:
    got = fingerprint(pa.array(keys, pa.string()))
    assert got.dtype == np.uint64
    for modulus in MODULI:
        theirs = tf.strings.to_hash_bucket(tf.constant(keys, tf.string), modulus).numpy()
        assert [int(value) % modulus for value in got] == theirs.tolist()


def test_golden_fingerprints() -> None:
    keys = pa.array(["", "1", "12345678", "123456789", "a key of more than sixteen bytes", "clé"])
    assert [f"{value:016x}" for value in fingerprint(keys)] == GOLDEN


def test_golden_splits() -> None:
    sharding = Sharding(Splits(), (4, 2, 2))
    prints = fingerprint(KEYS.slice(0, 12))
    assert sharding.split_of(prints).tolist() == GOLDEN_SPLITS
    assert sharding.shard_of(prints).tolist() == GOLDEN_SHARDS


def test_a_key_has_one_place_whatever_is_around_it() -> None:
    sharding = Sharding(Splits(0.5, 0.25, 0.25), (3, 2, 1))
    shards = sharding.shard_of(fingerprint(KEYS))
    order = np.random.default_rng(3).permutation(len(KEYS))
    assert (sharding.shard_of(fingerprint(KEYS.take(pa.array(order)))) == shards[order]).all()
    assert (sharding.shard_of(fingerprint(KEYS.slice(777, 50).cast(pa.large_binary()))) == shards[777:827]).all()


@pytest.mark.parametrize("splits", [Splits(), Splits(0.6, 0.3, 0.1), Splits(0.98, 0.01, 0.01)])
def test_splits_get_their_shares(splits: Splits) -> None:
    counts = np.bincount(Sharding(splits, (1, 1, 1)).split_of(fingerprint(KEYS)), minlength=3)
    shares = np.array([splits.train, splits.eval, splits.test])
    # Four standard deviations of a binomial share.
    assert (np.abs(counts / len(KEYS) - shares) < 4 * np.sqrt(shares * (1 - shares) / len(KEYS))).all()


def test_bounds_are_exact() -> None:
    train, evaluation = 2**64 * 4 // 5, 2**64 * 9 // 10
    prints = np.array([0, train - 1, train, evaluation - 1, evaluation, 2**64 - 1], np.uint64)
    assert Sharding(Splits(0.8, 0.1, 0.1), (1, 1, 1)).split_of(prints).tolist() == [0, 0, 1, 1, 2, 2]


def test_shards_of_a_split_are_even_and_do_not_depend_on_its_share() -> None:
    sharding = Sharding(Splits(0.5, 0.3, 0.2), (4, 2, 3))
    counts = np.bincount(sharding.shard_of(fingerprint(KEYS)), minlength=9)
    expected = len(KEYS) * np.array([0.5 / 4] * 4 + [0.3 / 2] * 2 + [0.2 / 3] * 3)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_shards_are_planned_by_rows_and_named() -> None:
    sharding = Sharding.plan(Splits(), 1_000_000, 100_000)
    assert sharding.counts == (8, 1, 1)
    assert Sharding.plan(Splits(), 1, 100_000).counts == (1, 1, 1)
    assert sharding.name(7) == ("train", "train/part-00007-of-00008.tfrecord")
    assert sharding.name(8) == ("eval", "eval/part-00000-of-00001.tfrecord")
    assert sharding.name(9) == ("test", "test/part-00000-of-00001.tfrecord")
    with pytest.raises(ValueError, match="below 10"):
        sharding.name(10)


# Pinned: they must never change, or rows would move between the splits of users' data.
GOLDEN = [
    "81769421199f9e3b",
    "8a0009b658d3b47d",
    "05d826b62696d2b7",
    "c68ee0a8608359cb",
    "9e2b38ea8cb62fa2",
    "9288d2863b3c08e9",
]
GOLDEN_SPLITS = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
GOLDEN_SHARDS = [1, 0, 2, 0, 0, 1, 3, 4, 0, 0, 3, 2]
