"""`headrace requests`: a request log in numbers, and as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from headrace.components.request_log.batch import LoggedBatch
from headrace.core.errors import UsageError
from headrace.pipelines.cli import cli


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(cli, ["requests", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of three batches of two versions."""
    columns = {"x": np.array([1.5, np.nan]), "key": np.array(["a", "b"], object)}
    batches = [
        LoggedBatch(columns, {"p": np.array([3.0, 4.0])}, version, 1_700_000_000.0 + second)
        for second, version in enumerate(["v1", "v2", "v1"])
    ]
    (tmp_path / "requests-1.jsonl").write_bytes(b"".join(batch.to_line() for batch in batches))
    return tmp_path


def test_a_log_is_shown_by_version(folder: Path) -> None:
    shown = [line.split() for line in invoke("show", folder).output.splitlines()]
    assert shown == [
        ["version", "rows", "first", "last"],
        ["v1", "4", "2023-11-14T22:13:20+00:00", "2023-11-14T22:13:22+00:00"],
        ["v2", "2", "2023-11-14T22:13:21+00:00", "2023-11-14T22:13:21+00:00"],
    ]
    content = json.loads(invoke("show", folder, "--json").output)
    assert (content["files"], [each["rows"] for each in content["versions"]]) == (1, [4, 2])


def test_a_log_is_converted_to_parquet_once(folder: Path) -> None:
    written = invoke("convert", folder).output.splitlines()
    assert written == [str(folder / f"requests-1.{number}.parquet") for number in range(2)]
    table = pq.read_table(written[0])
    assert table.column_names == ["time", "version", "columns", "predictions"]
    assert table.to_pylist()[1]["columns"] == {"x": None, "key": "b"}
    assert table.to_pylist()[1]["predictions"] == {"p": 4.0}
    assert table.to_pylist()[0]["time"].isoformat() == "2023-11-14T22:13:20+00:00"
    assert json.loads(invoke("convert", folder, "--json").output) == {"files": []}
    assert "v2" in invoke("show", folder).output


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    for error in (invoke("show", tmp_path).exception, invoke("convert", tmp_path / "missing").exception):
        assert isinstance(error, UsageError)
    assert list(tmp_path.iterdir()) == []
