"""Watch of a folder: announces each span that closes in it, and starts the run that is due.

The folder is listed at every change that the operating system reports, and at an interval, for changes that it does not
report: on network file systems and object stores, or while the watch did not run. After a restart, known spans are
announced again, and the inbox ignores repeated arrivals. An error of one span is reported, and does not affect the
others.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from headrace.core import storage
from headrace.core.checks import check_positive
from headrace.core.errors import DataError, HeadraceError, PlatformError, UsageError, UserError
from headrace.core.ledger.pump import PlatformRuns
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.dynamic.tick import tick
from headrace.pipelines.triggers.announce import announce
from headrace.pipelines.triggers.closing import ClosingRule, read_manifest, waits_for
from headrace.pipelines.triggers.finished import is_being_written
from headrace.pipelines.triggers.span import File, ListedSpan, list_spans

Report = Callable[[str], None]
# Wait after the first failure, which doubles, and the maximum wait, in seconds.
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
# Maximum fraction of a core for listing a large folder.
_LISTING = 0.1
_TICK = "tick"
T = TypeVar("T")


@dataclass(frozen=True)
class WatchConfig:
    """Options of a watch.

    Args:
        folder: folder of the spans: a path, or gs://BUCKET/FOLDER.
        closing: rule by which spans close.
        poll_s: time between two listings if no change is reported, in seconds, above 0.
        tick_s: time between two calls of the pump if no span arrives, in seconds, above 0.

    Raises:
        UsageError: an option is not valid, or the folder does not support it.
    """

    folder: str
    closing: ClosingRule
    poll_s: float = 10.0
    tick_s: float = 60.0

    def __post_init__(self) -> None:
        check_positive(self.poll_s, "the interval of listings", where="--poll")
        check_positive(self.tick_s, "the interval of ticks", where="--tick")
        if self.closing.kind == "object" and not storage.is_remote(self.folder):
            raise UsageError(
                "a file on a disk is there before it is whole",
                where="--closed-by",
                expected="marker, manifest or quiet=PERIOD",
                received="object",
            )

    def check(self, settings: DynamicSettings) -> None:
        """Checks that the folder exists, and does not contain the root of the training.

        Raises:
            UsageError: the folder does not exist, or contains the root.
        """
        if not storage.is_remote(self.folder) and not storage.local_path(self.folder).is_dir():
            raise UsageError("the folder does not exist", where=self.folder, expected="an existing folder")
        if f"{_whole(settings.root)}/".startswith(f"{_whole(self.folder)}/"):
            raise UsageError(
                "the folder holds the root of the training",
                where=self.folder,
                expected="a folder with spans of data alone",
                received=settings.root,
            )


class Watcher:
    """Announces spans, and remembers which were announced and which wait. Not thread-safe.

    Args:
        config: options of the watch.
        settings: returns the current settings of the dynamic training.
        report: receives each event once, as a sentence.
        clock: monotonic clock, in seconds.
        runs: runs of the platform; None for those of the settings.

    Attributes:
        exit_status: exit status of the last `look`: 0, or the largest exit status of its errors.
    """

    def __init__(
        self,
        config: WatchConfig,
        settings: Callable[[], DynamicSettings],
        report: Report,
        *,
        clock: Callable[[], float] = time.monotonic,
        runs: PlatformRuns | None = None,
    ) -> None:
        self._config = config
        self._settings = settings
        self._report = report
        self._clock = clock
        self._runs = runs
        # By URI of the span: the announced signature, with the marker or the manifest that closed it; and the last
        # signature, with the time at which it was first seen.
        self._announced: dict[str, tuple[str, File | None]] = {}
        self._seen: dict[str, tuple[str, float]] = {}
        # By span or other work: the last reported text, and the consecutive failures with the time of the next attempt.
        self._said: dict[str, str] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        self._ticked = float("-inf")
        self.exit_status = 0

    def look(self) -> None:
        """Lists the folder once, announces the spans that closed, and pumps if one did or a tick is due.

        It raises no error: each error is reported, and retried with backoff, or as soon as the span changes.
        """
        arrived = False
        self.exit_status = 0
        spans = self._attempt(self._config.folder, lambda: list_spans(self._config.folder))
        names = Counter(span.name for span in spans or ())
        for span in spans or ():
            if self._seen.get(span.data, ("",))[0] != span.signature:
                # The change may have corrected an error.
                self._failed.pop(span.data, None)
            arrived |= bool(self._attempt(span.data, lambda span=span: self._consider(span, names)))  # type: ignore[misc]
        if spans is not None:
            self._forget({span.data for span in spans})
        if arrived or self._clock() >= self._ticked + self._config.tick_s:
            self._attempt(_TICK, self._pump)

    def _consider(self, span: ListedSpan, names: Mapping[str, int]) -> bool:
        """Announces a span if it is complete; returns whether it did."""
        now = self._clock()
        if names[span.name] > 1:
            raise DataError(
                "two entries of the folder are the same span",
                where=span.data,
                expected="one folder or one file for each span",
                received=f"{names[span.name]} of the name {span.name}",
            )
        signature, since = self._seen.get(span.data, ("", now))
        if signature != span.signature:
            since = now
            self._seen[span.data] = span.signature, now
        announced, closed_by = self._announced.get(span.data, ("", None))
        if announced == span.signature:
            return False
        closing = self._config.closing
        closes = span.files.get(closing.name)
        waiting = waits_for(span, closing, read_manifest(span, closing), now - since)
        why = None if waiting is None else waiting.why
        if why is None and closes is not None and closes == closed_by:
            # If files were only removed, the marker is still the newest file.
            why = f"a newer {closing.kind} {closing.name}: the span changed after it"
        if why is None and not storage.is_remote(span.data):
            why = _writer(span)
        if why is not None:
            self._say(span.data, f"span {span.name} waits for {why}")
            return False
        at = datetime.now(UTC)
        found = announce(self._settings(), span, lambda: self._again(span), event="", now=at)
        if found is None:
            self._say(span.data, f"span {span.name} changed while it was measured")
            return False
        self._announced[span.data] = span.signature, closes
        known = datetime.fromisoformat(found.at) < at - timedelta(seconds=1)
        self._say(span.data, f"span {span.name} {'is known' if known else 'arrived'} as {found.version}: {found.data}")
        return True

    def _again(self, span: ListedSpan) -> ListedSpan | None:
        return next((each for each in list_spans(self._config.folder) if each.data == span.data), None)

    def _pump(self) -> None:
        self._ticked = self._clock()
        pumped = tick(self._settings(), datetime.now(UTC), runs=self._runs)
        self._say(_TICK, pumped.why)

    def _attempt(self, about: str, work: Callable[[], T]) -> T | None:
        """The result of `work`; None if it failed, or if its next attempt is not due yet."""
        now = self._clock()
        failures, not_before = self._failed.get(about, (0, now))
        if now < not_before:
            return None
        try:
            done = work()
        except Exception as error:
            # Any error, because a watch that ends would silently miss all other spans.
            known = isinstance(error, HeadraceError | OSError)
            status = error.exit_status if isinstance(error, HeadraceError) else PlatformError.exit_status
            self.exit_status = max(self.exit_status, status)
            self._say(about, str(error) if known else f"unexpected internal error: {type(error).__name__}: {error}")
            wait = _LONGEST_WAIT_S if isinstance(error, UserError) else _FIRST_WAIT_S * 2.0 ** min(failures, 10)
            self._failed[about] = failures + 1, now + min(_LONGEST_WAIT_S, wait)
            return None
        self._failed.pop(about, None)
        return done

    def _say(self, about: str, text: str) -> None:
        if self._said.get(about) != text:
            self._said[about] = text
            self._report(text)

    def _forget(self, there: set[str]) -> None:
        for kept in (self._announced, self._seen, self._said, self._failed):
            for gone in kept.keys() - there - {_TICK, self._config.folder}:
                del kept[gone]


def _writer(span: ListedSpan) -> str | None:
    for name in span.data_files:
        path = storage.join(span.data, name) if span.folder else span.data
        if is_being_written(str(storage.local_path(path))):
            return f"the end of {name}, which a process is writing"
    return None


def _whole(uri: str) -> str:
    return uri.rstrip("/") if storage.is_remote(uri) else str(storage.resolve(uri))


def watch(watcher: Watcher, config: WatchConfig, stop: threading.Event, report: Report) -> None:
    """Watches until `stop` is set.

    Args:
        watcher: the watcher.
        config: its options.
        stop: ends the watch after the current listing.
        report: receives a warning if the operating system does not report changes.
    """
    quiet_s = config.closing.quiet_s
    poll_s = min(config.poll_s, max(quiet_s / 4, 0.1)) if quiet_s else config.poll_s
    for _ in _changes(config.folder, poll_s, stop, report):
        begin = time.monotonic()
        watcher.look()
        stop.wait(min(poll_s, (time.monotonic() - begin) * (1 / _LISTING - 1)))


def _changes(folder: str, poll_s: float, stop: threading.Event, report: Report) -> Iterator[None]:
    """Yields at once, at changes, and at the interval in seconds, until `stop` is set."""
    yield
    if not storage.is_remote(folder):
        from watchfiles import watch as watch_files

        try:
            for _ in watch_files(
                storage.local_path(folder),
                watch_filter=None,
                stop_event=stop,
                rust_timeout=max(1, int(1000 * poll_s)),
                yield_on_timeout=True,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                yield
            return
        except (OSError, RuntimeError) as error:
            # For example, the system limits the number of watched folders.
            report(f"changes are not reported by the system, and the folder is listed every {poll_s:g} s: {error}")
    while not stop.wait(poll_s):
        yield
