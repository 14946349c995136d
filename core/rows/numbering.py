"""Row numbering: the keys of rows of a table without a key column, by their content and occurrence.

A row's key is a fingerprint of its label, weight and features in 16 hexadecimal digits, and its number among the rows
with this content, from 1: "00d1f2a3b4c5d6e7-1". The order of rows only numbers equal rows, so keys and the splits that
follow from them do not change when rows are added anywhere. Another set of features gives other keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.rows.splits import Fingerprints, fingerprint
from headrace.core.tfrecord.encoding import encode

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


def content_fingerprint(batch: pa.RecordBatch) -> Fingerprints:
    """Fingerprint of each row's Example, independent of the order of the columns and of the source format."""
    return fingerprint(encode(batch))


def content_texts(prints: Fingerprints) -> pa.StringArray:
    """Fingerprints in 16 hexadecimal digits each."""
    raw = prints.astype(">u8").view(np.uint8).reshape(-1, 8)
    text = np.stack([_DIGITS[raw >> 4], _DIGITS[raw & 15]], axis=2).tobytes()
    offsets = np.arange(len(prints) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(prints), pa.py_buffer(offsets), pa.py_buffer(text))


def number(contents: pa.Array, earlier: Mapping[str, int] = MappingProxyType({})) -> pa.Array:
    """The keys of rows.

    Args:
        contents: `content_texts` of rows, in order: all rows of each content to number.
        earlier: number of rows that were numbered before, by content.

    Returns:
        One unique text per row.
    """
    coded = contents.dictionary_encode()
    codes = coded.indices.to_numpy()
    start = np.array([earlier.get(text, 0) for text in coded.dictionary.to_pylist()], np.int64)
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    occurrence: npt.NDArray[np.int64] = np.empty(len(codes), np.int64)
    occurrence[order] = np.arange(len(codes)) - np.repeat(first, np.diff(first, append=len(codes))) + 1
    numbers = pa.array(occurrence + start[codes]).cast(pa.string())
    return pc.binary_join_element_wise(contents, numbers, "-")
