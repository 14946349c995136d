"""Canonical form of a tf.train.Example: protobuf's own serialization of a record that is encoded in another way."""

from __future__ import annotations

from functools import cache
from typing import Any

from headrace.core.errors import DataError


def canonical(record: bytes, row: int) -> bytes:
    """Parses the record and serializes it again by protobuf, without unknown fields.

    Args:
        record: a serialized tf.train.Example.
        row: its number, for the error.

    Raises:
        DataError: the record is not a tf.train.Example.
    """
    from google.protobuf.message import DecodeError

    try:
        message = _example_class().FromString(record)
        message.DiscardUnknownFields()
        written: bytes = message.SerializeToString(deterministic=True)
        return written
    except DecodeError as error:
        raise not_an_example(row, str(error)) from error


def not_an_example(row: int, received: str) -> DataError:
    """The error for a record that is not a tf.train.Example."""
    return DataError(f"record {row} is not a tf.train.Example", received=received)


@cache
def _example_class() -> Any:
    """The class tf.train.Example, built by protobuf from its descriptor, so that TensorFlow is not needed."""
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
