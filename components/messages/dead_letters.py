"""Dead letters: messages that are in no span, with the reason, as JSON lines and in a table.

A file's name has the digest of its content, so that a worker that is tried again writes the same file again.
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

# In the order of the table.
FIELDS = ("id", "message_id", "published", "reason", "message", "data", "base64", "attributes")
_SCHEMA = pa.schema([(name, pa.timestamp("us", "UTC") if name == "published" else pa.string()) for name in FIELDS])


def write_dead_letters(config: MessagesConfig, window: str, letters: Iterable[Mapping[str, Any]]) -> tuple[str, bytes]:
    """Writes the dead letters of a window as one file of JSON lines.

    Args:
        config: has the folder.
        window: of their publication.
        letters: one or more.

    Returns:
        URI of the file, and its content.

    Raises:
        UsageError: the folder cannot be written.
        PlatformError: the disk or the service failed; writing again is safe.
    """
    # In the order of publication, and the same whatever order they come in.
    texts = [(one["published"], json.dumps({name: one[name] for name in FIELDS if name in one})) for one in letters]
    lines = [text for _, text in sorted(texts)]
    content = "".join(f"{line}\n" for line in lines).encode()
    uri = join(config.dead_letters, f"{window}-{hashlib.sha256(content).hexdigest()[:16]}.jsonl")
    storage.write_bytes(uri, content)
    return uri, content


def as_parquet(content: bytes) -> bytes:
    """The content of a file of dead letters, for a load job."""
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
