"""Makes rows into what a batch prediction job reads: a JSON object a row, in files in Cloud Storage."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from headrace.components import storage
from headrace.components.errors import DataError, UnreadableFile, UsageError
from headrace.components.preprocess.sources import Part, read_part, source_of
from headrace.components.progress import Progress
from headrace.components.score import wire
from headrace.components.score.config import ScoreConfig
from headrace.components.score.direct import parts_of
from headrace.components.score.interface import ModelOutput, Takes
from headrace.components.score.job_rows import FIELD, JSON_LINES, NamedRows, Naming
from headrace.components.score.part import columns_of
from headrace.components.score.to_columns import Answer
from headrace.components.score.to_tensors import Feed
from headrace.components.score.work import Scores

FORMAT = 1
_BATCH_ROWS = 1 << 14
_INSTANCE = ModelOutput("instance", "string")
_BIGQUERY = "bigquery://"


@dataclass(frozen=True)
class Instances:
    """What a job reads.

    Attributes:
        uris: of JSON lines; () where no row can be sent.
        key_field: the field of each that comes back with its prediction.
        naming: what that field holds.
    """

    uris: tuple[str, ...]
    key_field: str
    naming: Naming

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
            return cls(**{**plain, "uris": tuple(plain["uris"])})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "the file does not describe instances", where=uri, received=f"{type(error).__name__}: {error}"
            ) from error

    def write(self, uri: str) -> None:
        """Puts them on record, once they are all there."""
        storage.write_json(uri, {"format": FORMAT, **dataclasses.asdict(self)})


def prepare(config: ScoreConfig, scorer: Scores, folder: str, paths: Sequence[str], report: Progress) -> Instances:
    """Writes the instances of all rows that can be sent; those that cannot are found again when results come.

    Args:
        config: what is scored.
        scorer: the model at hand, which says what it takes.
        folder: where instances go.
        paths: the files or the table of the configuration.
        report: told how many rows have been read.

    Returns:
        The instances: those of an earlier run, where it left them whole; the files themselves, where they are in Cloud
        Storage and as the model takes them.

    Raises:
        DataError: the rows lack a column.
        UsageError: the folder cannot be written, or rows cannot be told apart.
    """
    record = storage.join(folder, "instances.json")
    earlier = Instances.read(record)
    if earlier is not None:
        report("found the instances of an earlier run")
        return earlier
    if lie_as_taken(paths, scorer.takes, config.partition_by):
        report("the rows are as the model takes them")
        made = Instances(tuple(paths), str(scorer.takes.key), "key")
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
    if not any(path.startswith(_BIGQUERY) for path in paths):
        return "position"
    if takes.key is None:
        raise UsageError(
            "the rows of a table are in no order, by which a prediction could be matched with its row",
            where="--key",
            expected="a column that identifies a row",
        )
    return "key"


def lie_as_taken(paths: Sequence[str], takes: Takes, partition_by: str = "") -> bool:
    """Whether a job can read the files themselves: JSON lines in Cloud Storage that hold a key and what is taken."""
    if takes.key is None or partition_by:
        return False
    fields = {taken.name for taken in takes.inputs if taken.columns == (taken.name,)}
    if len(fields) != len(takes.inputs) or takes.key in fields:
        return False
    required = {taken.name for taken in takes.inputs if not taken.optional}
    for path in paths:
        if not storage.is_remote(path) or not path.lower().endswith(JSON_LINES):
            return False
        columns = dict(source_of(path).columns(path))
        # A field that the model does not know would be refused by some servers.
        if not required <= columns.keys() - {takes.key} <= fields or takes.key not in columns:
            return False
        if not all(_fits(columns[t.name], t.dtype) for t in takes.inputs if t.name in columns):
            return False
        if not (pa.types.is_string(columns[takes.key]) or pa.types.is_integer(columns[takes.key])):
            return False
    return True


def _fits(column: pa.DataType, dtype: str) -> bool:
    if dtype == "string":
        return bool(pa.types.is_string(column))
    if dtype == "bool":
        return bool(pa.types.is_boolean(column))
    return bool(pa.types.is_integer(column) or (dtype.startswith(("float", "bfloat")) and pa.types.is_floating(column)))


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
