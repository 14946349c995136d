"""Makes rows into what a batch prediction job reads: a JSON object a row, in files in Cloud Storage."""

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
from headrace.core.saved_model.interface import ModelOutput, Takes
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.to_columns import Answer
from headrace.core.sources.open import read_part
from headrace.core.sources.source import BIGQUERY, Part

FORMAT = 2
_BATCH_ROWS = 1 << 14
_INSTANCE = ModelOutput("instance", "string")


@dataclass(frozen=True)
class Instances:
    """What a job reads.

    Attributes:
        uris: of JSON lines; () where no row can be sent, or a table is read.
        key_field: the field of each that comes back with its prediction.
        naming: what that field holds.
        table: whose rows are read as they lie, as Vertex AI names it, bq://PROJECT.DATASET.TABLE; "" for none.
        excluded: columns of the table that the model is not given.
        rows: of the table, as its metadata counts them.
    """

    uris: tuple[str, ...]
    key_field: str
    naming: Naming
    table: str = ""
    excluded: tuple[str, ...] = ()
    rows: int | None = None

    @property
    def empty(self) -> bool:
        """There is no row for a job to read."""
        return not self.uris and not self.table

    @property
    def format(self) -> str:
        """As Vertex AI names it."""
        return "bigquery" if self.table else "jsonl"

    @property
    def input_config(self) -> dict[str, Any]:
        """What a job is told of where they are."""
        if self.table:
            return {"instances_format": self.format, "bigquery_source": {"input_uri": self.table}}
        return {"instances_format": self.format, "gcs_source": {"uris": list(self.uris)}}

    @classmethod
    def read(cls, uri: str) -> Self | None:
        """Those that `write` put on record, or None.

        Raises:
            DataError: the record is damaged.
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
        """Puts them on record, once they are all there."""
        storage.write_json(uri, {"format": FORMAT, **dataclasses.asdict(self)})


def prepare(
    config: ScoreConfig, scorer: Scores, folder: str, paths: Sequence[str], form: Form, report: Progress
) -> Instances:
    """Writes the instances of all rows that can be sent; those that cannot are found again when results come.

    Args:
        config: what is scored.
        scorer: the model at hand, which says what it takes.
        folder: where instances go.
        paths: the files or the table of the configuration.
        form: in which the rows lie there.
        report: told how many rows have been read.

    Returns:
        The instances: those of an earlier run, where it left them whole; the files or the table themselves, where they
        are in the form that a job reads.

    Raises:
        DataError: the rows lack a column.
        UsageError: the folder cannot be written, or rows cannot be told apart.
    """
    record = storage.join(folder, "instances.json")
    earlier = Instances.read(record)
    if earlier is not None:
        report("found the instances of an earlier run")
        return earlier
    report(form.text, lasting=True)
    if not form.why:
        uris = () if form.table else tuple(paths)
        made = Instances(uris, str(scorer.takes.key), "key", form.table, form.excluded, form.rows)
        made.write(record)
        return made
    naming = _naming(scorer.takes, paths)
    maker = _Maker(scorer.takes, scorer.model_version, naming, [_INSTANCE])
    written = False
    done = 0
    for part in parts_of(config, paths, scorer):
        # What is wrong with a damaged file turns up again when results are collected, and is judged there.
        with contextlib.suppress(UnreadableFile):
            read, sent = _write(part, scorer, maker, storage.join(folder, f"part-{part.index:06d}.jsonl"))
            done += read
            written = written or sent > 0
        report(f"{done:,} rows prepared", done=done)
    made = Instances((storage.join(folder, "part-*.jsonl"),) if written else (), FIELD, naming)
    made.write(record)
    return made


def _naming(takes: Takes, paths: Sequence[str]) -> Naming:
    """How rows of these files, or of a table, are named.

    Raises:
        UsageError: they are in no order, and have no key.
    """
    if not any(path.startswith(BIGQUERY) for path in paths):
        return "position"
    if takes.key is None:
        raise UsageError(
            "the rows of a table are in no order, by which a prediction could be matched with its row",
            where="--key",
            expected="a column that identifies a row",
        )
    return "key"


class _Maker(NamedRows):
    """Gives for each row its instance as JSON: what the job's own rows are checked by decides what is sent to it."""

    def _call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        lines = [_json(instance) for instance in wire.instances(wire.columns_to_json(feeds))]
        return {_INSTANCE.name: pa.array(lines, pa.binary())}


def _json(instance: Any) -> bytes:
    return json.dumps(instance, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _write(part: Part, scorer: Scores, maker: _Maker, uri: str) -> tuple[int, int]:
    """The rows of a part that were read, and those that were written."""
    read = sent = 0
    # A file without a row is as good to a job as none.
    with storage.open_output(uri) as file:
        for rows in read_part(part, columns_of(part, scorer), _BATCH_ROWS):
            lines = maker.score(rows).predictions.column(_INSTANCE.name).to_pylist()
            file.write("".join(f"{line}\n" for line in lines).encode())
            read += rows.count
            sent += len(lines)
    return read, sent
