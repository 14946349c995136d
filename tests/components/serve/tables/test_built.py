"""Published predictions in Parquet are served by key: a table is built at the start, and of each newer version."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.by_hand import predicted
from support.tables import table_by_hand

from headrace.components.serve.config import ServeConfig
from headrace.components.serve.modes.answerer import Answer, RowsRequest
from headrace.components.serve.modes.static import Static
from headrace.components.serve.start import ServingTarget, find
from headrace.components.serve.tables import built
from headrace.components.serve.tables.follow import TableFollower
from headrace.components.serve.tables.place import open_table
from headrace.core.errors import PlatformError, UsageError

FIRST, SECOND = "a" * 16, "b" * 16


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def answered(static: Static, *keys: str) -> list[float]:
    (found,) = static.answer([RowsRequest(len(keys), [{"key": key} for key in keys])])
    assert isinstance(found, Answer)
    values: list[float] = found.outputs["prediction"].tolist()
    return values


def test_published_parquet_files_are_looked_up_by_key_and_followed(tmp_path: Path, scratch: Path) -> None:
    place = table_by_hand(tmp_path, ["x", "y", "z"], FIRST, 3.0, sink="parquet")
    config = ServeConfig("", mode="static", table=place)
    assert find(config) == ServingTarget("model", "v1", config)
    static = Static(open_table(place), "m")
    assert (static.table.version, static.table.model_version, len(static.table.table)) == (FIRST, "v1", 3)
    assert static.table.age_s is not None
    assert answered(static, "z", "x") == predicted(np.array([3.0, 3.0])).tolist()
    follower = TableFollower(place, 60.0, static)
    assert not follower.look()
    table_by_hand(tmp_path, ["x"], SECOND, 5.0, sink="parquet")
    assert follower.look()
    assert static.table.version == SECOND
    assert answered(static, "x") == predicted(np.array([5.0])).tolist()
    assert not follower.look()
    assert list(scratch.iterdir()) == []


def test_what_cannot_be_read_by_key_is_refused_with_the_reason(tmp_path: Path, scratch: Path) -> None:
    place = table_by_hand(tmp_path, ["x", "y"], FIRST, sink="parquet")
    static = Static(open_table(place), "m")
    table_by_hand(tmp_path, ["x", "x"], SECOND, sink="parquet")
    counted: list[str] = []
    follower = TableFollower(place, 60.0, static, count=counted.append)
    assert [follower.look(), follower.look()] == [False, False]
    assert (static.table.version, counted) == (FIRST, ["refused"])
    with pytest.raises(UsageError, match="no table can be built of the published predictions") as caught:
        open_table(place)
    assert "1 of 2 rows have a key that an earlier row has" in caught.value.paragraph
    assert f"headrace predictions table {place}" in str(caught.value.fix)
    assert list(scratch.iterdir()) == []


def test_without_pyarrow_the_message_says_where_to_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = table_by_hand(tmp_path, ["x"], FIRST, sink="parquet")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pyarrow is not installed here.*Build it where pyarrow is installed"):
        open_table(place)


def test_the_builder_reads_a_pipe_that_ends_with_the_server(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = table_by_hand(tmp_path, ["x"], FIRST, sink="parquet")
    kept: list[int] = []

    def run(command: list[str], *, stdin: int, **_: Any) -> subprocess.CompletedProcess[bytes]:
        os.set_blocking(stdin, False)
        with pytest.raises(BlockingIOError):
            os.read(stdin, 1)
        kept.append(os.dup(stdin))
        return subprocess.CompletedProcess(command, PlatformError.exit_status, None, b"it failed")

    monkeypatch.setattr(built.subprocess, "run", run)
    with pytest.raises(PlatformError, match="it failed"):
        open_table(place)
    assert os.read(kept[0], 1) == b""
    os.close(kept[0])
    assert list(scratch.iterdir()) == []
