"""Pinning of a table: the folder that makes the table which is published now a version of an endpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from headrace.components.serve.modes.answerer import Answer, RowsRequest
from headrace.components.serve.modes.static import Static
from headrace.components.serve.tables.pinned import GOLDEN, NAME, PinnedTable
from headrace.components.serve.tables.place import name_and_version, open_table
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.saved_model.interface import KEY
from headrace.core.saved_model.json.rows import rows_from_outputs

_GOLDEN_ROWS = 8


def pin(table: str, folder: Path) -> PinnedTable:
    """Writes a folder that names the table which is published now, after verifying it.

    Args:
        table: the folder of published tables, on a disk or on gs://.
        folder: an empty one.

    Raises:
        UsageError: nothing is published there, predictions in another form than a table, or a table without keys.
        DataError: the table is damaged.
        PlatformError: it cannot be read.
    """
    if not storage.is_remote(table):
        table = str(storage.local_path(table).absolute())
    served = open_table(table)
    if not len(served.table):
        raise UsageError("the table has no keys", where=f"--prediction-table {table}")
    last = len(served.table) - 1
    entries = sorted({last * number // (_GOLDEN_ROWS - 1) for number in range(_GOLDEN_ROWS)})
    instances = [{KEY: key} for key in served.table.keys(entries)]
    name = name_and_version(table, None)[0]
    (answer,) = Static(served, name).answer([RowsRequest(len(instances), instances=instances)])
    if not isinstance(answer, Answer):
        raise answer
    predictions = rows_from_outputs(answer.outputs, bare=answer.bare, binary=answer.binary)
    storage.write_json(str(folder / GOLDEN), {"instances": instances, "predictions": predictions})
    pinned = PinnedTable(table, served.version, name)
    storage.write_json(str(folder / NAME), asdict(pinned))
    return pinned
