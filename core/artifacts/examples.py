"""Examples manifest and schema: the columns of an Examples artifact, and an account of every row that was read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from headrace.core import storage
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.artifacts.missing import is_there, marker_of, no_artifact
from headrace.core.artifacts.plain_json import check_format, fields_of, parsing
from headrace.core.artifacts.quarantine import REASONS
from headrace.core.errors import DataError
from headrace.core.problem import Numeric, Problem

FORMAT = 1
# The train split's statistics as sketches that merge.
STATISTICS_SKETCH = "sketches/statistics.arrow"
SPLITS = ("train", "eval", "test")
# Omitted from manifest.json if empty.
_OPTIONAL = ("spans", "appended", "files_quarantined", "sketches", "boundaries", "files_in", "newest", "span_weights")

Kind = Literal["numeric", "categorical", "key"]
# A derived feature is computed from other columns, its inputs. The model receives the inputs, but no label or weight.
Role = Literal["feature", "derived", "input", "label", "weight", "key"]


@dataclass(frozen=True)
class SchemaColumn:
    """A feature of the Examples: a float_list of one value if numeric, else a bytes_list of one UTF-8 string.

    Attributes:
        name: of the feature.
        kind: its type of values.
        role: its use.
        optional: whether values may be missing; for the key, whether the table lacks it.
        column: its name in files, if different.
        exponent: of a number: it is stored divided by 2 ** exponent; see `core.values.scaling`.
        double: of a number: it is stored as its text, and the model accepts it as float64.
        exact: of a numeric feature that expressions read: the feature that contains its text, a bytes_list. The model
            accepts it as float64.
    """

    name: str
    kind: Kind
    role: Role
    optional: bool = False
    column: str | None = None
    exponent: int = 0
    double: bool = False
    exact: str | None = None

    @property
    def source_column(self) -> str:
        """Its column's name in files."""
        return self.name if self.column is None else self.column


@dataclass(frozen=True)
class Schema:
    """The columns of an Examples artifact: features as declared, inputs of derived ones, label, weight, key."""

    columns: tuple[SchemaColumn, ...]

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """The columns that a Problem declares."""
        derived = problem.derivation.features
        declared = [
            *((f, "derived" if f.name in derived else "feature") for f in problem.columns),
            *((f, "input") for f in problem.derivation.inputs),
            *zip(problem.targets, ("label", "weight"), strict=False),
        ]
        columns = [
            SchemaColumn(
                f.name,
                "numeric" if isinstance(f, Numeric) else "categorical",
                role,  # type: ignore[arg-type]
                f.optional,
                f.column,
                f.exponent if isinstance(f, Numeric) else 0,
                isinstance(f, Numeric) and f.double,
                problem.derivation.exact.get(f.name),
            )
            for f, role in declared
        ]
        named = problem.key if problem.key != problem.key_name else None
        return cls((*columns, SchemaColumn(problem.key_name, "key", "key", problem.key is None, named)))

    @property
    def exponents(self) -> dict[str, int]:
        """The exponents of numbers by name, where they are not 0."""
        return {column.name: column.exponent for column in self.columns if column.exponent}

    def to_json(self) -> dict[str, Any]:
        """The content of schema.json."""
        return {"format": FORMAT, "columns": [_plain(column) for column in self.columns]}

    @classmethod
    def read(cls, uri: str) -> Self:
        """Reads schema.json of an Examples artifact.

        Raises:
            DataError: the file is missing or damaged.
        """
        where = storage.join(uri, "schema.json")
        plain = storage.read_json(where)
        with parsing(where):
            check_format(plain, where, FORMAT)
            return cls(tuple(SchemaColumn(**column) for column in plain["columns"]))


def _plain(column: SchemaColumn) -> dict[str, Any]:
    plain = dataclasses.asdict(column)
    for name in ("column", "exponent", "double", "exact"):
        if not plain[name] and plain[name] != "":
            del plain[name]
    return plain


@dataclass(frozen=True)
class SourceFile:
    """A file that rows came from: its name without folders, its size, and the data rows in it."""

    file: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Shard:
    """A TFRecord file: its path within the artifact, records, size, and CRC-32C in 8 hexadecimal digits."""

    file: str
    rows: int
    bytes: int
    crc32c: str


@dataclass(frozen=True)
class Split:
    """The shards of a split, in order."""

    rows: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Quarantine:
    """Rows that broke a rule: the allowed fraction, rows by reason, and the files that hold them."""

    budget: float
    reasons: Mapping[str, int]
    files: tuple[str, ...]


@dataclass(frozen=True)
class QuarantinedFile:
    """A damaged file, from which no row was read; its unknown number of rows counts as 0."""

    file: str
    bytes: int
    reason: str
    message: str


@dataclass(frozen=True)
class Span:
    """A span: data of one period, such as a day. The folder spans/NAME is its Examples artifact."""

    span: str
    identity: str
    data_version: str
    rows_in: int
    rows_out: int
    rows_quarantined: int


@dataclass(frozen=True)
class AppendRecord:
    """Appended rows: fingerprint of their files, rows read, and how many of these replaced a
    quarantined row. These were counted before, so `rows_in` grew by the others only."""

    data_version: str
    rows: int
    corrected: int


@dataclass(frozen=True)
class Sketch:
    """A file that later appends read, such as statistics that can be merged: path, size, and CRC-32C."""

    file: str
    bytes: int
    crc32c: str


@dataclass(frozen=True)
class NewestSpan:
    """The newest span of a window, and its test rows, which no earlier Model was trained or tested on."""

    span: str
    test: Split


