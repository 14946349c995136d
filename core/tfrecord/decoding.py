"""Decodes serialized tf.train.Example into Arrow columns, all records of a batch side by side.

One cursor a record, and all cursors move together: the n-th entry of every record's map is taken apart at once, then
the values of each column at once. A record that is written in another way than protobuf's serialization writes it
(fields in another order or repeated, lists not packed, unknown fields), or that is damaged, is given to protobuf
itself, whose word on it is final, and goes on as protobuf writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.core.errors import DataError
from headrace.core.tfrecord.parser import Mask, Parser


def decode(records: pa.LargeBinaryArray, columns: Sequence[str] | None = None) -> pa.RecordBatch:
    """The features of serialized Examples as columns.

    Args:
        records: serialized tf.train.Example; no nulls.
        columns: the features wanted, in this order; all there are, sorted by name, by default. One that no record has
            is a column of type null.

    Returns:
        As many rows as records. float_list is float32, int64_list int64, bytes_list binary; a list of these where any
        record of this batch has another number of values than one, so another batch may differ in that. A feature
        that is absent, or whose kind is not set, is null; a feature with no values is an empty list.

    Raises:
        DataError: a record is not a tf.train.Example, or a feature is of one kind here and of another there; the
            record is named by its place in `records`, from 0.
    """
    parser = Parser(records, columns)
    rewritten = np.zeros(len(records), np.bool_)
    while parser.irregular.any():
        # What was hidden behind one irregularity may be another, but not in a record that protobuf has written.
        if (parser.irregular & rewritten).any():
            row = int(np.argmax(parser.irregular & rewritten))
            raise _not_an_example(row, "protobuf writes it in a way that is not known")
        records = _rewritten(records, parser.irregular)
        rewritten |= parser.irregular
        parser = Parser(records, columns)
    names = sorted(parser.columns) if columns is None else list(columns)
    arrays = [parser.columns[name] if name in parser.columns else pa.nulls(len(records)) for name in names]
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(records), pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _not_an_example(row: int, received: str) -> DataError:
    return DataError(f"record {row} is not a tf.train.Example", received=received)


def _rewritten(records: pa.LargeBinaryArray, which: Mask) -> pa.LargeBinaryArray:
    """The records, some of them parsed and written again by protobuf."""
    from google.protobuf.message import DecodeError

    kind = _example_class()
    plain = records.to_pylist()
    for row in np.flatnonzero(which).tolist():
        try:
            message = kind.FromString(plain[row])
            message.DiscardUnknownFields()
            plain[row] = message.SerializeToString(deterministic=True)
        except DecodeError as error:
            raise _not_an_example(row, str(error)) from error
    return pa.array(plain, pa.large_binary())


@cache
def _example_class() -> Any:
    """tf.train.Example as protobuf builds it from its description, so that TensorFlow is not needed."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="headrace/example.proto", package="tensorflow", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(name="value", number=1, label=many, type=kind)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), 1):
        feature.field.add(
            name=f"kind_{number}",
            number=number,
            label=one,
            type=field.TYPE_MESSAGE,
            type_name=f".tensorflow.{name}",
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=field.TYPE_STRING)
    entry.field.add(name="value", number=2, label=one, type=field.TYPE_MESSAGE, type_name=".tensorflow.Feature")
    features.field.add(
        name="feature",
        number=1,
        label=many,
        type=field.TYPE_MESSAGE,
        type_name=".tensorflow.Features.FeatureEntry",
    )
    file.message_type.add(name="Example").field.add(
        name="features", number=1, label=one, type=field.TYPE_MESSAGE, type_name=".tensorflow.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
