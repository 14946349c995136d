"""Varint encoding: base-128 varints of whole arrays of integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_MAX_LENGTH = 10
# Of the length of a field, as protobuf writes it.
_MAX_LENGTH_BYTES = 5
# Masks that spread eight groups of seven bits over a word in three halvings.
_HALVINGS = ((0x00FFFFFFF0000000, 4), (0x0FFFC0000FFFC000, 2), (0x3F803F803F803F80, 1))
# Continuation bits by the length of a varint: set in all its bytes but the last.
_CONTINUED = np.array([0x8080808080808080 & ((1 << 8 * max(0, n - 1)) - 1) for n in range(_MAX_LENGTH + 1)], np.uint64)


def varint(value: int) -> bytes:
    """Encodes a non-negative number as a base-128 varint."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def varint_lengths(values: Integers) -> Integers:
    """Number of bytes of each number's varint, 1 to 10; negative numbers, in 64-bit two's complement, need 10."""
    unsigned = values.view(np.uint64)
    lengths = np.ones(len(values), np.int8)
    largest = int(unsigned.max(initial=0))
    for place in range(1, _MAX_LENGTH):
        if largest >> 7 * place == 0:
            break
        lengths += unsigned >= np.uint64(1 << 7 * place)
    return lengths.astype(np.int64)


def render_varints(values: Integers, lengths: Integers) -> Bytes:
    """The varint of each number at the left of a row of 8 or, if needed, 10 bytes; bytes after it are arbitrary."""
    unsigned = values.view(np.uint64)
    word = unsigned & np.uint64((1 << 56) - 1)
    for mask, shift in _HALVINGS:
        upper = word & np.uint64(mask)
        word ^= upper
        upper <<= np.uint64(shift)
        word |= upper
    word |= _CONTINUED.take(lengths)
    low = word.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)
    if lengths.max(initial=0) <= 8:
        return low
    rendered = np.empty((len(values), _MAX_LENGTH), np.uint8)
    rendered[:, :8] = low
    # The sign is bit 63: where it is set, the ninth byte continues and the tenth holds only it.
    rendered[:, 8] = unsigned >> np.uint64(56)
    rendered[:, 9] = 1
    return rendered


def parse_varints(content: Bytes, bounds: Integers) -> tuple[Integers, Integers, bool]:
    """Packed integers: their values, the number that ends within each of the bounds, and whether they are valid."""
    last = content < 0x80
    ends = np.flatnonzero(last)
    until = np.concatenate([np.zeros(1, np.int64), np.cumsum(last)])
    counts = np.diff(until[bounds], prepend=0)
    # A piece must end where a number ends.
    closed = bounds[bounds > 0] - 1
    if not last[closed].all():
        return ends, counts, False
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: len(ends)]
    lengths = ends - starts + 1
    longest = int(lengths.max(initial=0))
    if longest > 10 or (longest == 10 and (content[ends[lengths == 10]] > 1).any()):
        return ends, counts, False
    values = (content[starts] & 0x7F).astype(np.uint64)
    longer = np.flatnonzero(lengths > 1)
    for place in range(1, longest):
        longer = longer[lengths[longer] > place]
        digits = (content[starts[longer] + place] & 0x7F).astype(np.uint64)
        values[longer] |= digits << np.uint64(7 * place)
    return values.view(np.int64), counts, True


def parse_fields(content: bytes) -> Integers | None:
    """[fields, 2] start and length of the content of each field 1, if the content is such fields alone; else None."""
    found: list[int] = []
    at, end = 0, len(content)
    while at < end:
        if content[at] != 0x0A:
            return None
        length = 0
        for shift in range(0, 7 * _MAX_LENGTH_BYTES, 7):
            at += 1
            if at >= end:
                return None
            length |= (content[at] & 0x7F) << shift
            if content[at] < 0x80:
                break
        else:
            return None
        found += (at + 1, length)
        at += 1 + length
    return None if at > end else np.array(found, np.int64).reshape(-1, 2)
