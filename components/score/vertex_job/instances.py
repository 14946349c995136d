"""Instances of a batch prediction job: one JSON object per row, in files in Cloud Storage."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from headrace.components.score.batch.part_result import Scores
from headrace.components.score.batch.run import parts_of
from headrace.components.score.batch.score_part import columns_of
from headrace.components.score.config import ScoreConfig
from headrace.components.score.endpoint import wire
from headrace.components.score.vertex_job.input_form import Form
from headrace.components.score.vertex_job.row_ids import FIELD, NamedRows, Naming
from headrace.core import storage
from headrace.core.errors import DataError, UnreadableFile, UsageError
from headrace.core.progress import Progress
from headrace.core.saved_model.interface import ModelBinding, ModelOutput
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.to_columns import Answer
from headrace.core.sources.open import read_part
from headrace.core.sources.source import BIGQUERY, Part

FORMAT = 2
_BATCH_ROWS = 1 << 14
_INSTANCE = ModelOutput("instance", "string")


@dataclass(frozen=True)
class Instances:
    """The input of a job.

    Attributes:
        uris: of JSON lines; () if no row can be sent, or if a table is read.
        key_field: the field of each instance that is returned with its prediction.
        naming: the content of that field.
        table: the table that is read without preparation, as bq://PROJECT.DATASET.TABLE; "" for none.
        excluded: columns of the table that are excluded from the model's input.
        rows: number of rows of the table, from its metadata.
    """

    uris: tuple[str, ...]
    key_field: str
    naming: Naming
    table: str = ""
    excluded: tuple[str, ...] = ()
    rows: int | None = None

    @property
    def empty(self) -> bool:
        """Whether there is no row for a job to read."""
        return not self.uris and not self.table

    @property
    def format(self) -> str:
        """The format in Vertex AI's notation."""
        return "bigquery" if self.table else "jsonl"

    @property
    def input_config(self) -> dict[str, Any]:
        """The input configuration of a job."""
        if self.table:
            return {"instances_format": self.format, "bigquery_source": {"input_uri": self.table}}
        return {"instances_format": self.format, "gcs_source": {"uris": list(self.uris)}}

    @classmethod
    def read(cls, uri: str) -> Self | None:
        """Reads the file of `write`; None if it does not exist.

        Raises:
            DataError: the file is damaged.
        """
        if not storage.exists(uri):
            return None
        plain = storage.read_json(uri)
        try:
            if plain.pop("format") != FORMAT:
                raise ValueError(f"not format {FORMAT}")
            return cls(**{**plain, "uris": tuple(plain["uris"]), "excluded": tuple(plain["excluded"])})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "the file does not describe instances", where=uri, received=f"{type(error).__name__}: {error}"
            ) from error

    def write(self, uri: str) -> None:
        """Writes a file that describes them, after all instances are written."""
        storage.write_json(uri, {"format": FORMAT, **dataclasses.asdict(self)})


def prepare(
    config: ScoreConfig, scorer: Scores, folder: str, paths: Sequence[str], form: Form, report: Progress
) -> Instances:
    """Writes the instances of all rows that can be sent; the others are found again when results are collected.

    Args:
        config: of the scoring.
        scorer: the model, for its inputs.
        folder: for the instances.
        paths: the files or the table of the configuration.
        form: of the rows.
        report: called with the number of rows read.

    Returns:
        The instances: those of an earlier run if they are complete; the files or the table themselves if a job can
        read them.

    Raises:
        DataError: a column is missing from the rows.
        UsageError: the folder is not writable, or rows have no unique names.
    """
    record = storage.join(folder, "instances.json")
    earlier = Instances.read(record)
    if earlier is not None:
        report("uses the instances of an earlier run")
        return earlier
    report(form.text, lasting=True)
    if not form.why:
        uris = () if form.table else tuple(paths)
        existing = Instances(uris, str(scorer.takes.key), "key", form.table, form.excluded, form.rows)
        existing.write(record)
        return existing
    naming = _naming(scorer.takes, paths)
    maker = _Maker(scorer.takes, scorer.model_version, naming, [_INSTANCE])
    written = False
    done = 0
    for part in parts_of(config, paths, scorer):
        # Errors of a damaged file occur again when results are collected, and are counted there.
        with contextlib.suppress(UnreadableFile):
            read, sent = _write(part, scorer, maker, storage.join(folder, f"part-{part.index:06d}.jsonl"))
            done += read
            written = written or sent > 0
        report(f"{done:,} rows prepared", done=done)
    instances = Instances((storage.join(folder, "part-*.jsonl"),) if written else (), FIELD, naming)
    instances.write(record)
    return instances


def _naming(takes: ModelBinding, paths: Sequence[str]) -> Naming:
    """The naming of rows of these files, or of a table.

    Raises:
        UsageError: the rows of a table have no key.
    """
    if not any(path.startswith(BIGQUERY) for path in paths):
        return "position"
    if takes.key is None:
        raise UsageError(
            "the rows of a table have no order, so predictions cannot be matched with rows without a key",
            where="--key",
            expected="a column that identifies a row",
        )
    return "key"


class _Maker(NamedRows):
    """Converts each row to an instance in JSON; only rows that pass the checks of scoring are sent."""

    def _call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        lines = [_json(instance) for instance in wire.instances(wire.columns_to_json(feeds))]
        return {_INSTANCE.name: pa.array(lines, pa.binary())}


def _json(instance: Any) -> bytes:
    return json.dumps(instance, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _write(part: Part, scorer: Scores, maker: _Maker, uri: str) -> tuple[int, int]:
    """The numbers of rows of a part that were read and written."""
    read = sent = 0
    # A job accepts a file without rows.
    with storage.open_output(uri) as file:
        for rows in read_part(part, columns_of(part, scorer), _BATCH_ROWS):
            lines = maker.score(rows).predictions.column(_INSTANCE.name).to_pylist()
            file.write("".join(f"{line}\n" for line in lines).encode())
            read += rows.count
            sent += len(lines)
    return read, sent
