"""Results of a batch prediction job, matched with the rows that were sent."""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.components.score.endpoint import wire
from headrace.components.score.endpoint.not_finite import are_real, blank, can_be_blank, rows_said
from headrace.components.score.endpoint.reply import BrokenReply
from headrace.components.score.vertex_job.row_ids import NamedRows, Naming, names_of
from headrace.core.errors import PlatformError
from headrace.core.progress import Progress, silent
from headrace.core.saved_model.interface import ModelBinding, ModelOutput
from headrace.core.scoring.bisect import RowsFailed, answered
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.to_columns import Answer
from headrace.core.sources.open_file import opened
from headrace.core.storage.remote import folders

# Prefixes of a job's files: of jobs that run containers, and of the service's reference.
_RESULTS = ("prediction.results-", "predictions_")
_ERRORS = ("prediction.errors_stats-", "errors_")
_LINES = 1 << 14
_BLOCK = 8 << 20
_SHOWN = 300

Names = npt.NDArray[np.bytes_]


@dataclass
class Results:
    """The predictions of a job, by the names of rows.

    Attributes:
        names: of the rows that have a prediction, sorted, [predictions].
        order: the position of each prediction in `columns`, [predictions].
        columns: by output, in the order of the files.
        failed: errors of the predictions of rows, by name.
        refused: errors of rows without a prediction, by name, if the error names the row.
        reasons: other errors, with the number of their rows.
        not_finite: by error message of headrace's server, the outputs that are not finite.
        alone: whether each row with an error was sent in a request of its own.
    """

    names: Names = field(default_factory=lambda: np.array([], "S1"))
    order: npt.NDArray[np.int64] = field(default_factory=lambda: np.array([], np.int64))
    columns: dict[str, Answer] = field(default_factory=dict)
    failed: dict[bytes, str] = field(default_factory=dict)
    refused: dict[bytes, str] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    not_finite: dict[str, frozenset[str]] = field(default_factory=dict)
    alone: bool = False

    @classmethod
    def read(
        cls, folder: str, takes: ModelBinding, key_field: str, naming: Naming, report: Progress = silent
    ) -> Results:
        """Reads the results in a job's folder.

        Args:
            folder: the job's output directory, in Cloud Storage.
            takes: the model's outputs.
            key_field: the field with the names of the instances.
            naming: whether a repeated name is one row or several rows.
            report: called with the number of predictions read.

        Raises:
            PlatformError: the folder holds no results.
        """
        files = [blob.uri for blob in folders.below(folder)]
        by_kind = {
            kind: [uri for uri in files if uri.rpartition("/")[2].startswith(kind)] for kind in (_RESULTS, _ERRORS)
        }
        if not by_kind[_RESULTS] and not by_kind[_ERRORS]:
            raise PlatformError(
                "the job wrote no results", where=folder, expected=f"files {_RESULTS[0]}* or {_RESULTS[1]}*"
            )
        results = cls()
        for uri in by_kind[_ERRORS]:
            for line in lines_of(uri):
                results._add_error(line, key_field)
        pieces: list[dict[str, Answer]] = []
        names: list[Names] = []
        for uri in by_kind[_RESULTS]:
            lines = lines_of(uri)
            while chunk := list(itertools.islice(lines, _LINES)):
                results._add(chunk, takes, key_field, pieces, names)
                report(f"{sum(map(len, names)):,} predictions read")
        results._join(pieces, names, takes, naming)
        return results

    def find(self, names: Names) -> npt.NDArray[np.int64]:
        """The positions of rows' predictions in `columns`, or -1, [rows]."""
        if not len(self.names):
            return np.full(len(names), -1)
        at = np.minimum(np.searchsorted(self.names, names), len(self.names) - 1)
        return np.where(self.names[at] == names, self.order[at], -1)

    def unanswered(self, names: Names) -> npt.NDArray[np.bool_]:
        """Which named rows have no prediction, not even a broken one, [rows]."""
        broken = np.array([b"", *self.failed], np.bytes_)
        return (self.find(names) < 0) & ~np.isin(names, broken)

    @property
    def complained(self) -> bool:
        """Whether the job reported errors of rows without a prediction."""
        return bool(self.reasons or self.refused)

    def why(self, name: bytes) -> str:
        """The error of a row without a prediction."""
        reason = self.failed.get(name) or self.refused.get(name)
        if reason is None and self.reasons:
            reason = self.reasons.most_common(1)[0][0]
            reason = reason if len(self.reasons) == 1 else f"the most frequent error is: {reason}"
        return f"the job returned no prediction: {reason}" if reason else "the job returned no prediction and no reason"

    def not_finite_of(self, name: bytes) -> frozenset[str]:
        """The outputs that are not finite for a row without a prediction, if its error names them."""
        messages = {self.refused[name]} if name in self.refused else set(self.reasons)
        outputs = {self.not_finite.get(reason, frozenset()) for reason in messages}
        return outputs.pop() if self.alone and len(outputs) == 1 and name not in self.failed else frozenset()

    def with_those_of(self, again: Results, takes: ModelBinding) -> Results:
        """Merges the results of a job to which each row without a prediction was sent alone."""
        kept = self.unanswered(again.names)
        merged = Results(
            failed={**again.failed, **self.failed},
            refused=again.refused,
            reasons=again.reasons,
            not_finite=again.not_finite,
            alone=True,
        )
        pieces = [dict(held.columns) for held in (self, again) if held.columns]
        offset = len(next(iter(self.columns.values()))) if self.columns else 0
        merged.columns = _concatenated(pieces, takes)
        names = np.concatenate([self.names, again.names[kept]])
        order = np.argsort(names, kind="stable")
        merged.names = names[order]
        merged.order = np.concatenate([self.order, again.order[kept] + offset])[order]
        return merged

    def forget(self, names: Names, said: str) -> None:
        """Removes the predictions of rows, with a reason."""
        kept = ~np.isin(self.names, names)
        self.names, self.order = self.names[kept], self.order[kept]
        self.failed.update(dict.fromkeys(names.tolist(), said))

    def _add(
        self,
        lines: Sequence[bytes],
        takes: ModelBinding,
        key_field: str,
        pieces: list[dict[str, Answer]],
        names: list[Names],
    ) -> None:
        found: list[bytes] = []
        predictions: list[Any] = []
        for line in lines:
            row = object_of(line)
            name = name_of(row, key_field)
            if name is None or "prediction" not in row:
                self.reasons[f"a line of the results is not valid: {_short(line.decode('utf-8', 'replace'))}"] += 1
                continue
            found.append(name)
            predictions.append(row["prediction"])

        def call(begin: int, end: int) -> dict[str, Answer]:
            try:
                answers = wire.answers_of(predictions[begin:end], takes, end - begin)
            except BrokenReply as error:
                raise RowsFailed(f"its prediction is not valid: {error}") from error
            return {given.name: _by_row(given, answers[given.name], end - begin) for given in takes.outputs}

        parsed, failed = answered(call, len(found))
        pieces += parsed
        self.failed.update({found[row]: said for row, said in failed.items()})
        names.append(np.array([name for row, name in enumerate(found) if row not in failed], np.bytes_))

    def _add_error(self, line: bytes, key_field: str) -> None:
        text = line.decode("utf-8", "replace").strip()
        row = object_of(line)
        name = name_of(row, key_field)
        count = 1
        if row:
            error = row.get("error", row.get("errors"))
            text = str(error.get("message") if isinstance(error, dict) else error or text)
        else:
            # Jobs that run containers write a Python tuple: the message and the number of instances.
            with contextlib.suppress(ValueError, TypeError, SyntaxError):
                said, number = ast.literal_eval(text)
                text, count = str(said), int(number)
        short = _short(text)
        self.not_finite[short] = frozenset(rows_said(text) or ())
        if name is None:
            self.reasons[short] += count
        else:
            self.refused[name] = short

    def _join(self, pieces: list[dict[str, Answer]], names: list[Names], takes: ModelBinding, naming: Naming) -> None:
        if not pieces:
            return
        self.columns = _concatenated(pieces, takes)
        every = np.concatenate(names)
        order = np.argsort(every, kind="stable")
        ordered = every[order]
        again = np.concatenate([[False], ordered[1:] == ordered[:-1]])
        if naming == "key":
            # Two rows with one key cannot be distinguished, and their predictions may differ.
            twice = again | np.concatenate([again[1:], [False]])
            self.failed.update(dict.fromkeys(set(ordered[twice].tolist()), "several rows have this key"))
            again = twice
        self.names, self.order = ordered[~again], order[~again]


