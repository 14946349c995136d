"""Predictions manifest: the model, the columns, and an account of every row that was read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from headrace.core import storage
from headrace.core.artifacts.examples import Quarantine, QuarantinedFile, Shard, SourceFile
from headrace.core.artifacts.kinds import PREDICTIONS
from headrace.core.artifacts.missing import is_there, marker_of, no_artifact
from headrace.core.artifacts.quarantine import REASONS
from headrace.core.errors import DataError

FORMAT = 1


@dataclass(frozen=True)
class OutputColumn:
    """A column of the predictions, and its Arrow type."""

    name: str
    type: str


@dataclass(frozen=True)
class AnswerForm:
    """The form of the model's responses, as far as the columns do not define it, for a server of the predictions.

    Attributes:
        key: the column that identifies a row.
        returns_key: whether a response contains the key of its request.
        lists_of_one: outputs whose value for each row is a list of one value in the model's responses.
    """

    key: str
    returns_key: bool = False
    lists_of_one: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictionsManifest:
    """Manifest of a Predictions artifact. It is written last: readers look for it.

    Attributes:
        identity: digest of everything that the artifact depends on.
        problem: the Problem's name; None for a SavedModel without a Problem.
        model_version: version of the model that made the predictions.
        approach: execution mode: direct, job or endpoint.
        signature: of the SavedModel.
        data_version: fingerprint of the source files.
        source: the files that rows came from.
        rows_in, rows_out, rows_quarantined: rows read, predicted, and without a prediction.
        sink: output format of the predictions.
        files: the files with the predictions; empty if there is a `destination`.
        destination: where the predictions are, if not in files of the artifact.
        partition_by: the column whose values name the files' folders, or None.
        columns: columns of the predictions.
        quarantine: the rows without a prediction.
        distribution: distribution of the predictions: "predictions" by output, and "training", the distance of the
            label's prediction from the label in the training data, or None if unknown.
        files_quarantined: damaged sources, in order.
        notes: further remarks on how the predictions were made.
        rules: of the Model's Problem: "mode", "enforce" or "warn"; "refused" and "predicted", rows that broke a rule,
            by reason and column. None for a SavedModel without rules.
        answers: the form of responses to requests; None without a key.

    Raises:
        DataError: the numbers do not add up.
    """

    identity: str
    problem: str | None
    model_version: str
    approach: str
    signature: str
    data_version: str
    source: tuple[SourceFile, ...]
    rows_in: int
    rows_out: int
    rows_quarantined: int
    sink: str
    files: tuple[Shard, ...]
    destination: str | None
    partition_by: str | None
    columns: tuple[OutputColumn, ...]
    quarantine: Quarantine
    distribution: Mapping[str, Any]
    files_quarantined: tuple[QuarantinedFile, ...] = ()
    notes: tuple[str, ...] = ()
    rules: Mapping[str, Any] | None = None
    answers: AnswerForm | None = None

    def __post_init__(self) -> None:
        from_files = sum(source.rows for source in self.source)
        self._check("rows_in = the rows of all sources", self.rows_in, from_files)
        self._check("rows_in = rows_out + rows_quarantined", self.rows_in, self.rows_out + self.rows_quarantined)
        if self.destination is None:
            self._check("rows_out = the rows of all files", self.rows_out, sum(file.rows for file in self.files))
        counted = sum(self.quarantine.reasons.values())
        self._check("rows_quarantined = the rows of all reasons", self.rows_quarantined, counted)
        unknown = sorted(set(self.quarantine.reasons) - set(REASONS))
        if unknown:
            raise DataError(
                "the manifest contradicts itself",
                expected=f"reasons among {', '.join(REASONS)}",
                received=", ".join(unknown),
            )

    @staticmethod
    def _check(expected: str, left: int, right: int) -> None:
        if left != right:
            raise DataError("the manifest contradicts itself", expected=expected, received=f"{left} = {right}")

    def to_json(self) -> dict[str, Any]:
        """The content of manifest.json."""
        plain = {"format": FORMAT, "kind": PREDICTIONS.kind, **dataclasses.asdict(self)}
        for name in ("files_quarantined", "notes", "rules", "answers"):
            if not plain[name]:
                del plain[name]
        return plain

    def write(self, uri: str) -> None:
        """Writes manifest.json, the last file of the artifact."""
        storage.write_json(marker_of("Predictions", uri), self.to_json())

    @classmethod
    def read(cls, uri: str) -> Self:
        """Reads manifest.json of a Predictions artifact.

        Raises:
            UsageError: the folder contains no Predictions.
            DataError: its manifest.json is of another format, damaged, or contradicts itself.
        """
        if not is_there("Predictions", uri):
            raise no_artifact("Predictions", uri)
        where = marker_of("Predictions", uri)
        plain = storage.read_json(where)
        if isinstance(plain, dict) and "sink" not in plain and "splits" in plain:
            raise no_artifact("Predictions", uri, received="Examples")
        try:
            if plain.pop("format") != FORMAT:
                raise ValueError(f"not format {FORMAT}")
            plain.pop("kind", None)
            for name, kind in (("source", SourceFile), ("files", Shard), ("columns", OutputColumn)):
                plain[name] = tuple(kind(**entry) for entry in plain[name])
            plain["files_quarantined"] = tuple(QuarantinedFile(**file) for file in plain.get("files_quarantined", ()))
            plain["notes"] = tuple(map(str, plain.get("notes", ())))
            if form := plain.get("answers"):
                plain["answers"] = AnswerForm(**{**form, "lists_of_one": tuple(form["lists_of_one"])})
            kept = plain["quarantine"]
            plain["quarantine"] = Quarantine(kept["budget"], kept["reasons"], tuple(kept["files"]))
            return cls(**plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "the file is not a manifest of predictions",
                where=where,
                received=f"{type(error).__name__}: {error}",
            ) from error