@dataclass(frozen=True)
class Manifest:
    """Manifest of an Examples artifact. It is written last: readers look for it.

    Attributes:
        identity: digest of everything that the artifact depends on.
        problem: the Problem's name.
        schema_digest: digest of the parts of the Problem that preprocessing reads.
        data_version: fingerprint of the source files.
        source: the files that rows came from.
        rows_in: rows read.
        rows_out: rows written, over all splits.
        rows_quarantined: rows that broke a rule.
        splits: train, eval and test.
        quarantine: the rows that broke a rule.
        spans: the spans of the artifact, in order; empty if one run wrote it.
        appended: the rows that were appended, in order.
        files_quarantined: damaged sources, in order.
        sketches: files with which later appends need not read the shards, by name.
        boundaries: of splits by time, `eval_from` and `test_from`, in UTC; empty for other splits.
        files_in: URI of the folder that the paths of shards and quarantine files are relative to; "" for the artifact's
            own. A window has its shards in the folder of spans.
        newest: of a window, the newest span with rows; None for other Examples.
        span_weights: of a window, the weight of a row of each span in training, by the span's name; empty for equal
            weights.

    Raises:
        DataError: the numbers do not add up.
    """

    identity: str
    problem: str
    schema_digest: str
    data_version: str
    source: tuple[SourceFile, ...]
    rows_in: int
    rows_out: int
    rows_quarantined: int
    splits: Mapping[str, Split]
    quarantine: Quarantine
    spans: tuple[Span, ...] = ()
    appended: tuple[AppendRecord, ...] = ()
    files_quarantined: tuple[QuarantinedFile, ...] = ()
    sketches: tuple[Sketch, ...] = ()
    boundaries: Mapping[str, str | float] = field(default_factory=dict)
    files_in: str = ""
    newest: NewestSpan | None = None
    span_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check(
            self.rows_in == self.rows_out + self.rows_quarantined,
            "rows_in = rows_out + rows_quarantined",
            f"{self.rows_in} = {self.rows_out} + {self.rows_quarantined}",
        )
        from_files = sum(source.rows for source in self.source)
        self._check(self.rows_in == from_files, "rows_in = the rows of all sources", f"{self.rows_in} = {from_files}")
        self._check(tuple(self.splits) == SPLITS, f"the splits {', '.join(SPLITS)}", ", ".join(self.splits))
        for name, split in self.splits.items():
            rows = sum(shard.rows for shard in split.shards)
            self._check(split.rows == rows, f"rows of {name} = rows of its shards", f"{split.rows} = {rows}")
        written = sum(split.rows for split in self.splits.values())
        self._check(self.rows_out == written, "rows_out = the rows of all splits", f"{self.rows_out} = {written}")
        counted = sum(self.quarantine.reasons.values())
        self._check(
            self.rows_quarantined == counted, "rows_quarantined = the rows of all reasons",
            f"{self.rows_quarantined} = {counted}",
        )  # fmt: skip
        if self.newest is not None:
            strange = [s.file for s in self.newest.test.shards if s not in self.splits["test"].shards]
            self._check(not strange, "test rows of the newest span among the test rows", ", ".join(strange))
        unknown = sorted(set(self.quarantine.reasons) - set(REASONS))
        self._check(not unknown, f"reasons among {', '.join(REASONS)}", ", ".join(unknown))

    def _check(self, holds: bool, expected: str, received: str) -> None:
        if not holds:
            raise DataError("the manifest contradicts itself", expected=expected, received=received)

    def to_json(self) -> dict[str, Any]:
        """The content of manifest.json."""
        plain = {"format": FORMAT, "kind": EXAMPLES.kind, **fields_of(self)}
        return {name: value for name, value in plain.items() if value or name not in _OPTIONAL}

    def write(self, uri: str) -> None:
        """Writes manifest.json, the last file of the artifact."""
        storage.write_json(marker_of("Examples", uri), self.to_json())

    @classmethod
    def read(cls, uri: str) -> Self:
        """Reads manifest.json of an Examples artifact.

        Raises:
            UsageError: the folder contains no Examples.
            DataError: its manifest.json is damaged, or contradicts itself.
        """
        if not is_there("Examples", uri):
            raise no_artifact("Examples", uri)
        where = marker_of("Examples", uri)
        plain = storage.read_json(where)
        if isinstance(plain, dict) and "splits" not in plain and "sink" in plain:
            raise no_artifact("Examples", uri, received="Predictions")
        return cls.from_json(plain, where)

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> Self:
        """The manifest in the content of a manifest.json.

        Args:
            content: of the file, as from `to_json`.
            where: URI of the file, for an error.

        Raises:
            DataError: the content is damaged, or contradicts itself.
        """
        with parsing(where):
            check_format(content, where, FORMAT)
            plain = {name: value for name, value in content.items() if name not in ("format", "kind")}
            plain["source"] = tuple(SourceFile(**source) for source in plain["source"])
            plain["splits"] = {name: _split(split) for name, split in plain["splits"].items()}
            plain["spans"] = tuple(Span(**span) for span in plain.get("spans", ()))
            plain["appended"] = tuple(AppendRecord(**added) for added in plain.get("appended", ()))
            damaged = plain.get("files_quarantined", ())
            plain["files_quarantined"] = tuple(QuarantinedFile(**file) for file in damaged)
            plain["sketches"] = tuple(Sketch(**sketch) for sketch in plain.get("sketches", ()))
            if newest := plain.get("newest"):
                plain["newest"] = NewestSpan(newest["span"], _split(newest["test"]))
            quarantine = plain["quarantine"]
            plain["quarantine"] = Quarantine(quarantine["budget"], quarantine["reasons"], tuple(quarantine["files"]))
            return cls(**plain)


def _split(plain: Mapping[str, Any]) -> Split:
    return Split(plain["rows"], tuple(Shard(**shard) for shard in plain["shards"]))
