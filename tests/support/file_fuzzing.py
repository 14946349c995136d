"""Fuzzed files: a whole file of each format, flat, nested and wide, and what is left of it after some damage."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from headrace.core.tfrecord.framing import TFRecordWriter, frame, read_records

ROWS = [
    {
        "id": f"r{number}",
        "x": number * 0.5,
        "n": number,
        "city": ["Oslo", "Z\N{LATIN SMALL LETTER U WITH DIAERESIS}rich", ""][number % 3],
    }
    for number in range(40)
]
_TABLE = pa.Table.from_pylist(ROWS)
_WIDE = [{**row, **{f"c{number}": number for number in range(150)}} for row in ROWS]
_NODE: dict[str, Any] = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
_NESTED: dict[str, Any] = {
    "type": "record",
    "name": "Inner",
    "fields": [
        {"name": "list", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "map", "type": {"type": "map", "values": {"type": "array", "items": "long"}}},
    ],
}
# What parsers believe: counts, lengths, nesting, text that is not UTF-8, and the beginnings of other formats.
_PIECES = [
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xff\xff\xff\x7f",
    b"\xff" * 9 + b"\x01",
    b"\xfe\xff\xff\xff\x0f",
    b"[" * 3000,
    b'{"a":' * 3000,
    b'"',
    b"9" * 400,
    b"-1e999",
    b"NaN",
    b"\\ud800",
    b"\n",
    b",",
    b"\x1f\x8b\x08\x00",
    b"PAR1",
    b"Obj\x01",
]


@cache
def whole() -> Mapping[str, bytes]:
    """A whole file of each format, by its name."""
    text = "id,x,n,city\n" + "".join(f"{row['id']},{row['x']},{row['n']},{row['city']}\n" for row in ROWS)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    parquet = io.BytesIO()
    pq.write_table(_TABLE, parquet, row_group_size=15)
    inner = {"list": ["a", None], "map": {"k": [1, 2]}}
    deep: dict[str, Any] = {"next": {"next": {"next": None}}}
    records = _tfrecord(ROWS)
    return {
        "a.csv": text.encode(),
        "a.csv.gz": gzip.compress(text.encode(), mtime=0),
        "a.tsv": text.replace(",", "\t").encode(),
        "a.jsonl": lines,
        "a.jsonl.bz2": bz2.compress(lines),
        "a.json": json.dumps(ROWS, ensure_ascii=False).encode(),
        "a.parquet": parquet.getvalue(),
        "a.avro": _avro(ROWS, codec="deflate", sync_interval=200),
        "nested.avro": _avro([{**row, "inner": inner} for row in ROWS], _NESTED, "inner"),
        "recursive.avro": _avro([{**row, "node": deep} for row in ROWS], _NODE, "node"),
        "wide.avro": _avro(_WIDE),
        "a.tfrecord": records,
        "a.tfrecord.gz": gzip.compress(records, mtime=0),
        "lists.tfrecord": _tfrecord([{**row, "list": [1, 2, 3], "texts": ["a", "b"]} for row in ROWS]),
        "wide.tfrecord": _tfrecord(_WIDE),
    }


def _avro(rows: Sequence[Mapping[str, Any]], more: Any = "long", name: str = "", **options: Any) -> bytes:
    """The rows as Avro; the field `name`, or each of those after the first four, is of the type `more`."""
    content = io.BytesIO()
    kinds = {"id": "string", "x": "double", "n": "long", "city": ["null", "string"]}
    kinds |= {name: more} if name else {each: "long" for each in rows[0] if each not in kinds}
    fields = [{"name": each, "type": kind} for each, kind in kinds.items()]
    fastavro.writer(content, {"type": "record", "name": "row", "fields": fields}, rows, **options)
    return content.getvalue()


def _tfrecord(rows: Sequence[Mapping[str, Any]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tfrecord"
        with TFRecordWriter(path) as writer:
            for batch in pa.Table.from_pylist(rows).to_batches(max_chunksize=10):
                writer.write_examples(batch)
        return path.read_bytes()


@st.composite
def damages(draw: st.DrawFn, content: bytes) -> bytes:
    """The content after one to four damages."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "remove", "repeat", "overwrite"]))
        if kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + draw(st.sampled_from(_PIECES)) + content[at:]
        elif kind == "remove":
            content = content[:at] + content[at + draw(st.integers(1, 50)) :]
        elif kind == "repeat":
            length = draw(st.integers(1, 50))
            content = (
                content[:at] + content[at : at + length] * draw(st.sampled_from([2, 200])) + content[at + length :]
            )
        else:
            piece = draw(st.sampled_from(_PIECES))[:20]
            content = content[:at] + piece + content[at + len(piece) :]
    return content


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name and a content; of compressed files and of records the damage may be within."""
    name = draw(st.sampled_from(sorted(whole())))
    content = whole()[name]
    if name.endswith((".gz", ".bz2")) and draw(st.booleans()):
        form: Any = gzip if name.endswith(".gz") else bz2
        return name, form.compress(draw(damages(form.decompress(content))))
    if name.endswith(".tfrecord") and draw(st.booleans()):
        # With checksums of the damaged record, which are the first that is checked.
        batches = read_records(io.BytesIO(content), compressed=False, name=name)
        records = [record for batch in batches for record in batch.to_pylist()]
        at = draw(st.integers(0, len(records) - 1))
        records[at] = draw(damages(records[at]))
        return name, frame(pa.array(records, pa.large_binary()))
    return name, draw(damages(content))
