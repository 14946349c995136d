"""Dead letters: messages that are in no span, with the reason, as JSON lines and in a table.

The digest of the content is part of the file's name, so that a retried worker writes the same file.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.components.messages.config import MessagesConfig
from headrace.core import storage
from headrace.core.storage import join

# In the order of the table's columns.
FIELDS = ("id", "message_id", "published", "reason", "message", "data", "base64", "attributes")
_SCHEMA = pa.schema([(name, pa.timestamp("us", "UTC") if name == "published" else pa.string()) for name in FIELDS])


def write_dead_letters(config: MessagesConfig, window: str, letters: Iterable[Mapping[str, Any]]) -> tuple[str, bytes]:
    """Writes the dead letters of a window as one file of JSON lines.

    Args:
        config: names the folder.
        window: name of the window in which the messages were published.
        letters: one or more letters, as JSON objects with the members of `FIELDS`.

    Returns:
        URI of the file, and its content.

    Raises:
        UsageError: the folder cannot be written.
        PlatformError: the disk or the service failed; writing again is safe.
    """
    # Sorted, so that the content does not depend on the order of the letters.
    texts = [(one["published"], json.dumps({name: one[name] for name in FIELDS if name in one})) for one in letters]
    lines = [text for _, text in sorted(texts)]
    content = "".join(f"{line}\n" for line in lines).encode()
    uri = join(config.dead_letters, f"{window}-{hashlib.sha256(content).hexdigest()[:16]}.jsonl")
    storage.write_bytes(uri, content)
    return uri, content


def as_parquet(content: bytes) -> bytes:
    """The content of a file of dead letters (JSON lines) as Parquet, for a load job."""
    letters = [json.loads(line) for line in content.splitlines()]
    columns: dict[str, list[Any]] = {name: [letter.get(name) for letter in letters] for name in FIELDS}
    columns["attributes"] = [json.dumps(value) for value in columns["attributes"]]
    arrays = []
    for field in _SCHEMA:
        array = pa.array(columns[field.name], pa.string())
        arrays.append(array.cast(field.type) if field.name == "published" else array)
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), out)
    return out.getvalue()
