"""Split and shard of a row, decided by a fingerprint of its key and not at random.

The fingerprint is MurmurHash64A (Austin Appleby, public domain) over the key's UTF-8 bytes, with the seed that
TensorFlow's `tf.strings.to_hash_bucket` uses, so it can be computed there too. It will not change: if a new release
moved rows from train to test, models could no longer be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.core.artifacts.examples import SPLITS
from headrace.core.problem import Splits
from headrace.core.tfrecord.pieces import offsets_of

_SEED = 0xDECAFCAFFE
_MULTIPLIER = np.uint64(0xC6A4A7935BD1E995)
_SHIFT = np.uint64(47)

Fingerprints = npt.NDArray[np.uint64]


def fingerprint(keys: pa.Array) -> Fingerprints:
    """MurmurHash64A of each key's bytes, vectorized over keys, eight bytes at a time.

    Args:
        keys: strings or binary values, without nulls.
    """
    values = keys.cast(pa.large_binary())
    offsets = offsets_of(values)
    starts, lengths = offsets[:-1], np.diff(offsets)
    data = values.buffers()[2]
    # Words are read at any byte offset, so the last one may extend past the end.
    padded = np.zeros((0 if data is None else data.size) + 8, np.uint8)
    if data is not None:
        padded[:-8] = np.frombuffer(data, np.uint8)
    words = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))

    state = np.uint64(_SEED) ^ (lengths.astype(np.uint64) * _MULTIPLIER)
    whole = lengths // 8
    for word in range(int(whole.max(initial=0))):
        rows = np.flatnonzero(whole > word)
        mixed = words[starts[rows] + 8 * word] * _MULTIPLIER
        mixed ^= mixed >> _SHIFT
        mixed *= _MULTIPLIER
        state[rows] = (state[rows] ^ mixed) * _MULTIPLIER
    rest = (lengths % 8).astype(np.uint64)
    rows = np.flatnonzero(rest)
    tail = words[starts[rows] + 8 * whole[rows]] & ((np.uint64(1) << (np.uint64(8) * rest[rows])) - np.uint64(1))
    state[rows] = (state[rows] ^ tail) * _MULTIPLIER
    state ^= state >> _SHIFT
    state *= _MULTIPLIER
    state ^= state >> _SHIFT
    return state


def split_of(splits: Splits, fingerprints: Fingerprints) -> npt.NDArray[np.int64]:
    """0, 1 or 2 (train, eval, test) for each fingerprint, by its value as a fraction of 2**64."""
    bounds = np.array([_bound(splits.train), _bound(splits.train, splits.eval)], np.uint64)
    return np.searchsorted(bounds, fingerprints, side="right")


@dataclass(frozen=True)
class Sharding:
    """Distribution of rows over the shards of all splits. Shards are numbered consecutively: train, eval, test.

    Attributes:
        splits: the fraction of each split.
        counts: shards of train, eval and test, each 1 or more.
    """

    splits: Splits
    counts: tuple[int, int, int]

    @classmethod
    def plan(cls, splits: Splits, rows: int, shard_rows: int, *, keyed: bool = True) -> Sharding:
        """Chooses the number of shards so that each holds about `shard_rows` of `rows`.

        Without keys, rows with equal content are in one group of about `shard_rows`, are numbered there, and are
        written as the group's shard of each split: all splits then have the same number of shards. Where another
        column or the file decides the split, rows with equal keys are grouped this way, whatever their splits.
        """
        if not keyed or splits.kind != "key":
            groups = max(1, -(-rows // shard_rows))
            return cls(splits, (groups, groups, groups))
        shares = (splits.train, splits.eval, splits.test)
        train, evaluation, test = (max(1, -int(-rows * share // shard_rows)) for share in shares)
        return cls(splits, (train, evaluation, test))

    def split_of(self, fingerprints: Fingerprints) -> npt.NDArray[np.int64]:
        """The split of each row, by the fingerprint of its key."""
        return split_of(self.splits, fingerprints)

    def shard_of(self, fingerprints: Fingerprints) -> npt.NDArray[np.int64]:
        """The number of each row's shard.

        The split follows from a fingerprint's high bits and the shard from its low bits, so the two are independent.
        """
        split = self.split_of(fingerprints)
        before = np.cumsum([0, *self.counts[:2]])
        return before[split] + _within(fingerprints, np.array(self.counts, np.uint64)[split])

    def group_of(self, contents: Fingerprints) -> npt.NDArray[np.int64]:
        """The group that rows without keys are numbered in, by the fingerprint of their content."""
        return _within(contents, np.uint64(self.counts[0]))

    def shards_of_group(self, group: int, splits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number of the shard of each row of a group, by the row's split."""
        return group + self.counts[0] * splits

    def name(self, shard: int) -> tuple[str, str]:
        """The split and the file of a shard, such as ("train", "train/part-00000-of-00008.tfrecord")."""
        for split, count in zip(SPLITS, self.counts, strict=True):
            if shard < count:
                return split, f"{split}/part-{shard:05d}-of-{count:05d}.tfrecord"
            shard -= count
        raise ValueError(f"shard must be below {sum(self.counts)}")


def _within(fingerprints: Fingerprints, count: npt.NDArray[np.uint64] | np.uint64) -> npt.NDArray[np.int64]:
    """Distributes fingerprints evenly over a number of shards, by their low bits."""
    within: npt.NDArray[np.int64] = (((fingerprints & np.uint64(0xFFFFFFFF)) * count) >> np.uint64(32)).astype(np.int64)
    return within


def _bound(*shares: float) -> int:
    """The sum of fractions, times 2**64; decimals are summed as written, so 0.8 + 0.1 is 0.9."""
    return min(int(sum(Fraction(str(share)) for share in shares) * 2**64), 2**64 - 1)
