"""Spans and appends: adds a span of data, or corrected rows, to existing Examples without processing the others again.

Examples of several spans hold each span as separate Examples in spans/NAME, with merged manifests and statistics.
Appended rows are in appended/NUMBER of their Examples or of their span.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.components.preprocess import pipeline
from headrace.components.preprocess.append.merge import completed, merge_appended, merge_spans, place_of
from headrace.components.preprocess.append_index import complete
from headrace.components.preprocess.output_guard import check_place
from headrace.components.preprocess.pipeline import PreprocessConfig
from headrace.components.preprocess.time_boundaries import check_declared
from headrace.core.artifacts.examples import Manifest, Schema
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.artifacts.missing import is_there, no_artifact
from headrace.core.errors import UsageError
from headrace.core.problem import Problem
from headrace.core.problem.file import ProblemFile
from headrace.core.progress import Progress, silent
from headrace.core.sources.open import data_version as measure_version
from headrace.core.sources.open import list_paths
from headrace.core.storage.edit_folder import check_local, exclusive, swapping


@dataclass(frozen=True)
class Update:
    """The result of adding to Examples.

    Attributes:
        status: "unchanged" if the same data was already present.
        rows: number of rows read.
        corrected: number of these that replaced a quarantined row.
        manifest: the new manifest of the Examples.
    """

    status: Literal["added", "replaced", "unchanged"]
    rows: int
    corrected: int
    manifest: Manifest


def span_name(text: str) -> str:
    """Normalizes a span's name: a whole number without leading zeros, or a date.

    Raises:
        UsageError: it is neither.
    """
    if re.fullmatch(r"[0-9]{1,18}", text):
        return str(int(text))
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise UsageError(
        "the span is wrong", where="--span", expected="a whole number or a date such as 2026-11-20", received=text
    )


def add_span(
    problem_file: ProblemFile, config: PreprocessConfig, span: str, *, replace: bool = False, report: Progress = silent
) -> Update:
    """Adds a span to the Examples at `config.output`, which are created if they do not exist.

    A key of another span is a duplicate. If the Problem requires it, a row that equals one of another span except for
    its key is a duplicate too. The first row is retained. The other spans' shards are not read.

    Args:
        problem_file: the Problem of the rows and of the other spans.
        config: input, output and options; its identity is the span's.
        span: a whole number or a date; all spans of Examples have one kind.
        replace: replaces a span of this name that has other data.
        report: called with the number of rows read.

    Raises:
        DataError: an error of `beam_job.preprocess`.
        UsageError: the span's name is wrong; it exists with other data; the Examples have no spans, or are for another
            Problem.
        PlatformError: another process writes to the Examples, or the disk is full or failed.
    """
    span = span_name(span)
    problem = problem_file.problem
    check_local(config.output)
    check_declared(problem, config.output)
    check_place(config.output, problem=problem_file.path, data=config.data, baseline=config.baseline)
    config = _versioned(config)
    with exclusive(config.output) as folder:
        current = _current(folder, problem, config.output)
        same = next((s for s in current.spans if s.span == span), None) if current else None
        if current is not None:
            _check_spans(current, span, config.output)
        if same is not None and current is not None:
            if same.data_version == config.data_version:
                return Update("unchanged", 0, 0, current)
            if not replace:
                raise UsageError(
                    f"span {span} exists already, with other data",
                    where=config.output,
                    expected=f"data of version {same.data_version[:12]}",
                    received=config.data_version[:12],
                    fix="Use --replace to replace it with the new data, or --append to add to it",
                )
        with swapping(folder, EXAMPLES) as copy:
            place = copy / "spans" / span
            shutil.rmtree(place, ignore_errors=True)
            # A replaced span, too, has the scale of the others.
            problem = problem if current is None else problem.with_exponents(Schema.read(str(copy)).exponents)
            others = tuple(completed(problem, copy))
            own = dataclasses.replace(
                config, output=str(place), addition="span", existing=others, quarantine_next_to=config.output
            )
            result = pipeline.preprocess(problem_file, own, report)
            manifest = merge_spans(problem_file.problem, copy, config.output)
    return Update("replaced" if same else "added", result.rows_in, 0, manifest)


def append(problem_file: ProblemFile, config: PreprocessConfig, *, span: str = "", report: Progress = silent) -> Update:
    """Adds rows to Examples as further shards.

    A row with the id of a quarantined row in the column `quarantine_id`, as in the output of `headrace quarantine show
    --output`, replaces it: the quarantined row is removed, and the row is counted once. The number of input rows
    therefore grows by the other rows only. A key that the Examples contain is a duplicate.

    Args:
        problem_file: the Problem of the rows and of the Examples.
        config: input, output and options; its identity is that of the added rows.
        span: the span to add to, if the Examples have spans.
        report: called with the number of rows read.

    Raises:
        DataError: an error of `beam_job.preprocess`; or all rows together exceed the quarantine budget.
        UsageError: the Examples or the span do not exist, or the Examples are for another Problem.
        PlatformError: another process writes to the Examples, or the disk is full or failed.
    """
    problem = problem_file.problem
    check_local(config.output)
    check_declared(problem, config.output)
    check_place(config.output, problem=problem_file.path, data=config.data, baseline=config.baseline)
    config = _versioned(config)
    with exclusive(config.output) as folder:
        current = _current(folder, problem, config.output)
        if current is None:
            raise UsageError(
                "the Examples to append to do not exist",
                where=config.output,
                expected="Examples of `headrace preprocess`",
            )
        names = [s.span for s in current.spans]
        if (names or span) and (not span or span_name(span) not in names):
            raise UsageError(
                "the span does not exist" if span else "the Examples have spans",
                where=config.output,
                expected=f"--span with one of {', '.join(names)}" if names else "no --span: the Examples have no spans",
                received=f"--span {span}" if span else "no --span",
            )
        inside = f"spans/{span_name(span)}" if span else "."
        base = Manifest.read(str(folder / inside))
        if any(added.data_version == config.data_version for added in base.appended):
            return Update("unchanged", 0, 0, current)
        with swapping(folder, EXAMPLES) as copy:
            problem = problem.with_exponents(Schema.read(str(copy)).exponents)
            existing = completed(problem, copy) or {str(copy): complete(problem, copy)}
            own = dataclasses.replace(config, existing=tuple(existing))
            manifest = _append(problem_file, own, copy / inside, report)
            added = manifest.appended[-1]
            if span:
                manifest = merge_spans(problem_file.problem, copy, config.output)
    return Update("added", added.rows, added.corrected, manifest)


def _versioned(config: PreprocessConfig) -> PreprocessConfig:
    version = config.data_version or measure_version(list_paths(config.data), config.csv)
    return dataclasses.replace(config, data_version=version)


def _current(folder: Path, problem: Problem, where: str) -> Manifest | None:
    if not is_there("Examples", str(folder)):
        if folder.exists() and any(folder.iterdir()):
            raise no_artifact("Examples", where, received="a folder that holds something else")
        return None
    current = Manifest.read(str(folder))
    if current.files_in:
        raise UsageError(
            "the Examples are a window of `headrace ingest`",
            where=where,
            expected="Examples of `headrace preprocess`",
            fix="Use `headrace ingest` to add a span or to correct one",
        )
    if current.schema_digest != problem.schema_digest:
        raise UsageError(
            "the Examples are for another declaration of the problem",
            where=where,
            expected=f"schema digest {problem.schema_digest[:12]}",
            received=current.schema_digest[:12],
            fix="Preprocess all the data again, or undo the changes of the Problem file",
        )
    return current


def _check_spans(current: Manifest, span: str, where: str) -> None:
    if not current.spans:
        raise UsageError(
            "the Examples have no spans", where=where, expected="Examples written with `--span`, or a new folder"
        )
    dated = "-" in span
    if any(dated != ("-" in other.span) for other in current.spans):
        raise UsageError(
            "the spans are of two kinds",
            where=where,
            expected=f"{'a number' if dated else 'a date'}, as {current.spans[0].span}",
            received=span,
        )


def _append(problem_file: ProblemFile, config: PreprocessConfig, folder: Path, report: Progress) -> Manifest:
    """Adds rows to the Examples in `folder`, a complete copy, which is changed in place."""
    problem = problem_file.problem.with_exponents(Schema.read(str(folder)).exponents)
    base = Manifest.read(str(folder))
    place = folder / place_of(base)
    own = dataclasses.replace(config, output=str(place), addition="append", quarantine_next_to=config.output)
    pipeline.preprocess(problem_file, own, report)
    added = complete(problem, place)
    return merge_appended(problem, config, folder, base, added)
