"""Example decoding: serialized tf.train.Example to Arrow columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from headrace.core.tfrecord.parser import FeatureValues, parse
from headrace.core.tfrecord.pieces import data_of, offsets_of


def decode(
    records: pa.LargeBinaryArray, columns: Sequence[str] | None = None, *, maximum_features: int | None = None
) -> pa.RecordBatch:
    """Decodes the features of serialized Examples as columns.

    Args:
        records: serialized tf.train.Example; no nulls.
        columns: names of features, in order; by default all, sorted by name. A feature that no record has is a column
            of type null.
        maximum_features: as of `parse`.

    Returns:
        As many rows as records. float_list is float32, int64_list int64, bytes_list binary; a list of these where any
        record of this batch has a number of values other than one, so other batches may differ in that. A feature
        that is absent, or whose kind is not set, is null; a feature with no values is an empty list.

    Raises:
        DataError: a record is not a tf.train.Example, or the kind of a feature differs between records; the
            message has the record's index in `records`, from 0. Or there are more than `maximum_features`.
    """
    content = np.frombuffer(data_of(records), np.uint8)
    found = parse(content, offsets_of(records), columns, maximum_features=maximum_features)
    names = sorted(found) if columns is None else list(columns)
    arrays = [_column(found.get(name), len(records)) for name in names]
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(records), pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _column(found: FeatureValues | None, rows: int) -> pa.Array:
    """The column whose `found.rows` have `found.counts` of the values each; its other rows are null."""
    if found is None:
        return pa.nulls(rows)
    values, everywhere = _values(found), len(found.rows) == rows
    absent = np.ones(rows, np.bool_)
    absent[found.rows] = False
    if (found.counts == 1).all():
        if everywhere:
            return values
        places = np.zeros(rows, np.int64)
        places[found.rows] = np.arange(len(found.rows))
        return values.take(pa.array(places, mask=absent))
    every = np.zeros(rows, np.int64)
    every[found.rows] = found.counts
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(every, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=None if everywhere else pa.array(absent))


def _values(found: FeatureValues) -> pa.Array:
    if found.kind != "bytes_list":
        return pa.array(found.numbers)
    count = len(found.offsets) - 1
    kind, width = (pa.binary(), np.int32) if found.offsets[-1] < 1 << 31 else (pa.large_binary(), np.int64)
    buffers = [None, pa.py_buffer(found.offsets.astype(width)), pa.py_buffer(found.content)]
    return pa.Array.from_buffers(kind, count, buffers)
