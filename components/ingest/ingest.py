"""Ingest: adds the spans that arrived, and writes the Examples of the window over all spans.

A span is preprocessed once for each version of its data and each declaration of the Problem, into
ROOT/spans/PROBLEM/SPAN/KEY. These Examples are never changed, so a killed or superseded run does no damage: the next
call reuses what is complete, and preprocesses the rest.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.components.ingest.catalog import Catalog, SpanVersion
from headrace.components.ingest.config import IngestConfig
from headrace.components.ingest.spans import BaselineStatistics, SpanMaker
from headrace.components.ingest.window import Verdict
from headrace.components.ingest.window_examples import remove_window, write_window
from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.missing import is_there
from headrace.core.artifacts.set_aside import quarantine_of
from headrace.core.errors import UsageError
from headrace.core.ledger.inbox import Arrival
from headrace.core.ledger.state import Outcome
from headrace.core.problem.file import ProblemFile
from headrace.core.progress import Progress, silent
from headrace.core.steps.workspace import spans_uri
from headrace.core.storage import join
from headrace.core.text import counted, listed

if TYPE_CHECKING:
    from apache_beam.runners.runner import PipelineResult


@dataclass(frozen=True)
class QuarantinedSpan:
    """A span that is quarantined as a whole.

    Attributes:
        span: name of the span.
        version: its data version in the ledger.
        rows: number of its rows that could be read.
        why: the error, as text.
        quarantine: URI of its rows, for `headrace quarantine show`.
    """

    span: str
    version: str
    rows: int
    why: str
    quarantine: str


@dataclass(frozen=True)
class IngestResult:
    """Result of ingest.

    Attributes:
        trainable: whether a window was written, and an arrival is in it or there were no arrivals.
        identity: identity (cache key) of the window's Examples; "" if no window was written, because no span is left.
        spans: names of the spans in the window, oldest first.
        newest: name of the newest span that has rows; "" if there is none.
        added: names of the arrived spans that are in the window.
        others: outcomes of arrivals that differ from that of the run, by version, as `Ledger.end` accepts them.
        quarantined: spans that are quarantined as a whole, and arrived or were judged in this call.
        withdrawn: names of the spans with a withdrawn version, which is excluded from the window.
        not_compared: columns that the baseline lacks or has in another form, because the schema changed.
        rows_in: number of rows read, of all spans in the window.
        rows_out: number of rows of the window, over all splits.
        rows_quarantined: number of rows of these spans that broke a rule.
        splits: number of rows by split.
        newest_test: number of test rows of the newest span.
    """

    trainable: bool
    identity: str
    spans: tuple[str, ...]
    newest: str
    added: tuple[str, ...]
    others: Mapping[str, Outcome]
    quarantined: tuple[QuarantinedSpan, ...]
    withdrawn: tuple[str, ...]
    not_compared: tuple[str, ...]
    rows_in: int = 0
    rows_out: int = 0
    rows_quarantined: int = 0
    splits: Mapping[str, int] = field(default_factory=dict)
    newest_test: int = 0


def ingest(
    file: ProblemFile,
    config: IngestConfig,
    report: Progress = silent,
    *,
    launched: Callable[[PipelineResult], None] | None = None,
) -> IngestResult:
    """Adds arrivals to the spans, and writes the Examples of the window.

    For each span, the window uses the version that was announced last and is neither quarantined nor withdrawn. If the
    Problem's declaration changed, the spans of the window are preprocessed again from their data, once. If no span is
    left, an earlier window at the output is removed: it has rows that must not be trained on any more.

    Args:
        file: the Problem file.
        config: the arrivals and options.
        report: receives progress.
        launched: called with each Beam job after it has started.

    Raises:
        DataError: a split of the window has no rows, a column has no value, or a file of an earlier run is damaged.
            Bad data of a span does not raise: the span is quarantined.
        UsageError: a withdrawn span is unknown, or an input or output cannot be read or written.
        PlatformError: the disk or the service failed; calling again is safe.
    """
    problem = file.problem
    config.check(file)
    baseline = BaselineStatistics.read(config.baseline, problem)
    if baseline.without:
        report(f"not compared with the baseline, as it differs there: {listed(baseline.without)}", lasting=True)
    folder = spans_uri(config.root, problem.name)
    catalog = Catalog(folder)
    # It marks the folder before a span is written.
    catalog.put([])
    maker = SpanMaker(file, catalog, baseline, config.runner, report, launched)
    book = _Book(catalog, maker, problem.schema_digest)
    arrived = [book.arrive(arrival, config.csv) for arrival in config.arrivals]
    withdrawn = book.withdrawn(config.withdrawn)
    for version in arrived:
        if version.key in withdrawn:
            book.keep(version)
        else:
            book.judge(version, again=True)
    chosen = config.window.chosen(
        {version.span for version in book.current()}, book.candidates(withdrawn), lambda version: book.judge(version)
    )
    versions = [book.known[version.key] for _, version in chosen]
    window = None
    if versions:
        scale = catalog.scale(problem.schema_digest) or {}
        window = write_window(problem, folder, versions, config.output, catalog.uri, float(config.half_life), scale)
        report(f"window of {counted(len(versions), 'span')}, {counted(window.rows_out, 'Example')}")
    else:
        remove_window(config.output)
    return _result(folder, book, arrived, withdrawn, versions, window)


class _Book:
    """The versions of spans during one call.

    Attributes:
        known: versions by key.
        judged: keys of the versions that this call judged.
    """

    def __init__(self, catalog: Catalog, maker: SpanMaker, schema: str) -> None:
        self.known = catalog.read()
        self.judged: list[str] = []
        self._catalog = catalog
        self._maker = maker
        self._schema = schema

    @property
    def not_compared(self) -> tuple[str, ...]:
        """Columns that are not compared with the baseline."""
        return self._maker.baseline.without

    def arrive(self, arrival: Arrival, csv: Sequence[str]) -> SpanVersion:
        """The version of an arrival. A known version that is announced again becomes the newest of its span."""
        new = SpanVersion(
            span=arrival.span,
            data=arrival.data,
            data_version=arrival.data_version,
            at=arrival.at,
            version=arrival.version,
            csv=tuple(csv),
            schema=self._schema,
        )
        known = self.known.get(new.key)
        if known is not None:
            new = dataclasses.replace(known, at=max(known.at, new.at), data=new.data)
            if new != known:
                self._catalog.put([new])
        self.known[new.key] = new
        return new

    def current(self) -> list[SpanVersion]:
        """All versions, for the current declaration of the Problem, including those that are not judged yet."""
        found: dict[tuple[str, str, tuple[str, ...]], SpanVersion] = {}
        for version in self.known.values():
            if version.schema == self._schema:
                found[version.source] = version
            elif version.source not in found:
                new = dataclasses.replace(version, schema=self._schema, verdict=None)
                found[version.source] = self.known.get(new.key, new)
        return list(found.values())

    def candidates(self, withdrawn: Mapping[str, str]) -> Callable[[str], list[SpanVersion]]:
        """A function from the name of a span to its versions, newest first, without withdrawn ones."""
        announced: dict[object, str] = defaultdict(str)
        for version in self.known.values():
            announced[version.source] = max(announced[version.source], version.at)
        spans: dict[str, list[SpanVersion]] = defaultdict(list)
        by_age = sorted(self.current(), key=lambda v: (announced[v.source], v.data_version, v.key), reverse=True)
        for version in by_age:
            if version.key not in withdrawn:
                spans[version.span].append(version)
        return lambda span: spans[span]

    def withdrawn(self, names: Sequence[str]) -> dict[str, str]:
        """The span of each withdrawn version, by key.

        Raises:
            UsageError: a name is unknown.
        """
        found: dict[str, str] = {}
        for name in names:
            named = [v for v in self.current() if name == v.span or name in self._versions(v)]
            if not named:
                raise UsageError(
                    "the withdrawn span is not known",
                    where=self._catalog.uri,
                    expected="the name of a span, or the version of an arrival",
                    received=name,
                )
            found.update((version.key, version.span) for version in named)
        return found

    def _versions(self, version: SpanVersion) -> set[str]:
        return {known.version for known in self.known.values() if known.source == version.source}

    def keep(self, version: SpanVersion) -> None:
        """Stores a version without a verdict. It is judged when it is no longer withdrawn."""
        self._catalog.put([version])

    def judge(self, version: SpanVersion, *, again: bool = False) -> Verdict:
        """The verdict on a version. It is judged if it has no verdict.

        Args:
            version: version of a span.
            again: whether to judge it again if the verdict may differ now: it was quarantined, the baseline changed, or
                its Examples are gone.
        """
        version = self.known.get(version.key, version)
        if version.verdict is None or (again and self._may_change(version)):
            version = self._maker.judged(version)
            # Other processes may have added spans since; the window uses those that this call read.
            self._catalog.put([version])
            self.known[version.key] = version
            self.judged.append(version.key)
        assert version.verdict is not None
        return version.verdict

    def _may_change(self, version: SpanVersion) -> bool:
        if version.verdict == "quarantined" or version.judged != self._maker.baseline.version:
            return True
        return version.verdict == "accepted" and not is_there("Examples", join(self._catalog.folder, version.folder))


def _result(
    folder: str,
    book: _Book,
    arrived: Sequence[SpanVersion],
    withdrawn: Mapping[str, str],
    versions: Sequence[SpanVersion],
    window: Manifest | None,
) -> IngestResult:
    inside = {version.key for version in versions}
    added = sorted({version.span for version in arrived if version.key in inside})
    others: dict[str, Outcome] = {}
    for version in arrived:
        if version.key in withdrawn:
            others[version.version] = "withdrawn"
        elif book.known[version.key].verdict == "quarantined":
            others[version.version] = "quarantined"
    told = {**dict.fromkeys(version.key for version in arrived), **dict.fromkeys(book.judged)}
    bad = [book.known[key] for key in told if book.known[key].verdict == "quarantined" and key not in withdrawn]
    counts: dict[str, Any] = {}
    newest = None
    if window is not None:
        newest = window.newest
        counts = {name: getattr(window, name) for name in ("rows_in", "rows_out", "rows_quarantined")}
        counts["splits"] = {name: split.rows for name, split in window.splits.items()}
    return IngestResult(
        trainable=window is not None and (bool(added) or not arrived),
        identity="" if window is None else window.identity,
        spans=tuple(version.span for version in versions),
        newest="" if newest is None else newest.span,
        added=tuple(added),
        others=others,
        quarantined=tuple(
            QuarantinedSpan(v.span, v.version, v.rows_in, v.why, quarantine_of(join(folder, v.folder))) for v in bad
        ),
        withdrawn=tuple(sorted(set(withdrawn.values()))),
        not_compared=book.not_compared,
        newest_test=0 if newest is None else newest.test.rows,
        **counts,
    )
