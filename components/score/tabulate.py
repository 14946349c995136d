"""Prediction table of published Predictions: reads Parquet files or BigQuery, and publishes a table by key.

As a program, `python -m headrace.components.score.tabulate PREDICTIONS SCRATCH`, a server runs it, which loads no
pyarrow.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from headrace.components.score.checking import check
from headrace.components.score.publishing import Publication, publish, publish_made
from headrace.components.score.sinks.table_columns import add_rows, table_columns
from headrace.components.score.sinks.table_sink import FILE, save_table
from headrace.core import storage
from headrace.core.artifacts import published
from headrace.core.artifacts.examples import Shard
from headrace.core.artifacts.kinds import PUBLISHED
from headrace.core.artifacts.predictions import AnswerForm, PredictionsManifest
from headrace.core.errors import DataError, HeadraceError, PlatformError, UsageError
from headrace.core.prediction_table.layout import TableDescription
from headrace.core.prediction_table.writer import TableWriter
from headrace.core.progress import Progress, silent
from headrace.core.saved_model.binding import MODEL_VERSION
from headrace.core.sources.open import list_parts, read_part
from headrace.core.steps.identity import release
from headrace.core.steps.step import identity
from headrace.core.storage.output_check import check_output

_READ_ROWS = 1 << 17
# The table's folder in that of the program.
TABLE = "table"
_SINKS = ("parquet", "bigquery")


class _Work(NamedTuple):
    """Predictions to read: where they are, their manifest, and how they are looked up."""

    uri: str
    manifest: PredictionsManifest
    form: AnswerForm


def tabulate(predictions: str, output: str, *, key: str | None = None, report: Progress = silent) -> Publication:
    """Builds a prediction table and makes it current in the published folder `output`.

    A table of the same predictions that is there already is made current without building it again.

    Args:
        predictions: a Predictions artifact, or a published folder, whose current version is used.
        output: the published folder; a new one, or one with earlier tables, which stay for a rollback.
        key: the column that identifies a row, where the manifest does not name it.
        report: called with the progress.

    Raises:
        UsageError: there are no predictions, they cannot be read by key, or `output` cannot be written.
        DataError: they are damaged, several rows have one key, or values are missing.
        PlatformError: the disk or the service failed.
    """
    uri = predictions
    if published.is_published(predictions):
        uri = published.version_uri(predictions, published.look(predictions)["current"])
    check_output(output, PUBLISHED, option="--output", inputs={"PREDICTIONS": predictions})
    report(f"checking {uri}")
    manifest = check(uri).manifest
    if manifest.sink == "table":
        return publish(uri, output)
    work = _Work(uri, manifest, _form(uri, manifest, key))
    made = identity("table", predictions=manifest.identity, key=work.form.key, release=release())

    def make(folder: Path) -> None:
        shard = _build(work, folder, made, report)
        for file in manifest.quarantine.files:
            storage.write_bytes(str(folder / file), storage.read_bytes(storage.join(uri, file)))
        note = f"a table of the predictions {manifest.identity}, from {manifest.destination or 'Parquet files'}"
        dataclasses.replace(
            manifest,
            identity=made,
            sink="table",
            files=(shard,),
            destination=None,
            partition_by=None,
            notes=(*manifest.notes, note),
            answers=work.form,
        ).write(str(folder))

    return publish_made(output, made, make)


def _form(uri: str, manifest: PredictionsManifest, key: str | None) -> AnswerForm:
    names = [column.name for column in manifest.columns]
    if manifest.sink not in _SINKS:
        raise UsageError(
            "a prediction table is built from Parquet files or BigQuery",
            where=uri,
            expected=" or ".join(f"--sink {sink}" for sink in _SINKS),
            received=f"--sink {manifest.sink}",
            fix="Score again with --sink table, parquet or bigquery",
        )
    if manifest.partition_by in names:
        raise UsageError(
            "the predictions are partitioned by one of their outputs, which is not in the files",
            where=uri,
            received=f"--partition-by {manifest.partition_by}",
            fix="Score again without partitions",
        )
    form = manifest.answers or (AnswerForm(key) if key else None)
    if form is None or form.key not in names or key not in (None, form.key):
        outputs = [name for name in names if name != MODEL_VERSION]
        raise UsageError(
            "the column that identifies a row is not known" if form is None else "the column is not the key",
            where=f"--key of {uri}",
            expected=manifest.answers.key if manifest.answers else f"one of {', '.join(outputs)}",
            received=key or "nothing",
        )
    return form


def _build(work: _Work, folder: Path, made: str, report: Progress) -> Shard:
    manifest, form = work.manifest, work.form
    batches = _batches(work)
    first = next(batches, None)
    with TableWriter([] if first is None else table_columns(first.schema, form)) as writer:
        while first is not None:
            add_rows(writer, first, form)
            report(f"{writer.rows:,} rows read", done=writer.rows, total=manifest.rows_out)
            first = next(batches, None)
        _check_rows(work, writer.rows)
        repeated = writer.repeated()
        if len(repeated):
            row, earlier = int(repeated.rows[0]), int(repeated.first[0])
            raise DataError(
                f"{len(repeated):,} of {writer.rows:,} rows have a key that an earlier row has",
                where=manifest.destination or work.uri,
                expected="one row per key",
                received=f'{form.key} is "{writer.key(row)}" in rows {earlier + 1:,} and {row + 1:,}, for example',
                fix="Score with --sink table, which stores the first row of each key and quarantines the others",
            )
        about = TableDescription(
            form.key, manifest.model_version, made, form.returns_key, manifest.problem, manifest.data_version
        )
        with storage.open_output(str(folder / FILE)) as output:
            shard = save_table(writer, output, about)
    report(f"wrote {shard.rows:,} keys")
    return shard


def _batches(work: _Work) -> Iterator[pa.RecordBatch]:
    """The key and the outputs of all rows.

    Raises:
        DataError: rows are of another version of the model than the manifest states.
    """
    manifest = work.manifest
    names = [column.name for column in manifest.columns]
    if manifest.destination is not None:
        sources = [manifest.destination]
    else:
        sources = [storage.join(work.uri, file.file) for file in manifest.files]
    for source in sources:
        for part in list_parts(source, columns=names):
            for rows in read_part(part, names, _READ_ROWS):
                _check_version(work, rows.batch.column(MODEL_VERSION))
                yield rows.batch.drop_columns([MODEL_VERSION])


def _check_version(work: _Work, column: pa.Array) -> None:
    others = [value for value in column.unique().to_pylist() if value != work.manifest.model_version]
    if others:
        raise DataError(
            "the rows are predictions of another version of the model",
            where=work.manifest.destination or work.uri,
            expected=work.manifest.model_version,
            received=str(others[0]),
            fix="Later predictions have replaced these: use their Predictions folder",
        )


def _check_rows(work: _Work, rows: int) -> None:
    if rows != work.manifest.rows_out:
        raise DataError(
            "there are more or fewer rows than the predictions had",
            where=work.manifest.destination or work.uri,
            expected=f"{work.manifest.rows_out:,} rows",
            received=f"{rows:,}",
            fix="Later predictions have replaced these: use their Predictions folder",
        )


def main(predictions: str, scratch: str) -> int:
    """Builds a table in a temporary folder, as `scratch/TABLE`; errors are written to the standard error.

    The caller holds the other end of the standard input. If it dies, the folder is removed and this process ends: a
    server that is stopped or killed while it starts leaves neither.

    Returns:
        The exit status: 0, 2 or 75.
    """
    threading.Thread(target=_end_with_the_caller, args=(scratch,), name="caller", daemon=True).start()
    try:
        tabulate(predictions, storage.join(scratch, TABLE))
    except HeadraceError as error:
        sys.stderr.write(f"{error.paragraph}\n")
        return error.exit_status
    return 0


def _end_with_the_caller(scratch: str) -> None:
    # Not by sys.stdin, whose lock the end of the interpreter would wait for.
    while os.read(0, 1):
        pass
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(PlatformError.exit_status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
