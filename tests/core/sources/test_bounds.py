"""Files whose counts, schemas or texts are not to be believed: refused in little time and memory."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import UnreadableFile
from headrace.core.sources import tfrecord as tfrecord_source
from headrace.core.sources.avro import blocks as avro_source
from headrace.core.sources.avro.schema import minimum_width
from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.sources.parquet import pages as parquet_pages
from headrace.core.sources.parquet import reader as parquet_reader
from headrace.core.tfrecord import parser
from headrace.core.tfrecord.framing import TFRecordWriter
from headrace.core.tfrecord.varints import varint
from headrace.core.values.columns import logical


def avro(fields: list[dict[str, Any]], rows: list[dict[str, Any]], **options: Any) -> bytes:
    content = io.BytesIO()
    fastavro.writer(content, {"type": "record", "name": "row", "fields": fields}, rows, **options)
    return content.getvalue()


NODE: dict[str, Any] = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}


def read(path: Path) -> int:
    parts = list_parts(str(path))
    return sum(rows.count for part in parts for rows in read_part(part, ["id"], 100))


def test_records_without_content_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.avro").write_bytes(avro([{"name": "id", "type": "null"}], [{"id": None}] * 100_000))
    with pytest.raises(UnreadableFile, match="no content"):
        read(tmp_path)


def test_a_block_has_no_more_rows_than_its_bytes(tmp_path: Path) -> None:
    content = avro([{"name": "id", "type": "long"}], [{"id": 1}] * 3)
    # The block: 3 rows (zigzag 6) in 3 bytes.
    assert content.count(b"\x06\x06\x02\x02\x02") == 1
    (tmp_path / "a.avro").write_bytes(content.replace(b"\x06\x06\x02\x02\x02", b"\xfe\xff\xff\x7f\x06\x02\x02\x02"))
    with pytest.raises(UnreadableFile, match="more rows than its bytes"):
        read(tmp_path)


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz"])
def test_a_compressed_block_has_a_maximum_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    fields = [{"name": "id", "type": "string"}]
    long = "x" * (1 << 20)
    rows = [{"id": "a"}] * 3000 + [{"id": long}] * 3
    (tmp_path / "a.avro").write_bytes(avro(fields, rows, codec=codec, sync_interval=10_000))
    monkeypatch.setattr(avro_source, "MAXIMUM_BLOCK", len(long) + 20_000)
    assert read(tmp_path) == 3003
    monkeypatch.setattr(avro_source, "MAXIMUM_BLOCK", len(long))
    with pytest.raises(UnreadableFile, match=r"a\.avro, byte \d+: a block is too long"):
        read(tmp_path)


def test_a_compressed_record_has_a_maximum_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.RecordBatch.from_pydict({"id": ["a", "x" * (8 << 20), "b"]})
    with TFRecordWriter(tmp_path / "a.tfrecord.gz", gzip_level=6) as writer:
        writer.write_examples(batch)
    assert read(tmp_path) == 3
    monkeypatch.setattr(tfrecord_source, "MAXIMUM_RECORD", 2 << 20)
    with pytest.raises(
        UnreadableFile, match=r"a record is too long\. Expected records of at most 2 MiB\. Received: 8 MiB"
    ):
        read(tmp_path)


def test_an_array_of_nothing_is_refused(tmp_path: Path) -> None:
    fields = [{"name": "id", "type": "long"}, {"name": "n", "type": {"type": "array", "items": "null"}}]
    (tmp_path / "a.avro").write_bytes(avro(fields, [{"id": 1, "n": [None] * 1000}]))
    with pytest.raises(UnreadableFile, match="without content"):
        read(tmp_path)


def test_a_schema_that_is_nested_too_deeply_is_a_damaged_file(tmp_path: Path) -> None:
    kind = '"long"'
    for _ in range(20_000):
        kind = f'{{"type":"array","items":{kind}}}'
    schema = f'{{"type":"record","name":"row","fields":[{{"name":"id","type":{kind}}}]}}'.encode()
    content = avro([{"name": "id", "type": "long"}], [{"id": 1}])
    header = b"Obj\x01" + b"\x02" + b"\x16avro.schema" + fastavro_long(len(schema)) + schema + b"\x00" + content[-16:]
    (tmp_path / "a.avro").write_bytes(header)
    with pytest.raises(UnreadableFile, match="not Avro, or is damaged"):
        source_of("a.avro").columns(str(tmp_path / "a.avro"))


def test_a_value_of_any_depth_is_refused_with_its_schema(tmp_path: Path) -> None:
    """A million records, each within the one before, are a megabyte; fastavro would end this process."""
    depth = 1_000_000
    content = avro([{"name": "id", "type": "long"}, {"name": "n", "type": ["null", NODE]}], [{"id": 1, "n": None}])
    mark = content[-16:]
    block = fastavro_long(1) + b"\x02" * (depth + 1) + b"\x00"
    header = content[: content.index(mark) + 16]
    (tmp_path / "a.avro").write_bytes(header + fastavro_long(1) + fastavro_long(len(block)) + block + mark)
    for use in (lambda: read(tmp_path), lambda: source_of("a.avro").columns(str(tmp_path / "a.avro"))):
        with pytest.raises(
            UnreadableFile, match=r"the file's schema is refused\. Received: the type Node is within itself"
        ):
            use()


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "array", "items": "Node"},
        {"type": "map", "values": ["null", "Node"]},
        {"type": "record", "name": "Other", "fields": [{"name": "back", "type": ["null", "Node"]}]},
        {"type": "error", "name": "Node2", "fields": [{"name": "back", "type": ["null", "Node"]}]},
    ],
)
def test_a_type_within_itself_by_way_of_others(kind: Any) -> None:
    for form in ("record", "error"):
        with pytest.raises(ValueError, match="the type Node is within itself"):
            minimum_width({"type": form, "name": "Node", "fields": [{"name": "a", "type": kind}]})


def test_a_type_that_is_used_again_is_not_within_itself() -> None:
    pair = {"type": "record", "name": "Pair", "fields": [{"name": n, "type": "float"} for n in "ab"]}
    fields = [
        {"name": "one", "type": pair},
        {"name": "two", "type": ["null", "Pair"]},
        {"name": "three", "type": "Pair"},
    ]
    assert minimum_width({"type": "record", "name": "row", "fields": fields}) == 17


def test_a_short_schema_of_many_values_is_refused(tmp_path: Path) -> None:
    """Each record has the one before twice: 2 to the 60 values of no byte."""
    kind: Any = {"type": "record", "name": "r0", "fields": [{"name": "a", "type": "null"}]}
    for number in range(1, 61):
        fields = [{"name": "a", "type": kind}, {"name": "b", "type": f"r{number - 1}"}]
        kind = {"type": "record", "name": f"r{number}", "fields": fields}
    (tmp_path / "a.avro").write_bytes(avro([{"name": "id", "type": "long"}, {"name": "n", "type": kind}], []))
    with pytest.raises(UnreadableFile, match="the record r14 has 16,384 values, more than 10,000"):
        source_of("a.avro").columns(str(tmp_path / "a.avro"))


@pytest.mark.parametrize("codec", ["snappy", "zstandard", "lz4", "unknown"])
def test_a_codec_without_a_bound_is_refused(tmp_path: Path, codec: str) -> None:
    """Whether or not its package is installed."""
    content = avro([{"name": "id", "type": "long"}], [{"id": 1}])
    named = fastavro_long(len(codec)) + codec.encode()
    assert content.count(b"\x08null") == 1
    (tmp_path / "a.avro").write_bytes(content.replace(b"\x08null", named))
    with pytest.raises(UnreadableFile) as caught:
        read(tmp_path)
    assert (caught.value.what, caught.value.expected, caught.value.received) == (
        "the compression of the file is not supported", "null, deflate, bzip2 or xz", codec,
    )  # fmt: skip


def features(*names: str) -> Any:
    """A serialized tf.train.Example with the integer 1 under each name."""
    import tensorflow as tf

    example = tf.train.Example()
    for name in names:
        example.features.feature[name].int64_list.value.append(1)
    return example.SerializeToString(deterministic=True)


def records(path: Path, *contents: bytes) -> Path:
    with TFRecordWriter(path) as writer:
        writer.write(pa.array(contents, pa.large_binary()))
    return path


def test_the_features_of_records_are_counted_before_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfrecord_source, "MAXIMUM_MEMBERS", 50)
    names = [f"f{number:02d}" for number in range(51)]
    enough = records(tmp_path / "enough.tfrecord", features(*names[:50]), features(*names[:50]))
    assert len(source_of(enough.name).columns(str(enough))) == 50
    monkeypatch.setattr(parser._Parser, "_column", None)
    one = records(tmp_path / "one.tfrecord", features(*names))
    several = records(tmp_path / "several.tfrecord", *(features(name) for name in names))
    # A map entry that is repeated counts as often as it is there, whatever is wanted of it.
    entries = features("same")[2:] * 51
    again = records(tmp_path / "again.tfrecord", b"\x0a" + varint(len(entries)) + entries)
    for path in (one, several, again):
        with pytest.raises(UnreadableFile, match=r"the records have too many features\. Expected at most 50"):
            source_of(path.name).columns(str(path))
        with pytest.raises(UnreadableFile, match="the records have too many features"):
            next(iter(source_of(path.name).read(str(path), ["absent"], 100)))


def fastavro_long(value: int) -> bytes:
    zigzag, out = value << 1, bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


@pytest.mark.parametrize(
    ("kind", "width"),
    [
        ("null", 0),
        ("long", 1),
        ("double", 8),
        (["null", "long"], 1),
        ({"type": "fixed", "name": "f", "size": 16}, 16),
        (
            {"type": "record", "name": "r", "fields": [{"name": "a", "type": "float"}, {"name": "b", "type": ["int"]}]},
            6,
        ),
        ([NODE["fields"][0]["type"][0], {"type": "error", "name": "e", "fields": []}], 1),
        ([], 1),
        ({"type": "map", "values": "null"}, 1),
        ({"type": "enum", "name": "e", "symbols": ["a"]}, 1),
    ],
)
def test_minimum_width(kind: Any, width: int) -> None:
    assert minimum_width(json.loads(json.dumps(kind))) == width


def test_a_name_in_parquet_that_is_not_utf8_is_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a"], "abcd": [1]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"abcd", b"\xff\xfe\xff\xfe"))
    for read_file in (lambda: source_of(str(path)).columns(str(path)), lambda: read(path)):
        with pytest.raises(UnreadableFile, match=r"a\.parquet: the name of a column is not UTF-8"):
            read_file()


def test_physical_types_of_parquet_are_read_as_what_they_say(tmp_path: Path) -> None:
    table = pa.table(
        {
            "view": pa.array(["a", None], pa.string_view()),
            "fixed": pa.array([b"abc", b"def"], pa.binary(3)),
            "uuid": pa.array([bytes(range(16)), None], pa.uuid()),
            "code": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (part,) = list_parts(str(tmp_path))
    kinds = dict(source_of(part.path).columns(part.path))
    assert kinds == {"view": pa.string(), "fixed": pa.binary(), "uuid": pa.string(), "code": pa.string()}
    (rows,) = read_part(part, ["view", "uuid", "fixed"], 10)
    assert rows.batch.to_pydict() == {
        "view": ["a", None],
        "uuid": ["00010203-0405-0607-0809-0a0b0c0d0e0f", None],
        "fixed": [b"abc", b"def"],
    }


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("pages", ["1.0", "2.0"])
def test_a_page_of_parquet_has_a_maximum_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, pages: str
) -> None:
    long = "x" * (1 << 20)
    texts = [*("a", "b") * 1000, long, "c", *map(str, range(3000))]
    table = pa.table({"id": texts, "n": range(len(texts)), "other": ["y" * 100 + str(n) for n in range(len(texts))]})
    options: dict[str, Any] = {"compression": compression, "data_page_version": pages, "data_page_size": 4096}
    for name, dictionary in (("plain", False), ("coded", True)):
        pq.write_table(table, tmp_path / f"{name}.parquet", use_dictionary=dictionary, **options)
        monkeypatch.setattr(parquet_pages, "MAXIMUM_PAGE", (1 << 20) + 40_000)
        assert read(tmp_path / f"{name}.parquet") == len(texts)
        monkeypatch.setattr(parquet_pages, "MAXIMUM_PAGE", 1 << 20)
        with pytest.raises(UnreadableFile, match=r'parquet, byte \d+: a page of the column "id" is too large'):
            read(tmp_path / f"{name}.parquet")
        # Columns that nobody reads cost nothing.
        (part,) = list_parts(str(tmp_path / f"{name}.parquet"))
        assert sum(rows.count for rows in read_part(part, ["n", "other"], 100)) == len(texts)


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_a_damaged_header_of_a_page_is_an_error_of_the_file(content: bytes) -> None:
    try:
        found = parquet_pages._Compact(content).struct()
    except (IndexError, ValueError):
        return
    assert all(isinstance(value, int) for value in found.values())


def repeated(path: Path, size: int, rows: int, **options: Any) -> list[str]:
    """A file whose first rows are short texts, and whose last `rows` are one text of `size` characters."""
    codes = pa.array([*(n % 7 for n in range(50)), *[7] * rows], pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, [f"t{n}" for n in range(7)] + ["x" * size])
    ids = [str(n) for n in range(50 + rows)]
    table = pa.table({"id": ids, "t": column})
    pq.write_table(table, path, store_schema=False, dictionary_pagesize_limit=256 << 20, **options)
    return ids


@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "row_group_size": 1000}, {"compression": "lz4"}])
def test_rows_that_repeat_a_large_value_are_cut_into_batches_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    path = tmp_path / "a.parquet"
    ids = repeated(path, 100_000, 2500, **options)
    monkeypatch.setattr(parquet_reader, "_BATCH_BYTES", 20 << 20)
    (part,) = list_parts(str(path))
    batches = list(read_part(part, ["id", "t"], 2000))
    assert [text for rows in batches for text in rows.batch["id"].to_pylist()] == ids
    assert [number for rows in batches for number in rows.numbers.tolist()] == list(range(1, 2551))
    assert max(rows.count for rows in batches) <= 50 + 209
    for rows in batches:
        texts = logical(rows.batch["t"])
        assert {len(text) for text in texts.to_pylist()} <= {2, 100_000}
        assert texts.nbytes <= 21 << 20


def test_a_piece_looks_at_the_dictionaries_of_its_own_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    repeated(path, 1000, 250, row_group_size=100)
    looked: list[int] = []
    header = parquet_pages._header

    def counted(path: str, file: Any, chunk: Any, at: int) -> tuple[int, int, int]:
        looked.append(at)
        return header(path, file, chunk, at)

    monkeypatch.setattr(parquet_pages, "_header", counted)
    monkeypatch.setattr(parquet_reader, "_BATCH_BYTES", 10_000)
    chunks = [pq.read_metadata(path).row_group(group).column(1) for group in range(3)]
    for group, chunk in enumerate(chunks):
        looked.clear()
        list(parquet_reader.ParquetSource().read(str(path), ["t"], 100, (group, group + 1)))
        assert looked == [chunk.dictionary_page_offset]


@given(st.lists(st.binary(max_size=300), max_size=30), st.binary(max_size=20))
def test_the_longest_value_of_a_dictionary_is_the_same_with_and_without_c(values: list[bytes], rest: bytes) -> None:
    content = b"".join(len(value).to_bytes(4, "little") + value for value in values)
    assert parquet_pages.longest_value(content) == max(map(len, values), default=0)
    # A page that is damaged, or cut short, is measured within its bounds.
    measured = parquet_pages.longest_value(content + rest)
    with pytest.MonkeyPatch.context() as without_c:
        without_c.setattr(parquet_pages.native, "library", lambda: None)
        assert parquet_pages.longest_value(content + rest) == measured


def test_a_large_value_that_many_rows_repeat_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    # Decoded, the rows would take 1,000 GB.
    repeated(path, 10_000_000, 100_000, compression="zstd")
    assert path.stat().st_size < 2_000_000
    before = pa.total_allocated_bytes()
    (part,) = list_parts(str(path))
    with pytest.raises(UnreadableFile, match=r"rows repeat a large value\. Expected at most 1,024 MiB"):
        list(read_part(part, ["id", "t"], 32_768))
    assert pa.total_allocated_bytes() - before < 1 << 30


def begun_alike(path: Path, size: int, rows: int) -> list[str]:
    """A file whose texts begin as the one before them: those of a page are hardly longer than its first one."""
    texts = [f"{'x' * size}{n % 3}" for n in range(rows)]
    plain = {"use_dictionary": False, "column_encoding": {"id": "PLAIN", "t": "DELTA_BYTE_ARRAY"}}
    pq.write_table(pa.table({"id": [str(n) for n in range(rows)], "t": texts}), path, **plain)
    return texts


def test_texts_that_begin_as_the_one_before_are_read_in_batches_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    texts = begun_alike(path, 10_000, 500)
    assert path.stat().st_size < 40_000
    monkeypatch.setattr(parquet_reader, "_BATCH_BYTES", 1 << 20)
    (part,) = list_parts(str(path))
    batches = list(read_part(part, ["id", "t"], 200))
    assert [text for rows in batches for text in rows.batch["t"].to_pylist()] == texts
    assert [number for rows in batches for number in rows.numbers.tolist()] == list(range(1, 501))
    assert max(rows.batch.nbytes for rows in batches) < 1.1 * (1 << 20)
    monkeypatch.setattr(parquet_reader, "_DECODED_BYTES", 1 << 20)
    # A row may decode to 16 KiB whatever the size of the file.
    assert sum(rows.count for rows in read_part(part, ["id", "t"], 200)) == 500
    begun_alike(path, 100_000, 500)
    with pytest.raises(UnreadableFile, match="rows repeat a large value"):
        list(read_part(part, ["id", "t"], 200))


def test_bytes_of_a_fixed_size_that_repeat_are_read_in_batches_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"t": pa.array([b"x" * 40_000] * 500, pa.binary(40_000))}), path)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(parquet_reader, "_BATCH_BYTES", 1 << 20)
    (part,) = list_parts(str(path))
    batches = list(read_part(part, ["t"], 200))
    assert sum(rows.count for rows in batches) == 500
    assert max(rows.batch.nbytes for rows in batches) < 1.1 * (1 << 20)
    monkeypatch.setattr(parquet_reader, "_DECODED_BYTES", 1 << 20)
    with pytest.raises(UnreadableFile, match="rows repeat a large value"):
        list(read_part(part, ["t"], 200))


def test_a_list_of_many_equal_values_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a"], "t": [[0] * 1_000_000]}), path)
    (part,) = list_parts(str(path))
    assert sum(rows.count for rows in read_part(part, ["id", "t"], 200)) == 1
    monkeypatch.setattr(parquet_reader, "_DECODED_BYTES", 1 << 20)
    with pytest.raises(UnreadableFile, match=r"at most 1 MiB of values.*Received: 7 MiB in 1 rows"):
        list(read_part(part, ["id", "t"], 200))
    assert sum(rows.count for rows in read_part(part, ["id"], 200)) == 1
