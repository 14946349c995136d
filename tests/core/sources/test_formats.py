"""The same rows in every format, compressed or not, local and in a bucket."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.core.errors import DataError, UnreadableFile
from headrace.core.sources import jsonl
from headrace.core.sources.open import expected_rows, list_parts, read_part, source_of
from headrace.core.sources.parquet import reader as parquet
from headrace.core.tfrecord.encoding import encode
from headrace.core.tfrecord.framing import frame
from headrace.core.values.columns import texts
from headrace.core.values.mixed import MixedType, typed_in

TABLE = pa.table(
    {
        "k": [f"key {number}" for number in range(250)],
        "n": [None if number % 50 == 7 else number for number in range(250)],
        "x": [number / 4 for number in range(250)],
    }
)
SCHEMA = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "k", "type": "string"},
        {"name": "n", "type": ["null", "long"]},
        {"name": "x", "type": "double"},
    ],
}


def as_csv() -> bytes:
    lines = ["k,n,x", *(f"{r['k']},{'' if r['n'] is None else r['n']},{r['x']}" for r in TABLE.to_pylist())]
    return "\n".join(lines).encode()


def as_json() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in TABLE.to_pylist())


def as_parquet() -> bytes:
    content = io.BytesIO()
    pq.write_table(TABLE, content, row_group_size=100, write_page_checksum=True)
    return content.getvalue()


def as_avro(codec: str = "null", interval: int = 500) -> bytes:
    content = io.BytesIO()
    fastavro.writer(content, SCHEMA, TABLE.to_pylist(), codec=codec, sync_interval=interval)
    return content.getvalue()


def as_tfrecord() -> bytes:
    (batch,) = TABLE.to_batches()
    return frame(encode(batch))


FILES = {
    "a.csv": as_csv,
    "a.csv.gz": lambda: gzip.compress(as_csv()),
    "a.csv.bz2": lambda: bz2.compress(as_csv()),
    "a.csv.zst": lambda: pa.compress(as_csv(), "zstd", asbytes=True),
    "a.tsv": lambda: as_csv().replace(b",", b"\t"),
    "a.jsonl": as_json,
    "a.ndjson.gz": lambda: gzip.compress(as_json()),
    "a.json": as_json,
    "a.parquet": as_parquet,
    "a.avro": as_avro,
    "b.avro": lambda: as_avro("deflate"),
    "a.tfrecord": as_tfrecord,
    "a.tfrecord.gz": lambda: gzip.compress(as_tfrecord()),
}


def plain(value: Any) -> Any:
    return None if value is None else float(value)


def check(path: str) -> None:
    source = source_of(path)
    assert sorted(name for name, _ in source.columns(path)) == ["k", "n", "x"]
    parts = list_parts(path)
    found = [rows for part in parts for rows in read_part(part, ["x", "k", "n"], 40)]
    assert [number for rows in found for number in rows.numbers.tolist()] == list(range(1, 251))
    assert [rows.position for rows in found] == sorted(rows.position for rows in found)
    assert all(rows.batch.schema.names == ["x", "k", "n"] and 1 <= rows.batch.num_rows <= 40 for rows in found)
    read = [row for rows in found for row in rows.batch.to_pylist()]
    assert [{"k": r["k"], "n": plain(r["n"]), "x": plain(r["x"])} for r in read] == [
        {"k": r["k"], "n": plain(r["n"]), "x": r["x"]} for r in TABLE.to_pylist()
    ]
    assert {rows.part.name for rows in found} == {path.rsplit("/", 1)[1]}
    assert 50 < expected_rows(parts) < 1300


@pytest.mark.parametrize("name", FILES)
def test_local(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name]())
    check(str(tmp_path / name))


def test_in_a_bucket(put: Callable[[str, bytes], str]) -> None:
    for name, content in FILES.items():
        check(put(f"data/{name}", content()))


def test_endings(tmp_path: Path) -> None:
    for name in ("a.csv.xz", "a.parquet.gz", "a.tfrecord.bz2", "a.xlsx", "a"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DataError, match="format is not supported"):
            list_parts(str(tmp_path / name))


def test_parquet_in_pieces_of_whole_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(as_parquet())
    path = str(tmp_path / "a.parquet")
    assert [part.piece for part in list_parts(path)] == [(0, 3)]
    monkeypatch.setattr(parquet, "PIECE_ROWS", 150)
    assert [part.piece for part in list_parts(path)] == [(0, 1), (1, 3)]
    check(path)
    monkeypatch.setattr(parquet, "PIECE_ROWS", 1)
    assert [part.piece for part in list_parts(path)] == [(0, 1), (1, 2), (2, 3)]
    check(path)


def test_a_line_that_is_no_object_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "BLOCK", 64)
    lines = ['{"k": 1, "d": "2024-01-02"}', '{"k": "b", "d": 5, "m": {"x": 1}}', ""]
    lines += ["[1]", '{"k": 3', '{"d": null}', "7"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines * 20))
    found = list(read_part(list_parts(str(tmp_path))[0], ["k", "d"], 1000))
    rows = [
        (number, row["k"] if row["k"] is None else str(row["k"]), row["d"] if row["d"] is None else str(row["d"]))
        for each in found
        for number, row in zip(each.numbers.tolist(), each.batch.to_pylist(), strict=True)
    ]
    assert rows == [
        row
        for start in range(0, 120, 6)
        for row in ((start + 1, "1", "2024-01-02"), (start + 2, "b", "5"), (start + 5, None, None))
    ]
    refused = [row for each in found for row in each.refused]
    assert [row.row for row in refused] == [start + n for start in range(0, 120, 6) for n in (3, 4, 6)]
    assert {row.fault.reason for row in refused} == {"malformed_row"}
    assert refused[0].fault.message == "the line is not a JSON object: it is of type list"


def test_text_of_the_form_of_a_time_stays_as_it_came(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"k": 1, "d": "2024-01-02", "t": "2024-01-02T03:04:05Z"}\n')
    (rows,) = read_part(list_parts(str(tmp_path))[0], ["d", "t"], 10)
    assert rows.batch.to_pylist() == [{"d": "2024-01-02", "t": "2024-01-02T03:04:05Z"}]


def test_json_that_is_one_array(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[\n" + '{"k": 1},\n' * 3 + '{"k": 2}]')
    (rows,) = read_part(list_parts(str(tmp_path))[0], ["k"], 10)
    assert rows.batch.to_pydict() == {"k": [1, 1, 1, 2]}
    assert rows.numbers.tolist() == [1, 2, 3, 4]


def test_types_of_avro(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    fields: dict[str, tuple[Any, Any, pa.DataType]] = {
        "date": ({"type": "int", "logicalType": "date"}, moment.date(), pa.date32()),
        "time": ({"type": "long", "logicalType": "timestamp-micros"}, moment, pa.timestamp("us", "UTC")),
        "price": (
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            decimal.Decimal("12.50"),
            pa.decimal128(9, 2),
        ),
        "kind": ({"type": "enum", "name": "kind", "symbols": ["a", "b"]}, "b", pa.string()),
        "flag": ("boolean", True, pa.bool_()),
        "many": ({"type": "array", "items": "long"}, [1, 2], pa.list_(pa.int64())),
        "either": (["null", "long", "string"], "x", MixedType()),
        "number": (["long", "double"], 1.5, MixedType()),
    }
    schema = {"type": "record", "name": "r", "fields": [{"name": n, "type": f[0]} for n, f in fields.items()]}
    with (tmp_path / "a.avro").open("wb") as file:
        fastavro.writer(file, schema, [{name: field[1] for name, field in fields.items()}] * 3)
    (part,) = list_parts(str(tmp_path))
    assert source_of(part.path).columns(part.path) == [(name, field[2]) for name, field in fields.items()]
    (rows,) = read_part(part, list(fields), 10)
    assert rows.batch.to_pylist() == [{name: field[1] for name, field in fields.items()}] * 3


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: gzip.compress(as_csv()), "compressed with gzip.*Add .gz to its name"),
        (lambda: pa.compress(as_csv(), "zstd", asbytes=True), "compressed with zstd.*Add .zst"),
        (lambda: b"PK\x03\x04" + as_csv(), "a ZIP archive, such as an Excel workbook.*Save the table as CSV"),
        (as_parquet, "Parquet.*Rename it to end in .parquet"),
        (as_avro, "Avro.*Rename it to end in .avro"),
    ],
    ids=["gzip", "zstd", "zip", "parquet", "avro"],
)
def test_a_file_that_is_called_text_says_what_it_is(
    tmp_path: Path, name: str, content: Callable[[], bytes], said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(UnreadableFile, match=f"the file is {said}"):
        source_of(str(path)).columns(str(path))
    # A header may begin as the name of a format does.
    path = tmp_path / "b.csv"
    path.write_text("PAR1,PK,Obj\n1,2,3\n")
    assert [column for column, _ in source_of(str(path)).columns(str(path))] == ["PAR1", "PK", "Obj"]


UNION = ["null", "string", "boolean", "long", "double", "bytes", {"type": "array", "items": "long"}]


def union_file(path: Path, values: list[Any]) -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "v", "type": UNION}]}
    with path.open("wb") as file:
        fastavro.writer(file, schema, [{"v": value} for value in values], sync_interval=20)


def test_a_value_of_a_union_in_avro_keeps_its_type(tmp_path: Path) -> None:
    values = ["True", True, 2, "2.0", 2.0, 0.1, None, float("nan"), float("inf"), b"abc", [1, 2], 9007199254740993]
    union_file(tmp_path / "a.avro", values)
    (part,) = list_parts(str(tmp_path))
    for batch_rows in (1, 5, 100):
        columns = [rows.batch.column("v") for rows in read_part(part, ["v"], batch_rows)]
        text = [value for column in columns for value in texts(column)[0].to_pylist()]
        expected = ["True", "true", "2", "2.0", "2", "0.1", None, None, "inf", "abc", "[1, 2]", "9007199254740993"]
        assert text == expected
        typed = [value for column in columns for value in typed_in(column).tolist()]
        assert [place for place, is_typed in enumerate(typed) if is_typed] == [1, 2, 4, 5, 11]


def test_bytes_of_a_union_that_are_no_text_cost_their_row(tmp_path: Path) -> None:
    union_file(tmp_path / "a.avro", ["a", b"\xff", "b", b"\xc3(", 1])
    (part,) = list_parts(str(tmp_path))
    (rows,) = read_part(part, ["v"], 100)
    assert rows.batch.column("v").to_pylist() == ["a", "b", 1]
    assert rows.numbers.tolist() == [1, 3, 5]
    assert [(row.file, row.row, row.fault.reason) for row in rows.refused] == [
        ("a.avro", 2, "not_utf8"),
        ("a.avro", 4, "not_utf8"),
    ]
    assert [row.values for row in rows.refused] == [{"v": "\\xff"}, {"v": "\\xc3("}]


def _flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


DAMAGED = {
    "cut.csv.gz": lambda: gzip.compress(as_csv())[:-20],
    "sum.csv.gz": lambda: _flip(gzip.compress(as_csv()), -6),
    "not.csv.gz": as_csv,
    "cut.csv.bz2": lambda: bz2.compress(as_csv())[:-20],
    "cut.csv.zst": lambda: pa.compress(as_csv(), "zstd", asbytes=True)[:-20],
    "cut.jsonl.gz": lambda: gzip.compress(as_json())[:-20],
    "cut.tfrecord": lambda: as_tfrecord()[:-5],
    "crc.tfrecord": lambda: _flip(as_tfrecord(), 5000),
    "cut.tfrecord.gz": lambda: gzip.compress(as_tfrecord())[:-20],
    "footer.parquet": lambda: as_parquet()[:-30],
    "page.parquet": lambda: _flip(as_parquet(), 400),
    "empty.parquet": lambda: b"",
    "cut.avro": lambda: as_avro()[:-50],
    "marker.avro": lambda: _flip(as_avro(), -3),
    "deflate.avro": lambda: _flip(as_avro("deflate"), 400),
    "head.avro": lambda: as_avro()[:20],
    "within.avro": lambda: as_avro() + b"\x80",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name]())
    path = str(tmp_path / name)
    with pytest.raises(UnreadableFile) as error:
        for part in list_parts(path):
            for _ in read_part(part, ["k", "n", "x"], 40):
                pass
    where = str(error.value.where)
    assert where == path or where.startswith(f"{path}, ")


def test_texts_that_parquet_holds_as_codes_may_come_as_such(tmp_path: Path) -> None:
    table = pa.table({"few": ["a", "b", None] * 1000, "many": [f"{n:08d}" for n in range(3000)], "n": range(3000)})
    for rows, expected in ((3000, ["few"]), (600, ["few"]), (500, [])):
        path = str(tmp_path / f"{rows}.parquet")
        pq.write_table(table, path, row_group_size=rows)
        (part,) = list_parts(path)
        batches = [one.batch for one in read_part(part, table.column_names, 600, ["few", "many", "n"])]
        # A batch is of one dictionary: where it would be cut for that, there is none.
        assert [batch.num_rows for batch in batches] == [600] * 5
        assert [f.name for f in batches[0].schema if pa.types.is_dictionary(f.type)] == expected
        assert pa.Table.from_batches(batches).cast(table.schema).equals(table)
