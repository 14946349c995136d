"""Examples reader: opens an Examples artifact, checks it against the Problem, and lists the shards of each split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.core import storage
from headrace.core.artifacts.examples import Manifest, Schema, SchemaColumn
from headrace.core.artifacts.examples import Split as Shards
from headrace.core.artifacts.shard_files import ShardFiles
from headrace.core.errors import DataError
from headrace.core.problem import Problem

_AGAIN = "Run `headrace preprocess` again with this Problem file"


@dataclass(frozen=True)
class SplitFiles:
    """A split of the Examples.

    Attributes:
        rows: number of rows.
        files: local paths of its TFRecord shards with rows, in order.
        size: size of the shards, in bytes.
        shard_rows: number of rows in each of `files`.
        weights: weight of a row of each of `files` in training; empty for equal weights.
        held: the object on whose lifetime downloaded `files` depend.
    """

    rows: int
    files: tuple[str, ...]
    size: int
    shard_rows: tuple[int, ...]
    weights: tuple[float, ...] = ()
    held: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class ExamplesArtifact:
    """Examples whose manifest, schema and statistics exist and match the Problem.

    Attributes:
        uri: their folder.
        manifest: of the artifact.
        statistics: by column, as measured on the train split.
    """

    uri: str
    manifest: Manifest
    statistics: Mapping[str, Mapping[str, Any]]

    def split(self, name: str) -> SplitFiles:
        """Opens a split, which must have rows.

        Args:
            name: train, eval or test.

        Raises:
            DataError: the split is empty, a shard is missing, or its size differs from the manifest.
        """
        split = self.manifest.splits[name]
        if split.rows < 1:
            counted = (f"{other}: {found.rows} rows" for other, found in self.manifest.splits.items())
            raise DataError(
                f"the {name} split is empty",
                where=self.uri,
                expected="one row or more",
                received=", ".join(counted),
                fix=f"Give more rows, or a larger fraction in Splits({name}=...)",
            )
        return self._opened(split)

    def newest_test(self) -> SplitFiles:
        """Opens the test rows of a window's newest span, which neither a new Model nor an earlier one was trained on.

        Raises:
            DataError: the Examples are not a window, the span has no test rows, or an error of `split`.
        """
        newest = self.manifest.newest
        if newest is None or newest.test.rows < 1:
            raise DataError(
                "the Examples have no newest span" if newest is None else "the newest span has no test rows",
                where=self.uri,
                expected="a window of `headrace ingest`, whose newest span has test rows",
                received="Examples without `newest`" if newest is None else f"span {newest.span}",
            )
        return self._opened(newest.test)

    def _opened(self, split: Shards) -> SplitFiles:
        folder = self.manifest.files_in or self.uri
        held = ShardFiles(folder, [shard.file for shard in split.shards])
        files: dict[str, int] = {}
        weights: list[float] = []
        for shard in split.shards:
            path = held.folder / shard.file
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bytes:
                raise DataError(
                    "a shard is missing" if size is None else "a shard is damaged",
                    where=storage.join(folder, shard.file),
                    expected=f"{shard.bytes} bytes",
                    received="no file" if size is None else f"{size} bytes",
                    fix=_ingest_again(folder, shard.file)
                    if self.manifest.files_in
                    else "Run `headrace preprocess` again",
                )
            if shard.rows:
                files[str(path)] = shard.rows
                if self.manifest.span_weights:
                    weights.append(self.manifest.span_weights[shard.file.partition("/")[0]])
        size = sum(shard.bytes for shard in split.shards)
        return SplitFiles(split.rows, tuple(files), size, tuple(files.values()), tuple(weights), held)


def _ingest_again(folder: str, file: str) -> str:
    span = storage.join(folder, file.rpartition("/")[0].rpartition("/")[0])
    return f"Remove {span}, and run `headrace ingest` again with the data of this span"


def open_examples(uri: str, problem: Problem) -> ExamplesArtifact:
    """Opens the Examples in a folder.

    Raises:
        UsageError: the folder contains no Examples.
        DataError: they are damaged, or of another declaration of the Problem.
    """
    manifest = Manifest.read(uri)
    _check_columns(uri, Schema.read(uri), problem)
    if manifest.schema_digest != problem.schema_digest:
        raise DataError(
            "these Examples have another declaration of the problem",
            where=storage.join(uri, "manifest.json"),
            expected=f'problem "{problem.name}" with schema digest {problem.schema_digest[:12]}',
            received=f'problem "{manifest.problem}" with schema digest {manifest.schema_digest[:12]}',
            fix=f"{_AGAIN}: features, splits or the quarantine budget changed",
        )
    where = storage.join(uri, "statistics.json")
    statistics = storage.read_json(where)
    if not isinstance(statistics, dict) or not isinstance(statistics.get("columns"), dict):
        raise DataError("the file holds no statistics", where=where, expected='{"columns": {...}}', fix=_AGAIN)
    return ExamplesArtifact(uri, manifest, statistics["columns"])


def unreadable(where: str, received: str) -> DataError:
    """The error for shards that cannot be read."""
    return DataError(
        "a shard cannot be read",
        where=where,
        expected="whole TFRecords of tf.train.Example",
        received=received,
        fix="Run `headrace preprocess` again",
    )


def _check_columns(uri: str, schema: Schema, problem: Problem) -> None:
    def kinds(columns: tuple[SchemaColumn, ...]) -> dict[str, str]:
        return {column.name: f"{column.kind} {column.role}" for column in columns}

    expected, found = kinds(Schema.of(problem).columns), kinds(schema.columns)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise DataError(
                f'the Examples do not fit the problem: column "{name}"',
                where=storage.join(uri, "schema.json"),
                expected=expected.get(name, "no column of this name"),
                received=found.get(name, "no column of this name"),
                fix=_AGAIN,
            )
