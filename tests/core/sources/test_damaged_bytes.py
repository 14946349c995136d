"""File fuzzing: any damage to a file of any format is an error of the file, or costs rows that are named.

`make test` tries the same files each time, `make fuzz` new ones.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import resource
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st
from support.fuzzing import max_examples

from headrace.core.errors import DataError
from headrace.core.sources.open import list_parts, read_part, source_of
from headrace.core.tfrecord.framing import TFRecordWriter

# Growth of the process that no damaged file of some KB may cause, in KiB; Arrow's blocks of CSV are counted.
_MEMORY = 1 << 20
_ROWS = [
    {
        "id": f"r{number}",
        "x": number * 0.5,
        "n": number,
        "city": ["Oslo", "Z\N{LATIN SMALL LETTER U WITH DIAERESIS}rich", ""][number % 3],
    }
    for number in range(40)
]
_TABLE = pa.Table.from_pylist(_ROWS)
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
    text = "id,x,n,city\n" + "".join(f"{row['id']},{row['x']},{row['n']},{row['city']}\n" for row in _ROWS)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _ROWS).encode()
    parquet, avro = io.BytesIO(), io.BytesIO()
    pq.write_table(_TABLE, parquet, row_group_size=15)
    fields = [{"name": "id", "type": "string"}, {"name": "x", "type": "double"}, {"name": "n", "type": "long"}]
    schema: dict[str, Any] = {
        "type": "record",
        "name": "row",
        "fields": [*fields, {"name": "city", "type": ["null", "string"]}],
    }
    fastavro.writer(avro, schema, _ROWS, codec="deflate", sync_interval=200)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tfrecord"
        with TFRecordWriter(path) as writer:
            for batch in _TABLE.to_batches(max_chunksize=10):
                writer.write_examples(batch)
        records = path.read_bytes()
    return {
        "a.csv": text.encode(),
        "a.csv.gz": gzip.compress(text.encode(), mtime=0),
        "a.tsv": text.replace(",", "\t").encode(),
        "a.jsonl": lines,
        "a.jsonl.bz2": bz2.compress(lines),
        "a.json": json.dumps(_ROWS, ensure_ascii=False).encode(),
        "a.parquet": parquet.getvalue(),
        "a.avro": avro.getvalue(),
        "a.tfrecord": records,
        "a.tfrecord.gz": gzip.compress(records, mtime=0),
    }


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
    """A name and a content; of compressed files the damage is within the text, or to the compressed bytes."""
    name = draw(st.sampled_from(sorted(whole())))
    content = whole()[name]
    if name.endswith((".gz", ".bz2")) and draw(st.booleans()):
        form: Any = gzip if name.endswith(".gz") else bz2
        return name, form.compress(draw(damages(form.decompress(content))))
    return name, draw(damages(content))


@max_examples(1000)
@given(damaged_files())
@example(("a.jsonl", b'{"\\ud800": 1, "id": "a"}\n{"id": b}\n'))
@example(("a.avro", whole()["a.avro"].replace(b'"type": "string"', b'"typf": "string"', 1)))
def test_a_damaged_file_is_an_error_of_the_file_or_costs_named_rows(file: tuple[str, bytes]) -> None:
    name, content = file
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with suppress(DataError):
            check(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < _MEMORY


def check(path: Path) -> None:
    """Reads all rows: each is read or refused, once, and all text is UTF-8."""
    numbers: list[int] = []
    columns = [column for column, _ in source_of(str(path)).columns(str(path))]
    for part in list_parts(str(path)):
        for rows in read_part(part, columns, 16):
            # Text that is not UTF-8 is found by this, too.
            rows.batch.validate(full=True)
            assert rows.batch.num_rows == len(rows.numbers)
            assert all(row.file == path.name and row.to_line() for row in rows.refused)
            numbers += [*rows.numbers.tolist(), *(row.row for row in rows.refused)]
            assert len(set(numbers)) == len(numbers)
            assert min(numbers, default=1) >= 1