class CollectedRows(NamedRows):
    """Scores rows with the predictions of a job."""

    def __init__(self, takes: ModelBinding, model_version: str, naming: Naming, results: Results) -> None:
        """Creates the scorer.

        Args:
            takes: the model's inputs and outputs.
            model_version: version of the model.
            naming: of the rows in the job.
            results: of the job.
        """
        super().__init__(takes, model_version, naming, takes.outputs)
        self._results = results

    def _call(self, feeds: list[Feed], rows: int) -> dict[str, Answer]:
        names = np.array(names_of(feeds).cast(pa.binary()).to_pylist(), np.bytes_)
        at = self._results.find(names)
        if (at < 0).any():
            outputs = self._results.not_finite_of(bytes(names[0])) if rows == 1 else frozenset()
            if outputs and are_real(outputs, self.takes.outputs) and can_be_blank(self.takes.outputs):
                return blank(self.takes.outputs, 1, outputs)
            # Rows that could not be sent have the same messages as rows that could not be written.
            wire.columns_to_json(feeds)
            raise RowsFailed(self._results.why(bytes(names[0])) if rows == 1 else "the job returned no prediction")
        return {given.name: _taken(self._results.columns[given.name], at) for given in self.takes.outputs}


def _concatenated(pieces: list[dict[str, Answer]], takes: ModelBinding) -> dict[str, Answer]:
    """Concatenates the predictions of pieces, which are emptied."""
    joined: dict[str, Answer] = {}
    for given in takes.outputs if pieces else ():
        parts = [piece.pop(given.name) for piece in pieces]
        try:
            joined[given.name] = pa.concat_arrays(parts) if isinstance(parts[0], pa.Array) else np.concatenate(parts)
        except (ValueError, TypeError) as error:
            raise PlatformError(
                f"predictions of {given.name} differ in their number of values", received=str(error)
            ) from error
    return joined


