"""Table layout: the sections of a prediction table's file, and the footer that describes them.

    16 bytes        MAGIC
    sections        each begins at a multiple of 64 bytes; numbers are little-endian
    footer          JSON: format, rows, columns, sections by name with their position and bytes, digest, about
    36 bytes        length of the footer (uint32), and its SHA-256

Sections: `hashes` uint32 [entries], CRC-32 of the keys in ascending order; `rows` uint32 [entries], the row of each;
`keys` and `key_ends` uint64 [rows], the keys' UTF-8 bytes and where each ends. A column has `values`, and where values
are text or bytes, `ends` uint64 [values]; where it holds lists of any length, `list_ends` uint64 [rows].

Rows stay in the order in which they were written, so that building a table needs no sort of keys or values: 8 bytes per
row are sorted. Several keys may have one hash: entries of one hash are in the order of their keys' bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

MAGIC = b"headrace table 1"
FORMAT = 1
ALIGNMENT = 64
# Rows are numbered by 32 bits.
MAX_ROWS = (1 << 32) - 1
_TRAILER = struct.Struct("<I32s")
TRAILER_BYTES = _TRAILER.size
# A footer is some kilobytes: a larger length is damage.
_MAX_FOOTER_BYTES = 16 << 20

Kind = Literal["number", "text", "bytes"]


@dataclass(frozen=True)
class TableColumn:
    """An output of the model.

    Attributes:
        name: of the output.
        kind: of its values.
        dtype: numpy's name of a number's type, such as "float32" or "bool"; "" for text and bytes.
        width: None for one value per row; n for lists of n values; 0 for lists of any length.
    """

    name: str
    kind: Kind
    dtype: str = ""
    width: int | None = None

    @property
    def stored(self) -> str:
        """Little-endian dtype of `values` in the file."""
        if self.kind != "number":
            return "|u1"
        return np.dtype(self.dtype).newbyteorder("<").str

    def section(self, part: Literal["values", "ends", "list_ends"]) -> str:
        """Name of one of the column's sections."""
        return f"{part} of {self.name}"


@dataclass(frozen=True)
class TableDescription:
    """What the predictions are.

    Attributes:
        key: the column that identifies a row.
        model_version: version of the model that made them.
        identity: identity of the Predictions.
        returns_key: whether the model's answers hold the key of the request.
        name: of the Problem; None for a SavedModel without one.
        source: version of the data that was scored.
    """

    key: str
    model_version: str
    identity: str
    returns_key: bool = False
    name: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Footer:
    """Description of a table.

    Attributes:
        rows: number of rows in the sections.
        entries: number of keys that can be looked up; rows whose key an earlier row has are no entries.
        columns: the outputs, in the order of their names.
        sections: position and bytes of each section.
        digest: SHA-256 of everything before the footer.
        about: what the predictions are.
    """

    rows: int
    entries: int
    columns: tuple[TableColumn, ...]
    sections: Mapping[str, tuple[int, int]]
    digest: str
    about: TableDescription

    def to_bytes(self) -> bytes:
        """The footer and what follows it."""
        plain = {
            "format": FORMAT,
            "rows": self.rows,
            "entries": self.entries,
            "columns": [vars(column) for column in self.columns],
            "sections": self.sections,
            "digest": self.digest,
            "about": vars(self.about),
        }
        content = json.dumps(plain, sort_keys=True).encode()
        return content + _TRAILER.pack(len(content), hashlib.sha256(content).digest())

    @classmethod
    def of(cls, content: memoryview) -> tuple[Self, int]:
        """The footer of a file, and its position.

        Raises:
            ValueError: the content is not a table, or is truncated or damaged; with the reason.
        """
        if bytes(content[: len(MAGIC)]) != MAGIC:
            raise ValueError("another first line than a table of this format has")
        if len(content) < len(MAGIC) + TRAILER_BYTES:
            raise ValueError(f"{len(content)} bytes, which are too few")
        length, digest = _TRAILER.unpack(content[-TRAILER_BYTES:])
        begin = len(content) - TRAILER_BYTES - length
        if length > _MAX_FOOTER_BYTES or begin < len(MAGIC):
            raise ValueError("a file that is truncated or damaged at its end")
        footer = bytes(content[begin : begin + length])
        if hashlib.sha256(footer).digest() != digest:
            raise ValueError("a file that is truncated or damaged at its end")
        plain = json.loads(footer)
        if plain.pop("format") != FORMAT:
            raise ValueError(f"another format than {FORMAT}")
        plain["columns"] = tuple(TableColumn(**column) for column in plain["columns"])
        plain["sections"] = {name: (begin, size) for name, (begin, size) in plain["sections"].items()}
        plain["about"] = TableDescription(**plain["about"])
        return cls(**plain), begin
