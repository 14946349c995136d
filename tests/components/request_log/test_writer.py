"""Request log writer: a sample of the rows, a bounded queue, and counts of what was dropped."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from headrace.components.request_log.batch import LoggedBatch
from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.read import read_batches
from headrace.components.request_log.writer import RequestLogCounts, RequestLogWriter


def log(writer: RequestLogWriter, rows: int, first: int = 0) -> None:
    numbers = np.arange(first, first + rows, dtype=np.float64)
    writer({"x": numbers}, {"p": -numbers}, "v1", 1.5)


def test_all_rows_are_logged_with_their_predictions_from_many_threads(tmp_path: Path) -> None:
    writer = RequestLogWriter(RequestLogConfig(str(tmp_path), share=1.0))
    threads = [threading.Thread(target=log, args=(writer, 10, 10 * number)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log(writer, 0)
    writer.close()
    assert writer.counts == RequestLogCounts(logged=200)
    batches = list(read_batches(str(tmp_path)))
    assert sorted(np.concatenate([b.columns["x"] for b in batches]).tolist()) == list(range(200))
    assert all(np.array_equal(b.predictions["p"], -b.columns["x"]) for b in batches)
    assert {(b.version, b.time) for b in batches} == {("v1", 1.5)}


def test_a_share_of_the_rows_is_sampled_row_by_row(tmp_path: Path) -> None:
    writer = RequestLogWriter(RequestLogConfig(str(tmp_path), share=0.1), seed=1)
    for _ in range(1_000):
        log(writer, 7)
    writer.close()
    assert writer.counts.dropped == 0
    assert writer.counts.logged == sum(batch.rows for batch in read_batches(str(tmp_path)))
    # 7,000 rows: 700, with a standard deviation of 25.
    assert 600 < writer.counts.logged < 800


def test_no_share_logs_nothing(tmp_path: Path) -> None:
    writer = RequestLogWriter(RequestLogConfig(str(tmp_path), share=0.0))
    log(writer, 100)
    writer.close()
    assert writer.counts == RequestLogCounts()
    assert list(tmp_path.iterdir()) == []


def test_rows_beyond_the_queue_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go = threading.Event(), threading.Event()
    to_line = LoggedBatch.to_line

    def slow(batch: LoggedBatch) -> bytes:
        began.set()
        go.wait()
        return to_line(batch)

    monkeypatch.setattr(LoggedBatch, "to_line", slow)
    # Each batch of 10 rows has 160 bytes: two fit.
    writer = RequestLogWriter(RequestLogConfig(str(tmp_path), share=1.0, queue_bytes=320))
    log(writer, 10)
    began.wait()
    for number in range(1, 5):
        log(writer, 10, 10 * number)
    assert writer.counts == RequestLogCounts(dropped=30)
    go.set()
    writer.close()
    assert writer.counts == RequestLogCounts(logged=20, dropped=30)
    log(writer, 10)
    assert writer.counts == RequestLogCounts(logged=20, dropped=40)


def test_rows_that_cannot_be_written_are_dropped_with_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "log"
    writer = RequestLogWriter(RequestLogConfig(str(folder), share=1.0))
    folder.rmdir()
    with caplog.at_level(logging.ERROR):
        log(writer, 10)
        log(writer, 10)
        writer.close()
    assert writer.counts == RequestLogCounts(dropped=20)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the request log cannot be written"]
