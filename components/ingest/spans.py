"""Spans: each version of a span is preprocessed once into Examples of its own, and judged."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.components.ingest.catalog import Catalog, SpanVersion
from headrace.components.ingest.whole_quarantine import quarantine_span
from headrace.components.preprocess import pipeline
from headrace.components.preprocess.limits import check_drift, not_comparable, read_baseline, statistics_version
from headrace.core import storage
from headrace.core.artifacts import set_aside
from headrace.core.artifacts.examples import Manifest, Schema
from headrace.core.artifacts.missing import is_there
from headrace.core.beam.runners import RunnerOptions
from headrace.core.errors import DataError, NothingToDo
from headrace.core.problem import Problem
from headrace.core.problem.file import ProblemFile
from headrace.core.progress import Progress
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.sources.open import data_version as measure_version
from headrace.core.sources.open import list_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from apache_beam.runners.runner import PipelineResult


# Members of the label's statistics from which the weighted statistics of a window are computed.
_OF_LABEL = ("kind", "count", "mean", "vocabulary", "weighted")


@dataclass(frozen=True)
class BaselineStatistics:
    """Statistics that spans are compared with, such as the champion's.

    Attributes:
        statistics: content of statistics.json; None compares nothing.
        version: fingerprint of the statistics; "" if there are none.
        without: columns that are not compared, because the baseline lacks them or has them in another form.
    """

    statistics: Mapping[str, Any] | None
    version: str
    without: tuple[str, ...]

    @classmethod
    def read(cls, path: str, problem: Problem) -> BaselineStatistics:
        """Reads the statistics of a Model, of Examples, or of a statistics.json; an empty path compares nothing.

        Raises:
            DataError: the file does not contain statistics.
        """
        statistics = read_baseline(path)
        if statistics is None:
            return cls(None, "", ())
        return cls(statistics, statistics_version(statistics), tuple(not_comparable(problem, statistics)))


@dataclass(frozen=True)
class SpanMaker:
    """Preprocesses and judges spans.

    Attributes:
        file: the Problem file.
        catalog: catalog of the spans.
        baseline: statistics that spans are compared with.
        runner: the Beam runner.
        report: receives progress.
        launched: called with each Beam job after it has started.
    """

    file: ProblemFile
    catalog: Catalog
    baseline: BaselineStatistics
    runner: RunnerOptions
    report: Progress
    launched: Callable[[PipelineResult], None] | None = None

    def judged(self, version: SpanVersion) -> SpanVersion:
        """The version with its verdict. It is preprocessed unless its Examples exist.

        A version is quarantined if its data is gone or changed, lacks a column, has more bad rows than the quarantine
        budget allows, or exceeds another limit of the Problem, such as `drift`. Its rows, if they can be read, are then
        in the quarantine next to its Examples.

        Raises:
            UsageError: the folder cannot be written, or access to the data is denied.
            DataError: Examples of an earlier run are damaged.
            PlatformError: the disk or the service failed.
        """
        uri = storage.join(self.catalog.folder, version.folder)
        version = dataclasses.replace(version, judged=self.baseline.version, manifest=None, label=None, why="")
        made = Manifest.read(uri) if is_there("Examples", uri) else None
        try:
            version = self._measured(version, made is not None)
        except DataError as error:
            return dataclasses.replace(version, verdict="quarantined", why=error.paragraph)
        csv = CsvDialect.parse(version.csv)
        try:
            if made is None:
                self._make(version, uri, csv, self.catalog.scale(version.schema))
            schema = Schema.read(uri)
            scale = self.catalog.decide_scale(version.schema, schema.exponents)
            if schema.exponents != scale:
                self._make(version, uri, csv, scale)
                schema = Schema.read(uri)
            made = Manifest.read(uri)
            label = self._check(version, uri, schema, scale)
        except NothingToDo:
            return dataclasses.replace(version, verdict="empty", rows_in=0, rows_quarantined=0)
        except DataError as error:
            rows = quarantine_span(self.file.problem, version.data, csv, uri, error)
            self.report(f"span {version.span} is quarantined: {error.what}", lasting=True)
            why = error.paragraph
            return dataclasses.replace(version, verdict="quarantined", rows_in=rows, rows_quarantined=rows, why=why)
        set_aside.clear(uri)
        return dataclasses.replace(
            version,
            verdict="accepted",
            rows_in=made.rows_in,
            rows_quarantined=made.rows_quarantined,
            # In the form in which JSON is read back, so that storing it again changes nothing.
            manifest=json.loads(json.dumps(made.to_json())),
            label=label,
        )

    def _measured(self, version: SpanVersion, made: bool) -> SpanVersion:
        if made and version.measured:
            return version
        measured = ""
        # The data is not needed if its Examples exist.
        with contextlib.suppress(DataError) if made else contextlib.nullcontext():
            measured = measure_version(list_paths(version.data), CsvDialect.parse(version.csv))
        if not made and version.measured and measured != version.measured:
            raise DataError(
                "the data of the span changed since it was preprocessed first",
                where=version.data,
                expected=f"data of version {version.measured[:12]}",
                received=measured[:12],
                fix="Restore the data, or announce it again as a new version of the span",
            )
        return dataclasses.replace(version, measured=version.measured or measured)

    def _make(self, version: SpanVersion, uri: str, csv: CsvDialect, scale: Mapping[str, int] | None) -> None:
        self.report(f"preprocessing span {version.span}", lasting=True)
        config = pipeline.PreprocessConfig(
            data=version.data,
            output=uri,
            identity=version.key,
            data_version=version.data_version,
            runner=self.runner,
            # A span need not fill every split; the window is checked.
            addition="span",
            exponents=scale,
            csv=csv,
        )
        pipeline.preprocess(self.file, config, self.report, launched=self.launched)

    def _check(
        self, version: SpanVersion, uri: str, schema: Schema, scale: Mapping[str, int]
    ) -> Mapping[str, Any] | None:
        """Checks the span's Examples; returns the label's entry in their statistics."""
        problem = self.file.problem
        if schema != Schema.of(problem.with_exponents(scale)):
            raise DataError(
                "the span's columns are stored in another form than those of other spans",
                where=storage.join(uri, "schema.json"),
                expected="the columns that the Problem declares",
                received="others",
                fix="Preprocess all data together, with `headrace preprocess`",
            )
        statistics = storage.read_json(storage.join(uri, "statistics.json"))
        # A span may have no row in the train split.
        if statistics is None:
            return None
        baseline = self.baseline
        check_drift(problem, version.data, baseline.statistics, statistics, without=baseline.without)
        entry = statistics["columns"][problem.label.name]
        return {name: entry[name] for name in _OF_LABEL if name in entry}
