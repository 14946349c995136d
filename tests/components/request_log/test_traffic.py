"""The traffic log: what servers wrote, added at one time, and files that are damaged."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.request_log.counts import BOUNDS, VersionCounts
from headrace.components.request_log.traffic import TrafficLog, counted_until, read_traffic
from headrace.core.errors import DataError


def test_servers_are_added_at_one_time(tmp_path: Path) -> None:
    one, other = TrafficLog(str(tmp_path)), TrafficLog(str(tmp_path))
    for _ in range(3):
        one.answered("a", 200, 0.0007)
    other.answered("a", 503, 0.01)
    other.answered("b", 404, 99.0)
    one.write(1000)
    other.write(1000)
    one.answered("a", 200, 0.0007)
    one.write(1010)
    # What one of them has written later than the other does not count yet.
    for at, requests in ((999, 0), (1000, 4), (1009, 4), (1010, 5), (2000, 5)):
        found = read_traffic(str(tmp_path), ("a", "b"), at).counts
        assert found["a"].requests == requests, at
    assert (found["a"].errors, found["a"].responses["4xx"]) == (1, 0)
    assert (found["b"].requests, found["b"].responses["4xx"], found["b"].buckets[-1]) == (1, 1, 1)
    assert found["a"].buckets[BOUNDS.index(0.001)] == 4
    assert read_traffic(str(tmp_path / "nowhere"), ("a",), 2000).counts["a"].requests == 0


def test_servers_of_another_deployment_do_not_count(tmp_path: Path) -> None:
    """A version that is deployed at two endpoints, or again, writes to the one folder that its container names."""
    for deployment, requests in (("1", 1), ("2", 10), ("", 100)):
        log = TrafficLog(str(tmp_path), deployment)
        for _ in range(requests):
            log.answered("a", 200, 0.001)
        log.write(10)

    def requests_of(deployments: dict[str, str]) -> int:
        return read_traffic(str(tmp_path), ("a",), 10, deployments).counts["a"].requests

    assert requests_of({}) == 111
    assert requests_of({"a": "1"}) == 101
    assert requests_of({"a": "2", "b": "1"}) == 110
    assert requests_of({"a": "3"}) == 100


def test_a_file_is_bounded_and_is_not_written_for_nothing(tmp_path: Path) -> None:
    log = TrafficLog(str(tmp_path))
    for at in range(0, 1000, 10):
        log.answered("a", 200, 0.001)
        log.write(at)
    (file,) = tmp_path.rglob("*.json")
    size = file.stat().st_size
    assert size < 32_000
    before = file.read_bytes()
    log.write(1000)
    assert file.read_bytes() == before
    assert read_traffic(str(tmp_path), ("a",), 995).counts["a"].requests == 100


def test_on_cloud_storage(bucket: str) -> None:
    log = TrafficLog(f"gs://{bucket}/traffic")
    log.answered("a", 200, 0.001)
    log.write(10)
    log.write(20)
    assert read_traffic(f"gs://{bucket}/traffic", ("a", "b"), 10).counts["a"].requests == 1


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.json").write_text('{"format": 1, "snapshots": [{}]}')
    with pytest.raises(DataError, match="the traffic log is damaged"):
        read_traffic(str(tmp_path), ("a",), 10)


def test_a_folder_that_cannot_be_written_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    log = TrafficLog(str(tmp_path / "file"))
    with caplog.at_level(logging.ERROR):
        for at in (10, 20):
            log.answered("a", 200, 0.001)
            log.write(at)
    assert [record.message[:38] for record in caplog.records] == ["the traffic log cannot be written, and"]


def test_counts_that_could_not_be_written_are_written_later(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = TrafficLog(str(tmp_path / "file"))
    log.answered("a", 200, 0.001)
    log.write(10)
    (tmp_path / "file").unlink()
    log.write(20)
    assert read_traffic(str(tmp_path / "file"), ("a",), 19).counts["a"].requests == 0
    assert read_traffic(str(tmp_path / "file"), ("a",), 20).counts["a"].requests == 1


def test_its_thread_writes_and_the_end_writes_the_rest(tmp_path: Path) -> None:
    log = TrafficLog(str(tmp_path), clock=lambda: 1000.0)
    log.start()
    log.answered("a", 200, 0.001)
    log.close()
    assert read_traffic(str(tmp_path), ("a",), 1009).counts["a"].requests == 0
    assert read_traffic(str(tmp_path), ("a",), 1010).counts["a"].requests == 1


@given(st.lists(st.tuples(st.sampled_from([200, 302, 404, 500]), st.floats(0, 100))))
def test_a_copy_is_equal_and_counts_on_alone(answers: list[tuple[int, float]]) -> None:
    counts = VersionCounts()
    for answer in answers:
        counts.answered(*answer)
    copied = counts.copy()
    assert copied == counts
    copied.add(counts)
    assert copied.requests == 2 * counts.requests == 2 * len(answers)
    assert sum(copied.buckets) == copied.requests


@pytest.mark.parametrize("now", [0.0, 19.9, 20.0, 1e9 + 7])
def test_readers_wait_for_the_slowest_server(now: float) -> None:
    at = counted_until(now)
    assert at % 10 == 0
    assert 20 <= now - at < 30


HOUR = 3600


def served(log: TrafficLog, requests: int, at: int) -> None:
    for _ in range(requests):
        log.answered("a", 200, 0.001)
    log.write(at)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_servers_whose_clocks_are_an_hour_apart_are_all_counted(tmp_path: Path, ahead: int) -> None:
    same, other = TrafficLog(str(tmp_path)), TrafficLog(str(tmp_path))
    for at in range(1000, 1400, 10):
        served(same, 1, at)
        served(other, 1, at + ahead)
    # The last counts of the one that is ahead are as late for the reader as they are without the hour.
    found = read_traffic(str(tmp_path), ("a",), counted_until(1391.0))
    assert found.counts["a"].requests == (77 if ahead > 0 else 78)
    assert found.until == (1390 + HOUR - 30 if ahead > 0 else 1370)


def test_a_reader_whose_clock_is_an_hour_behind(tmp_path: Path) -> None:
    log = TrafficLog(str(tmp_path))
    for at in range(1000, 1400, 10):
        served(log, 1, at)
    here = read_traffic(str(tmp_path), ("a",), counted_until(1391.0))
    behind = read_traffic(str(tmp_path), ("a",), counted_until(1391.0 - HOUR))
    assert (here.until, here.counts["a"].requests) == (1370, 38)
    assert (behind.until, behind.counts["a"].requests) == (1360, 37)


@pytest.mark.parametrize("there_and_back", [False, True])
def test_a_server_whose_clock_is_set_back_an_hour_counts_on(tmp_path: Path, there_and_back: bool) -> None:
    log = TrafficLog(str(tmp_path))
    at = 10_000
    served(log, 3, at + (HOUR if there_and_back else 0))
    at = 10_010 - (0 if there_and_back else HOUR)
    served(log, 4, at)
    assert read_traffic(str(tmp_path), ("a",), at).counts["a"].requests == 7