def _by_row(given: ModelOutput, answer: Answer, rows: int) -> Answer:
    """Reshapes predictions to one element per row: text of several values per row is flat."""
    if not isinstance(answer, pa.Array) or given.width is None:
        return answer
    return pa.FixedSizeListArray.from_arrays(answer, len(answer) // rows)


def _taken(column: Answer, at: npt.NDArray[np.int64]) -> Answer:
    if not isinstance(column, pa.Array):
        return column[at]
    taken = column.take(pa.array(at))
    return taken.flatten() if pa.types.is_fixed_size_list(taken.type) else taken


def lines_of(uri: str) -> Iterator[bytes]:
    """The non-empty lines of a file."""
    rest = b""
    with opened(uri) as file:
        while block := file.read(_BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


def object_of(line: bytes) -> dict[str, Any]:
    """The JSON object of a line; an empty one if the line is not an object."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def name_of(row: dict[str, Any], key_field: str) -> bytes | None:
    """The name of a line's row, from the key or from the instance."""
    instance = row.get("instance")
    name = row["key"] if "key" in row else (instance if isinstance(instance, dict) else row).get(key_field)
    return None if name is None or isinstance(name, bool | float | list | dict) else str(name).encode()


def _short(said: object) -> str:
    text = " ".join(str(said).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
