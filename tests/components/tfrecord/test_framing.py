"""TFRecord files, read back by TensorFlow, which checks every checksum."""

from __future__ import annotations

import tempfile
from pathlib import Path

import google_crc32c
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import UsageError
from headrace.components.tfrecord.framing import TFRecordWriter, frame, masked_crc32c


def read(path: Path) -> list[bytes]:
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


@given(st.lists(st.lists(st.binary(max_size=200), max_size=5), max_size=3))
@settings(max_examples=50, deadline=None)
def test_tensorflow_reads_what_was_written(batches: list[list[bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.tfrecord"
        with TFRecordWriter(path) as writer:
            for batch in batches:
                writer.write(pa.array(batch, pa.large_binary()))
        records = [record for batch in batches for record in batch]
        assert read(path) == records
        content = path.read_bytes()
        assert (writer.rows, writer.bytes) == (len(records), len(content))
        assert writer.crc32c == f"{google_crc32c.value(content):08x}"


def test_bytes_equal_tensorflows_writer(tmp_path: Path) -> None:
    records = [b"", b"a", b"hello" * 1000, bytes(range(256))]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in records:
            writer.write(record)
    assert frame(pa.array(records, pa.large_binary())) == (tmp_path / "theirs").read_bytes()


def test_a_slice_is_framed_without_what_lies_around_it() -> None:
    records = pa.array([b"left", b"mine", b"right"], pa.large_binary())
    assert frame(records.slice(1, 1)) == frame(pa.array([b"mine"], pa.large_binary()))


def test_masked_crc_of_the_crc32c_check_string() -> None:
    # CRC-32C of "123456789" is 0xe3069283 (RFC 3720, appendix B.4 and the catalogue of CRCs).
    assert masked_crc32c(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "train" / "part.tfrecord"
    with TFRecordWriter(path) as writer:
        writer.write(pa.array([b"a"], pa.large_binary()))
        assert not path.exists()
    assert read(path) == [b"a"]
    with pytest.raises(KeyError), TFRecordWriter(tmp_path / "failed.tfrecord"):
        raise KeyError
    assert [entry.name for entry in tmp_path.iterdir()] == ["train"]


def test_a_place_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError), TFRecordWriter(tmp_path / "file" / "part.tfrecord"):
        pass
