"""Brings what a batch prediction job wrote to the rows that it was asked about."""

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
from headrace.components.score.vertex_job.row_ids import NamedRows, Naming, names_of
from headrace.core.errors import PlatformError
from headrace.core.progress import Progress, silent
from headrace.core.saved_model.interface import ModelOutput, Takes
from headrace.core.scoring.bisect import RowsFailed, answered
from headrace.core.scoring.feeds import Feed
from headrace.core.scoring.to_columns import Answer
from headrace.core.sources.open_file import opened

# The names of a job's files: those of the jobs that run containers, and those of the service's reference.
_RESULTS = ("prediction.results-", "predictions_")
_ERRORS = ("prediction.errors_stats-", "errors_")
_LINES = 1 << 14
_BLOCK = 8 << 20
_SHOWN = 300

Names = npt.NDArray[np.bytes_]


@dataclass
class Results:
    """What a job answered, by the names of rows.

    Attributes:
        names: of the rows that have an answer, sorted, [answers].
        order: where the answer of each is in `columns`, [answers].
        columns: by output, in the order of the files.
        failed: what is wrong with the answers of rows that have one, by name.
        refused: what was said of rows that have none, by name, as far as it was said of rows.
        reasons: what was said besides, and of how many rows.
        not_finite: the outputs that our server calls not finite where it says one of the above.
        alone: the model was given each row of which something is said in a request of its own.
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
    def read(cls, folder: str, takes: Takes, key_field: str, naming: Naming, report: Progress = silent) -> Results:
        """Those in the folder that a job made.

        Args:
            folder: the job's output directory, in Cloud Storage.
            takes: what the model gives.
            key_field: the field of the instances that names them.
            naming: whether names that come twice are of one row, or of two.
            report: told how many answers have been read.

        Raises:
            PlatformError: the folder holds no results.
        """
        from headrace.core.storage import gcs

        files = [found.uri for found in gcs.below(folder)]
        by_kind = {
            kind: [uri for uri in files if uri.rpartition("/")[2].startswith(kind)] for kind in (_RESULTS, _ERRORS)
        }
        if not by_kind[_RESULTS] and not by_kind[_ERRORS]:
            raise PlatformError(
                "the job left no results", where=folder, expected=f"files {_RESULTS[0]}* or {_RESULTS[1]}*"
            )
        made = cls()
        for uri in by_kind[_ERRORS]:
            for line in lines_of(uri):
                made._add_error(line, key_field)
        pieces: list[dict[str, Answer]] = []
        names: list[Names] = []
        for uri in by_kind[_RESULTS]:
            lines = lines_of(uri)
            while chunk := list(itertools.islice(lines, _LINES)):
                made._add(chunk, takes, key_field, pieces, names)
                report(f"{sum(map(len, names)):,} predictions read")
        made._join(pieces, names, takes, naming)
        return made

    def find(self, names: Names) -> npt.NDArray[np.int64]:
        """Where the answers of rows are in `columns`, or -1, [rows]."""
        if not len(self.names):
            return np.full(len(names), -1)
        at = np.minimum(np.searchsorted(self.names, names), len(self.names) - 1)
        return np.where(self.names[at] == names, self.order[at], -1)

    def unanswered(self, names: Names) -> npt.NDArray[np.bool_]:
        """Which rows that have a name have no answer, not even a broken one, [rows]."""
        broken = np.array([b"", *self.failed], np.bytes_)
        return (self.find(names) < 0) & ~np.isin(names, broken)

    @property
    def complained(self) -> bool:
        """The job said something of rows that have no answer."""
        return bool(self.reasons or self.refused)

    def why(self, name: bytes) -> str:
        """What the job says of a row that has no answer."""
        said = self.failed.get(name) or self.refused.get(name)
        if said is None and self.reasons:
            said = self.reasons.most_common(1)[0][0]
            said = said if len(self.reasons) == 1 else f"for some rows it says, most often: {said}"
        return f"the job gave no prediction: {said}" if said else "the job gave no prediction, and does not say why"

    def not_finite_of(self, name: bytes) -> frozenset[str]:
        """The outputs that are not finite for a row that has no answer, if that is what is known of it."""
        said = {self.refused[name]} if name in self.refused else set(self.reasons)
        outputs = {self.not_finite.get(reason, frozenset()) for reason in said}
        return outputs.pop() if self.alone and len(outputs) == 1 and name not in self.failed else frozenset()

    def with_those_of(self, again: Results, takes: Takes) -> Results:
        """These, and those of a job that was given each row that has no answer, alone."""
        kept = self.unanswered(again.names)
        made = Results(
            failed={**again.failed, **self.failed},
            refused=again.refused,
            reasons=again.reasons,
            not_finite=again.not_finite,
            alone=True,
        )
        pieces = [dict(held.columns) for held in (self, again) if held.columns]
        offset = len(next(iter(self.columns.values()))) if self.columns else 0
        made.columns = _concatenated(pieces, takes)
        names = np.concatenate([self.names, again.names[kept]])
        order = np.argsort(names, kind="stable")
        made.names = names[order]
        made.order = np.concatenate([self.order, again.order[kept] + offset])[order]
        return made

    def forget(self, names: Names, said: str) -> None:
        """Takes away the answers of rows, and says why."""
        kept = ~np.isin(self.names, names)
        self.names, self.order = self.names[kept], self.order[kept]
        self.failed.update(dict.fromkeys(names.tolist(), said))

    def _add(
        self, lines: Sequence[bytes], takes: Takes, key_field: str, pieces: list[dict[str, Answer]], names: list[Names]
    ) -> None:
        found: list[bytes] = []
        predictions: list[Any] = []
        for line in lines:
            row = object_of(line)
            name = name_of(row, key_field)
            if name is None or "prediction" not in row:
                self.reasons[f"a line of the results is none: {_short(line.decode('utf-8', 'replace'))}"] += 1
                continue
            found.append(name)
            predictions.append(row["prediction"])

        def call(begin: int, end: int) -> dict[str, Answer]:
            try:
                answers = wire.answers_of(predictions[begin:end], takes, end - begin)
            except wire.BrokenReply as error:
                raise RowsFailed(f"its prediction is none: {error}") from error
            return {given.name: _by_row(given, answers[given.name], end - begin) for given in takes.outputs}

        made, failed = answered(call, len(found))
        pieces += made
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
            # Jobs that run containers write a Python tuple: what was said, and of how many instances.
            with contextlib.suppress(ValueError, TypeError, SyntaxError):
                said, number = ast.literal_eval(text)
                text, count = str(said), int(number)
        short = _short(text)
        self.not_finite[short] = frozenset(rows_said(text) or ())
        if name is None:
            self.reasons[short] += count
        else:
            self.refused[name] = short

    def _join(self, pieces: list[dict[str, Answer]], names: list[Names], takes: Takes, naming: Naming) -> None:
        if not pieces:
            return
        self.columns = _concatenated(pieces, takes)
        every = np.concatenate(names)
        order = np.argsort(every, kind="stable")
        ordered = every[order]
        again = np.concatenate([[False], ordered[1:] == ordered[:-1]])
        if naming == "key":
            # Two rows that share a key cannot be told apart, and what they were given can be different.
            twice = again | np.concatenate([again[1:], [False]])
            self.failed.update(dict.fromkeys(set(ordered[twice].tolist()), "several rows have this key"))
            again = twice
        self.names, self.order = ordered[~again], order[~again]


class CollectedRows(NamedRows):
    """Gives rows the answers of a job."""

    def __init__(self, takes: Takes, model_version: str, naming: Naming, results: Results) -> None:
        """Prepares to score.

        Args:
            takes: what the model takes and gives.
            model_version: which model it is.
            naming: how rows were named to the job.
            results: what the job answered.
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
            # What could not be sent is said in the words of what could not be written.
            wire.columns_to_json(feeds)
            raise RowsFailed(self._results.why(bytes(names[0])) if rows == 1 else "the job gave no prediction")
        return {given.name: _taken(self._results.columns[given.name], at) for given in self.takes.outputs}


