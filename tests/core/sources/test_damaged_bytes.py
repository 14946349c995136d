"""File fuzzing: any damage to a file of any format is an error of the file, or costs rows that are named.

`make test` tries the same files each time, `make fuzz` new ones.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import example, given
from support.file_fuzzing import damaged_files, whole
from support.fuzzing import max_examples
from support.peak_memory import bounded_memory

from headrace.core.errors import DataError
from headrace.core.sources.open import list_parts, read_part, source_of

# Bytes of memory that no damaged file of some KB may cost; Arrow's blocks of CSV are counted.
_MEMORY = 1 << 30


@max_examples(1000)
@given(damaged_files())
@example(("a.jsonl", b'{"\\ud800": 1, "id": "a"}\n{"id": b}\n'))
@example(("a.avro", whole()["a.avro"].replace(b'"type": "string"', b'"typf": "string"', 1)))
def test_a_damaged_file_is_an_error_of_the_file_or_costs_named_rows(file: tuple[str, bytes]) -> None:
    name, content = file
    with tempfile.TemporaryDirectory() as folder, bounded_memory(_MEMORY):
        path = Path(folder) / name
        path.write_bytes(content)
        with suppress(DataError):
            check(path)


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
