"""The watch of a folder: finished files, closed spans, restarts, bad files, and its end."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.triggered import CountedRuns, settings_below

from headrace.core.errors import UsageError
from headrace.core.ledger.ledger import Ledger
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.triggers.closing import ClosingRule
from headrace.pipelines.triggers.watch import WatchConfig, Watcher, watch


class Watched:
    """A watched folder with a clock that a test sets."""

    def __init__(self, root: Path, closing: str = "marker") -> None:
        self.settings = settings_below(root / "root")
        self.folder = root / "in"
        self.folder.mkdir(exist_ok=True)
        self.runs = CountedRuns()
        self.now = 0.0
        self.said: list[str] = []
        self.closing = closing
        self.restart()

    def restart(self) -> None:
        self.config = WatchConfig(str(self.folder), ClosingRule.parse(self.closing))
        self.watcher = Watcher(
            self.config, lambda: self.settings, self.said.append, clock=lambda: self.now, runs=self.runs
        )

    def write(self, name: str, content: str = "a\n1\n") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def look(self, seconds: float = 1.0) -> list[str]:
        """What a look reports, after a time."""
        self.now += seconds
        begin = len(self.said)
        self.watcher.look()
        return [text for text in self.said[begin:] if "run" not in text and "every data version" not in text]

    @property
    def spans(self) -> list[str]:
        inbox = self.settings.ledger.inbox
        return sorted(each.span for each in inbox.read(inbox.versions()))


@pytest.fixture
def marked(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


@pytest.fixture
def quiet(tmp_path: Path) -> Watched:
    return Watched(tmp_path, "quiet=5m")


def test_a_span_arrives_when_its_marker_does_and_once(marked: Watched) -> None:
    marked.write("2026-11-20/a.csv")
    assert marked.look() == ["span 2026-11-20 waits for the marker _SUCCESS"]
    marked.write("2026-11-20/b.csv")
    assert marked.look(1e6) == []
    marked.write("2026-11-20/_SUCCESS", "")
    (text,) = marked.look()
    assert text.startswith("span 2026-11-20 arrived as ")
    assert text.endswith(f": {marked.folder}/2026-11-20")
    assert marked.look() == []
    assert marked.spans == ["2026-11-20"]
    (arrivals,) = marked.runs.started.values()
    assert [(each.span, each.reason) for each in arrivals] == [("2026-11-20", "file")]


def test_a_burst_is_one_run_and_the_next_takes_what_comes_meanwhile(marked: Watched) -> None:
    for day in range(20, 25):
        marked.write(f"2026-11-{day}/a.csv", f"a\n{day}\n")
        marked.write(f"2026-11-{day}/_SUCCESS", "")
    marked.look()
    assert [len(arrivals) for arrivals in marked.runs.started.values()] == [5]
    for day in (25, 26):
        marked.write(f"2026-11-{day}/a.csv", f"a\n{day}\n")
        marked.write(f"2026-11-{day}/_SUCCESS", "")
        marked.look()
    assert len(marked.runs.started) == 1
    ledger = marked.settings.ledger
    run = ledger.state().run
    assert run is not None
    ledger.claim(run.id, "one")
    ledger.end(run.id, run.epoch, "promoted")
    marked.look(100)
    assert [len(arrivals) for arrivals in marked.runs.started.values()] == [5, 2]


def test_a_restart_misses_nothing_and_repeats_nothing(marked: Watched) -> None:
    marked.write("2026-11-20/a.csv")
    marked.write("2026-11-20/_SUCCESS", "")
    marked.look()
    versions = marked.settings.ledger.inbox.versions()
    marked.write("2026-11-21/a.csv", "a\n2\n")
    marked.write("2026-11-21/_SUCCESS", "")
    marked.restart()
    marked.look()
    assert marked.spans == ["2026-11-20", "2026-11-21"]
    assert set(versions) < set(marked.settings.ledger.inbox.versions())
    assert len(marked.runs.started) == 1


class Killed(BaseException):
    """The process is killed here."""


@pytest.mark.parametrize("point", ["the arrival", "the intent", "the start"])
@pytest.mark.parametrize("after", [False, True])
def test_a_watch_that_is_killed_anywhere_ends_as_if_it_was_not(
    marked: Watched, monkeypatch: pytest.MonkeyPatch, point: str, after: bool
) -> None:
    where: Any = {"the arrival": Ledger, "the intent": Ledger, "the start": CountedRuns}[point]
    name = {"the arrival": "arrive", "the intent": "change", "the start": "start"}[point]
    real = getattr(where, name)

    def killed(*arguments: Any) -> Any:
        if after:
            real(*arguments)
        raise Killed

    marked.write("2026-11-20/a.csv")
    marked.write("2026-11-20/_SUCCESS", "")
    with monkeypatch.context() as changed:
        changed.setattr(where, name, killed)
        with pytest.raises(Killed):
            marked.watcher.look()
    marked.restart()
    marked.look()
    assert marked.spans == ["2026-11-20"]
    (run_id,) = marked.runs.started
    run = marked.settings.ledger.state().run
    assert run is not None
    assert (run.id, run.fence) == (run_id, (1, 1))


def test_a_corrected_span_waits_for_its_marker_again(marked: Watched) -> None:
    marked.write("2026-11-20/a.csv")
    marked.write("2026-11-20/_SUCCESS", "")
    marked.look()
    corrected = marked.write("2026-11-20/a.csv", "a\n3\n")
    marker = (marked.folder / "2026-11-20/_SUCCESS").stat().st_mtime
    os.utime(corrected, (marker + 5, marker + 5))
    assert marked.look() == ["span 2026-11-20 waits for a newer marker _SUCCESS: a.csv changed after it"]
    os.utime(marked.folder / "2026-11-20/_SUCCESS", (marker + 6, marker + 6))
    marked.look()
    assert marked.spans == ["2026-11-20", "2026-11-20"]


@pytest.mark.parametrize("closing", ["marker=_end", "manifest=_end"])
def test_a_correction_begins_with_a_removed_file_and_ends_with_another_marker(tmp_path: Path, closing: str) -> None:
    watched = Watched(tmp_path, closing)
    names = [{"name": "a.csv"}, {"name": "b.csv"}]
    for name in ("a.csv", "b.csv"):
        watched.write(f"2026-11-20/{name}")
    end = watched.write("2026-11-20/_end", json.dumps({"files": names}))
    watched.look()
    assert len(watched.spans) == 1
    (watched.folder / "2026-11-20/b.csv").unlink()
    (text,) = watched.look()
    assert "span 2026-11-20 waits for" in text
    corrected = watched.write("2026-11-20/b.csv", "a\n7\n")
    os.utime(corrected, (1, 1))
    assert watched.look(1000) in ([], ["span 2026-11-20 waits for a newer manifest _end: the span changed after it"])
    assert len(watched.spans) == 1
    end.write_text(json.dumps({"files": names, "again": True}))
    watched.look()
    assert len(watched.spans) == 2


def test_a_quiet_time_begins_again_with_each_change(quiet: Watched) -> None:
    quiet.write("2026-11-20.csv")
    assert quiet.look() == ["span 2026-11-20 waits for 300 s without a change"]
    assert quiet.look(299) == []
    quiet.write("2026-11-20.csv", "a\n1\n2\n")
    assert quiet.look(299) == []
    assert quiet.spans == []
    assert quiet.look(299) == []
    assert quiet.look(1)[0].startswith("span 2026-11-20 arrived")
    # A restart does not know for how long it has been quiet.
    quiet.restart()
    assert quiet.look() == ["span 2026-11-20 waits for 300 s without a change"]
    quiet.look(300)
    assert quiet.spans == ["2026-11-20"]


def test_a_file_that_a_process_has_open_is_not_finished(quiet: Watched) -> None:
    quiet.look()
    with quiet.write("2026-11-20.csv").open("a"):
        quiet.look()
        assert quiet.look(300) == ["span 2026-11-20 waits for the end of 2026-11-20.csv, which a process is writing"]
    quiet.look()
    quiet.look(300)
    assert quiet.spans == ["2026-11-20"]


def test_a_download_is_finished_when_it_has_its_name(quiet: Watched) -> None:
    quiet.write("2026-11-20/a.csv")
    part = quiet.write("2026-11-20/b.csv.part")
    (text,) = quiet.look()
    assert text == "span 2026-11-20 waits for the end of b.csv.part, whose name is that of an unfinished file"
    assert quiet.look(1e6) == []
    part.rename(part.with_name("b.csv"))
    quiet.look()
    quiet.look(300)
    assert quiet.spans == ["2026-11-20"]


def bad_name(watched: Watched) -> str:
    watched.write("not a span/a.csv")
    watched.write("not a span/_SUCCESS", "")
    return "the span is not valid"


def bad_bytes_in_a_name(watched: Watched) -> str:
    for name in ("a.csv", "_SUCCESS"):
        watched.write(os.fsdecode(b"day-\xff/") + name)
    return "the name of a file is not UTF-8"


def no_data(watched: Watched) -> str:
    watched.write("2026-11-01/_SUCCESS", "")
    return "the span has a marker and no data file"


def unknown_format(watched: Watched) -> str:
    watched.write("2026-11-01/notes.pdf")
    watched.write("2026-11-01/_SUCCESS", "")
    return "the folder holds no data file"


def outside(watched: Watched) -> str:
    watched.write("2026-11-01.csv")
    return "the file is not in the folder of a span"


def inner_folder(watched: Watched) -> str:
    watched.write("2026-11-01/a.csv")
    watched.write("2026-11-01/more/b.csv")
    watched.write("2026-11-01/_SUCCESS", "")
    return "the span has files in folders that are not read"


@pytest.mark.parametrize("bad", [bad_name, bad_bytes_in_a_name, no_data, unknown_format, outside, inner_folder])
def test_what_is_bad_is_reported_once_and_never_stops_the_others(
    marked: Watched, bad: Callable[[Watched], str]
) -> None:
    expected = bad(marked)
    marked.write("2026-11-20/a.csv")
    marked.write("2026-11-20/_SUCCESS", "")
    said = [text for text in marked.look() if expected in text]
    assert len(said) == 1
    assert marked.spans == ["2026-11-20"]
    assert marked.look(100) == []


def test_a_span_that_changes_while_it_is_measured_is_not_announced(
    quiet: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.core.sources import open as sources

    quiet.write("2026-11-20/a.csv")
    second = quiet.write("2026-11-20/b.csv")
    quiet.look()
    measure = sources.data_version

    def measured(*arguments: Any) -> str:
        version = measure(*arguments)
        second.write_text("a\n1\n2\n")
        return version

    with monkeypatch.context() as changed:
        changed.setattr(sources, "data_version", measured)
        assert quiet.look(300) == ["span 2026-11-20 changed while it was measured"]
    assert quiet.spans == []
    quiet.look()
    quiet.look(300)
    assert quiet.spans == ["2026-11-20"]


def test_two_entries_of_one_name_are_no_span(quiet: Watched) -> None:
    quiet.write("2026-11-20/a.csv")
    quiet.write("2026-11-20.csv")
    said = quiet.look()
    assert len([text for text in said if "two entries of the folder are the same span" in text]) == 2
    quiet.look(1000)
    assert quiet.spans == []


def test_a_folder_that_is_published_by_a_link_is_a_span(marked: Watched, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.mkdir()
    (staged / "a.csv").write_text("a\n1\n")
    (staged / "_SUCCESS").write_text("")
    (staged / "loop").symlink_to(marked.folder)
    (marked.folder / "2026-11-20").symlink_to(staged)
    marked.look()
    assert marked.spans == ["2026-11-20"]


def test_a_bad_span_that_is_corrected_arrives_at_once(marked: Watched) -> None:
    marked.write("2026-11-20/_SUCCESS", "")
    assert len(marked.look()) == 1
    marked.write("2026-11-20/a.csv")
    marked.write("2026-11-20/_SUCCESS", "")
    marked.look(0.1)
    assert marked.spans == ["2026-11-20"]


def test_a_platform_that_does_not_answer_is_asked_again(marked: Watched) -> None:
    marked.runs.silent = True
    marked.write("2026-11-20/a.csv")
    marked.write("2026-11-20/_SUCCESS", "")
    assert "the platform does not answer." in marked.look()
    for _ in range(20):
        marked.look(30)
    assert (marked.said.count("the platform does not answer."), marked.spans) == (1, ["2026-11-20"])
    marked.runs.silent = False
    marked.look(60)
    assert len(marked.runs.started) == 1


def test_an_error_that_nobody_expected_does_not_end_the_watch(marked: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing")

    marked.write("2026-11-20/a.csv")
    marked.write("2026-11-20/_SUCCESS", "")
    with monkeypatch.context() as changed:
        changed.setattr("headrace.pipelines.triggers.watch.announce", broken)
        assert marked.look() == ["unexpected internal error: ZeroDivisionError: by nothing"]
    marked.look(60)
    assert marked.spans == ["2026-11-20"]


def test_a_folder_that_is_gone_is_watched_when_it_is_back(marked: Watched) -> None:
    shutil.rmtree(marked.folder)
    assert len(marked.look()) == 1
    assert marked.look(100) == []
    marked.write("2026-11-20/a.csv")
    marked.write("2026-11-20/_SUCCESS", "")
    marked.look(100)
    assert marked.spans == ["2026-11-20"]


def test_what_is_gone_is_forgotten(marked: Watched) -> None:
    for day in range(10, 30):
        marked.write(f"2026-11-{day}/a.csv", f"a\n{day}\n")
        marked.write(f"2026-11-{day}/_SUCCESS", "")
        marked.look()
        shutil.rmtree(marked.folder / f"2026-11-{day}")
    marked.look()
    assert not marked.watcher._seen
    assert not marked.watcher._announced
    assert len(marked.spans) == 20


@pytest.mark.parametrize("seed", range(5))
def test_no_order_of_writing_makes_a_span_arrive_half(tmp_path: Path, seed: int) -> None:
    """Files are created, grow, are renamed, and a look may come after each step."""
    chance = random.Random(seed)
    watched = Watched(tmp_path, "quiet=5m")
    whole = {f"part-{number}.csv": "a\n" + "7\n" * chance.randint(1, 5) for number in range(4)}
    for name, content in whole.items():
        temporary = watched.folder / f"2026-11-20/{name}{chance.choice(['', '.tmp'])}"
        temporary.parent.mkdir(exist_ok=True)
        for end in range(0, len(content) + 1, 2):
            temporary.write_text(content[:end])
            if chance.random() < 0.5:
                watched.look(chance.choice([1, 100, 299]))
        temporary.rename(watched.folder / f"2026-11-20/{name}")
    assert watched.spans == []
    watched.look()
    watched.look(300)
    assert watched.spans == ["2026-11-20"]


def test_only_a_store_has_whole_objects_and_the_root_is_not_watched(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a file on a disk is there before it is whole"):
        WatchConfig(str(tmp_path), ClosingRule("object"))
    settings = settings_below(tmp_path / "in/root")
    with pytest.raises(UsageError, match="the folder holds the root of the training"):
        WatchConfig(str(tmp_path / "in"), ClosingRule.parse("marker")).check(settings)
    with pytest.raises(UsageError, match="the folder does not exist"):
        WatchConfig(str(tmp_path / "other"), ClosingRule.parse("marker")).check(settings)


def watching(
    settings: DynamicSettings, folder: str, closing: str, until: Callable[[], bool], act: Callable[[], None]
) -> None:
    """Watches in a thread, acts, and stops when something is true."""
    config = WatchConfig(folder, ClosingRule.parse(closing), poll_s=0.2)
    said: list[str] = []
    stop, looked = threading.Event(), threading.Event()

    def report(text: str) -> None:
        said.append(text)
        looked.set()

    watcher = Watcher(config, lambda: settings, report, runs=CountedRuns())
    thread = threading.Thread(target=watch, args=(watcher, config, stop, said.append))
    thread.start()
    try:
        assert looked.wait(600)
        act()
        for _ in range(6000):
            if until():
                return
            stop.wait(0.1)
        raise AssertionError(said)
    finally:
        stop.set()
        thread.join(600)
        assert not thread.is_alive()


@pytest.mark.parametrize("reported", [True, False])
def test_a_folder_is_watched_with_and_without_changes_from_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: bool
) -> None:
    if not reported:

        def refuse(*_: object, **__: object) -> None:
            raise OSError("OS file watch limit reached")

        monkeypatch.setattr("watchfiles.watch", refuse)
    watched = Watched(tmp_path)

    def act() -> None:
        watched.write("2026-11-20/a.csv")
        watched.write("2026-11-20/_SUCCESS", "")

    watching(watched.settings, str(watched.folder), "marker", lambda: watched.spans == ["2026-11-20"], act)


def test_a_bucket_is_watched(tmp_path: Path, bucket: str, put: Callable[[str, bytes], str]) -> None:
    settings = settings_below(f"gs://{bucket}/root")
    put("in/2026-11-20.csv", b"a\n1\n")
    inbox = settings.ledger.inbox

    def arrived() -> bool:
        return [each.data for each in inbox.read(inbox.versions())] == [f"gs://{bucket}/in/2026-11-20.csv"]

    watching(settings, f"gs://{bucket}/in", "object", arrived, lambda: None)
