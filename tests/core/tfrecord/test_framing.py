"""TFRecord files, read back by TensorFlow, which checks every checksum."""

from __future__ import annotations

import gzip
import io
import tempfile
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.errors import DataError, UsageError
from headrace.core.tfrecord.encoding import encode
from headrace.core.tfrecord.framing import TFRecordWriter, frame, frame_examples, masked_crc32c, read_records

pytestmark = pytest.mark.usefixtures("either_way")


def read(path: Path) -> list[bytes]:
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


@given(st.lists(st.lists(st.binary(max_size=200), max_size=5), max_size=3))
@max_examples(50)
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


def test_examples_are_framed_block_by_block_as_their_records_are(tmp_path: Path) -> None:
    rows = 3000
    # Few different values, so that each is encoded once: two zeros and two NaNs that only their bits tell apart.
    bits = np.array([0x00000000, 0x80000000, 0x7FC00000, 0x7FC00001, 0x3F800000], np.uint32)
    batch = pa.RecordBatch.from_pydict(
        {
            "few": pa.array(np.resize(bits, rows).view(np.float32)),
            "wide": pa.array(np.resize(np.array([-0.0, 0.0, np.nan, 1e300]), rows)),
            "none": pa.array([None] * rows, pa.float32()),
            "number": pa.array([None if row % 7 == 0 else (-1) ** row << row % 64 for row in range(rows)], pa.int64()),
            "text": ["x" * (row % 500) for row in range(rows)],
        }
    )
    blocks = list(frame_examples(batch))
    content = b"".join(blocks)
    assert len(blocks) > 2
    assert content == frame(encode(batch))
    with TFRecordWriter(tmp_path / "part") as writer:
        writer.write_examples(batch)
        writer.write_examples(batch.slice(0, 0))
    assert (tmp_path / "part").read_bytes() == content
    assert (writer.rows, writer.crc32c) == (rows, f"{google_crc32c.value(content):08x}")
    for row, record in zip((0, 1, 2, 3), read(tmp_path / "part"), strict=False):
        features = tf.train.Example.FromString(record).features.feature
        assert np.float32(features["few"].float_list.value[0]).tobytes() == bits[row : row + 1].tobytes()
        assert "none" not in features


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


@given(
    st.lists(st.binary(max_size=200), max_size=20),
    st.integers(1, 300),
    st.sampled_from([None, "", "GZIP"]),
)
@max_examples(50)
def test_what_tensorflow_wrote_is_read(records: list[bytes], block_bytes: int, compression: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "theirs"
        with tf.io.TFRecordWriter(str(path), compression) as writer:
            for record in records:
                writer.write(record)
        batches = list(read_records(path, compressed=compression == "GZIP", block_bytes=block_bytes))
    assert [record for batch in batches for record in batch.to_pylist()] == records
    assert all(len(batch) for batch in batches)


def write_records(path: Path, records: list[bytes]) -> bytes:
    with TFRecordWriter(path) as writer:
        writer.write(pa.array(records, pa.large_binary()))
    return path.read_bytes()


def read_all(content: bytes, *, compressed: bool = False, block_bytes: int = 100) -> list[bytes]:
    file = io.BytesIO(content)
    batches = read_records(file, compressed=compressed, name="part.tfrecord", block_bytes=block_bytes)
    return [record for batch in batches for record in batch.to_pylist()]


@pytest.mark.parametrize("block_bytes", [1, 37, 1 << 20])
def test_every_truncation_and_every_flipped_bit_is_told_with_its_place(tmp_path: Path, block_bytes: int) -> None:
    records = [b"first", b"", b"third" * 9]
    content = write_records(tmp_path / "part", records)
    starts = [0, 21, 37]
    assert read_all(content, block_bytes=block_bytes) == records
    for length in range(len(content)):
        start = max((place for place in starts if place <= length), default=0)
        if length in starts:
            assert read_all(content[:length], block_bytes=block_bytes) == records[: starts.index(length)]
            continue
        with pytest.raises(DataError, match=rf"part.tfrecord, byte {start}: the file ends within a record"):
            read_all(content[:length], block_bytes=block_bytes)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        start = max(begin for begin in starts if begin <= place)
        with pytest.raises(DataError, match=rf"part.tfrecord, byte {start}: the checksum of a record"):
            read_all(bytes(damaged), block_bytes=block_bytes)


def test_damaged_gzip_is_told(tmp_path: Path) -> None:
    content = gzip.compress(write_records(tmp_path / "part", [b"record" * 50] * 10), mtime=0)
    assert len(read_all(content, compressed=True)) == 10
    assert len(read_all(content + content, compressed=True)) == 20
    for damaged, what in [
        (content[: len(content) // 2], "the gzip stream ends too early"),
        (content[:20] + bytes([content[20] ^ 0xFF]) + content[21:], "the gzip stream is damaged"),
        (content[:-6] + bytes(6), "the gzip stream is damaged"),
        (b"no gzip at all", "the gzip stream is damaged"),
    ]:
        with pytest.raises(DataError, match=rf"part.tfrecord, after byte \d+: {what}"):
            read_all(damaged, compressed=True, block_bytes=1 << 20)
    with pytest.raises(DataError, match=r"part.tfrecord, byte 0: the checksum .* compressed"):
        read_all(content, compressed=False)


def test_a_file_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file does not exist"):
        list(read_records(tmp_path / "nothing", compressed=False))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_records(tmp_path, compressed=False))


def test_gzip_is_read_by_tensorflow_and_gives_the_same_bytes_again(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pydict({"x": [1, 2, None], "text": ["a", "b", "c"]})
    contents = []
    for name in ("one.gz", "two.gz"):
        with TFRecordWriter(tmp_path / name, gzip_level=1) as writer:
            writer.write(encode(batch))
            writer.write(encode(batch))
        contents.append((tmp_path / name).read_bytes())
        assert (writer.rows, writer.bytes) == (6, len(contents[-1]))
        assert writer.crc32c == f"{google_crc32c.value(contents[-1]):08x}"
    assert contents[0] == contents[1]
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / "one.gz"), "GZIP")]
    assert records == encode(batch).to_pylist() * 2
    with pytest.raises(UsageError, match="gzip level"):
        TFRecordWriter(tmp_path / "x", gzip_level=10)
