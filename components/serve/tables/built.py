"""Built table: published predictions in Parquet or BigQuery, made a table by another process when they are served."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from headrace.core.artifacts import published
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.errors import HeadraceError, PlatformError, UsageError
from headrace.core.prediction_table.reader import PredictionTable

# Sinks whose predictions a table can be built from.
SINKS = ("parquet", "bigquery")
_BUILDER = "headrace.components.score.tabulate"
_SHOWN_BYTES = 4096


def build(predictions: str) -> PredictionTable:
    """Builds a table and opens it; its file is removed at once, and its space is free when the table is closed.

    A process of its own reads the rows: the server loads no pyarrow, and its requests do not wait for a build.

    Args:
        predictions: a Predictions artifact, in Parquet or BigQuery.

    Raises:
        UsageError: the predictions are damaged, cannot be read by key, or pyarrow is missing.
        PlatformError: the disk or the service failed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise _refusal(UsageError, predictions, "pyarrow is not installed here")
    with tempfile.TemporaryDirectory(prefix="headrace-table-") as scratch:
        output = str(Path(scratch) / "table")
        # The builder ends with this process, whose end of the pipe closes then.
        theirs, ours = os.pipe()
        try:
            done = subprocess.run(
                # -P: a folder `headrace` in the working folder must not be imported.
                [sys.executable, "-P", "-m", _BUILDER, predictions, scratch],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=False,
            )
        finally:
            os.close(theirs)
            os.close(ours)
        if done.returncode:
            said = done.stderr[-_SHOWN_BYTES:].decode(errors="replace").strip()
            kind = UsageError if done.returncode == UsageError.exit_status else PlatformError
            raise _refusal(kind, predictions, said or f"exit status {done.returncode}")
        folder = Path(published.version_uri(output, published.look(output)["current"]))
        return PredictionTable(folder / PredictionsManifest.read(str(folder)).files[0].file)


def _refusal(kind: type[HeadraceError], predictions: str, why: str) -> HeadraceError:
    return kind(
        "no table can be built of the published predictions",
        where=f"--prediction-table, {predictions}",
        received=why,
        fix=f"Build it where pyarrow is installed: `headrace predictions table {predictions} --output TABLE`",
    )
