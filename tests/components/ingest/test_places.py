"""Spans in a bucket, steps that are killed anywhere, and two that run at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.day_spans import Days, contents, day, keys_of, rows_of

from headrace.components.train.input import examples as train_examples
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest
from headrace.core.artifacts.open_examples import open_examples
from headrace.core.artifacts.quarantine import read_rows
from headrace.core.artifacts.quarantine_files import quarantine_files

TESTS = Path(__file__).parents[2]


def test_spans_and_windows_in_a_bucket(store: str, tmp_path: Path) -> None:
    here = Days(tmp_path / "here")
    there = Days(tmp_path / "there", root=f"{store}/root", output=f"{store}/window")
    for number in range(3):
        for days in (here, there):
            rows = rows_of(day(number))
            if number == 1:
                rows[3] = "bad,-1,a,1"
            days.ingest(days.arrival(day(number), rows, number), last_spans=2)
    bad = there.arrival(day(3), rows_of(day(3)), 3, "id,speed,c,y")
    result = there.ingest(bad, last_spans=2)
    assert (result.spans, result.others) == ((day(1), day(2)), {bad.version: "quarantined"})
    rows_quarantined = list(read_rows(quarantine_files(result.quarantined[0].quarantine)[0]))
    assert len(rows_quarantined) == 40
    # The same bytes as on a disk, but for the folder of the spans.
    there_files = {name: storage.read_bytes(uri) for name, uri in storage.files_below(there.output).items()}
    places = f"{store}/root/spans/days", str(tmp_path / "here" / "root" / "spans" / "days")
    there_files["manifest.json"] = there_files["manifest.json"].replace(*(place.encode() for place in places))
    assert there_files == here.window()
    shards = [shard.file for split in Manifest.read(here.output).splits.values() for shard in split.shards]
    assert all(storage.read_bytes(f"{places[0]}/{shard}") == Path(places[1], shard).read_bytes() for shard in shards)
    assert [row.row for file in quarantine_files(there.output) for row in read_rows(file)] == [4]
    # Training reads a window that an engine copied to this machine; the shards come from the bucket.
    with storage.at_hand(there.output) as copy:
        remote = train_examples.open_examples(str(copy), there.file.problem)
        local = train_examples.open_examples(here.output, here.file.problem)
        newest = open_examples(str(copy), there.file.problem).newest_test()
    assert (remote.train.rows, remote.eval.rows) == (local.train.rows, local.eval.rows)
    for ours, theirs in zip(remote.train.files, local.train.files, strict=True):
        assert Path(ours).read_bytes() == Path(theirs).read_bytes()
    copies = [Path(file) for file in newest.files]
    assert all(copy.exists() for copy in copies)
    del newest
    assert not any(copy.exists() for copy in copies)
    # No span is left: the window goes, the spans stay.
    assert there.ingest(withdrawn=tuple(map(day, range(4))), last_spans=2).spans == ()
    assert not storage.files_below(there.output)
    assert there.ingest(last_spans=2).spans == (day(1), day(2))


_KILLED = """
import os, sys
from pathlib import Path
tests, folder, first, step = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
sys.path.insert(0, tests)
from support.day_spans import Days, contents, day, rows_of

EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "open"}


def work(name, limit=0):
    days = Days(folder / name)
    made = 0

    def kill(event, arguments):
        nonlocal made
        if event not in EVENTS or str(folder) not in str(arguments[0]):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        made += 1
        if made == limit:
            os._exit(9)

    if limit:
        sys.addaudithook(kill)
    spoiled = rows_of(day(2))
    spoiled[:5] = [f"{row},-1,a,1" for row in range(5)]
    days.ingest(
        days.arrival(day(0), rows_of(day(0)), 0),
        days.arrival(day(1), rows_of(day(1)), 1),
        days.arrival(day(2), spoiled, 2),
    )


def forked(*arguments):
    process = os.fork()
    if process:
        return process
    try:
        work(*arguments)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def status(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


kills = 0
for limit in range(first, 10_000, step):
    killed = status(forked(f"killed-{limit}", limit))
    assert killed in (0, 9), killed
    assert status(forked(f"killed-{limit}")) == 0
    kills += killed == 9
    if killed == 0:
        break
print("kills", kills)
both = [forked("both"), forked("both")]
assert [status(process) for process in both] == [0, 0]
"""


def visible(folder: Path) -> dict[str, bytes]:
    """What ingest left, with the folder's own path taken out."""
    found = {name: content for name, content in contents(folder).items() if name.startswith(("root/", "window/"))}
    return {name: content.replace(str(folder).encode(), b"HERE") for name, content in found.items()}


def test_killed_anywhere_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(TESTS), str(tmp_path), "3", "23"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 5
    folders = sorted(folder for folder in tmp_path.iterdir() if folder.is_dir())
    whole = visible(folders[-1])
    assert {"window/manifest.json", "root/spans/days/_spans.json"} <= set(whole)
    assert set(keys_of(str(folders[-1] / "window")))
    for folder in folders:
        assert visible(folder) == whole, folder.name
