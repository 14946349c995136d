"""Integers as base-128 varints, whole arrays of them at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_MAX_LENGTH = 10
# Seven bits of each varint byte: eight of them are spread over a word in three halvings.
_HALVINGS = ((0x00FFFFFFF0000000, 4), (0x0FFFC0000FFFC000, 2), (0x3F803F803F803F80, 1))


def varint(value: int) -> bytes:
    """A number of 0 or more as a base-128 varint."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def varint_lengths(values: Integers) -> Integers:
    """Bytes of each number's varint, 1 to 10; negative numbers, written as 64-bit two's complement, take 10."""
    unsigned = values.view(np.uint64)
    lengths = np.ones(len(values), np.int8)
    largest = int(unsigned.max(initial=0))
    for place in range(1, _MAX_LENGTH):
        if largest >> 7 * place == 0:
            break
        lengths += unsigned >= np.uint64(1 << 7 * place)
    return lengths.astype(np.int64)


def render_varints(values: Integers, length: int, out: Bytes) -> None:
    """Writes numbers whose varints all take `length` bytes into the rows of `out`, n x length."""
    unsigned = values.view(np.uint64)
    word = unsigned & np.uint64((1 << 56) - 1)
    for mask, shift in _HALVINGS:
        upper = word & np.uint64(mask)
        word ^= upper
        word |= upper << np.uint64(shift)
    # All bytes but the last say that another follows.
    word |= np.uint64(0x8080808080808080 & ((1 << 8 * (length - 1)) - 1))
    within = min(length, 8)
    out[:, :within] = word.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)[:, :within]
    if length > 8:
        more = 0x80 if length > 9 else 0
        out[:, 8] = (unsigned >> np.uint64(56)).astype(np.uint8) & 0x7F | more
    if length > 9:
        out[:, 9] = 1