def _concatenated(pieces: list[dict[str, Answer]], takes: Takes) -> dict[str, Answer]:
    """The answers of pieces, which are emptied, one after the other."""
    made: dict[str, Answer] = {}
    for given in takes.outputs if pieces else ():
        parts = [piece.pop(given.name) for piece in pieces]
        try:
            made[given.name] = pa.concat_arrays(parts) if isinstance(parts[0], pa.Array) else np.concatenate(parts)
        except (ValueError, TypeError) as error:
            raise PlatformError(
                f"predictions of {given.name} differ in how many values they have", received=str(error)
            ) from error
    return made


def _by_row(given: ModelOutput, answer: Answer, rows: int) -> Answer:
    """An answer with an element a row: text that is several values wide comes flat."""
    if not isinstance(answer, pa.Array) or given.width is None:
        return answer
    return pa.FixedSizeListArray.from_arrays(answer, len(answer) // rows)


def _taken(column: Answer, at: npt.NDArray[np.int64]) -> Answer:
    if not isinstance(column, pa.Array):
        return column[at]
    taken = column.take(pa.array(at))
    return taken.flatten() if pa.types.is_fixed_size_list(taken.type) else taken


def lines_of(uri: str) -> Iterator[bytes]:
    """The lines of a file that are not empty."""
    rest = b""
    with opened(uri) as file:
        while block := file.read(_BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


def object_of(line: bytes) -> dict[str, Any]:
    """The JSON object of a line; an empty one where it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def name_of(row: dict[str, Any], key_field: str) -> bytes | None:
    """The name of the row that a line is about: as the key, or in the instance itself."""
    instance = row.get("instance")
    name = row["key"] if "key" in row else (instance if isinstance(instance, dict) else row).get(key_field)
    return None if name is None or isinstance(name, bool | float | list | dict) else str(name).encode()


def _short(said: object) -> str:
    text = " ".join(str(said).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
