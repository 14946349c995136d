"""`headrace predictions`: what is published, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner
from support.by_hand import ByHand

from headrace.components.score.batch.run import score
from headrace.components.score.config import ScoreConfig
from headrace.components.score.publishing import publish
from headrace.core.errors import UsageError
from headrace.pipelines.cli import cli


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["predictions", *arguments])


def test_look_and_go_back(tmp_path: Path) -> None:
    rows, place = tmp_path / "rows.parquet", str(tmp_path / "place")
    pq.write_table(pa.table({"id": ["a"], "weight": [1.0], "color": ["red"]}), rows)
    for command in ("status", "rollback"):
        nothing = invoke(command, place)
        assert isinstance(nothing.exception, UsageError)
        assert nothing.output == ""
        assert str(nothing.exception) == (
            f"{place}: nothing is published there. Expected a folder with current.json, such as ROOT/predictions/NAME. "
            "`headrace run batch-scoring` publishes there."
        )
    for identity in ("a" * 16, "b" * 16):
        score(ScoreConfig("m", str(rows), str(tmp_path / identity), identity), source=ByHand())
        publish(str(tmp_path / identity), place)
    assert json.loads(invoke("status", place, "--json").output)["previous"] == "a" * 16
    told = f"{'a' * 16} is current: {place}/versions/{'a' * 16}\n"
    assert [invoke("rollback", place).output for _ in range(2)] == [told, told]
    assert invoke("rollback", place, "--identity", "b" * 16).output.startswith("b" * 16)
    back = json.loads(invoke("rollback", place, "--identity", "a" * 16, "--json").output)
    assert (back["identity"], back["uri"]) == ("a" * 16, f"{place}/versions/{'a' * 16}")


def test_a_table_by_key(tmp_path: Path) -> None:
    rows, table = tmp_path / "rows.parquet", str(tmp_path / "table")
    pq.write_table(pa.table({"id": ["a"], "weight": [1.0], "color": ["red"]}), rows)
    score(ScoreConfig("m", str(rows), str(tmp_path / "out"), "a" * 16), source=ByHand())
    done = CliRunner().invoke(cli, ["predictions", "table", str(tmp_path / "out"), "--output", table, "--json"])
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert (made["uri"], made["previous"]) == (f"{table}/versions/{made['identity']}", None)
    assert json.loads(invoke("status", table, "--json").output)["sink"] == "table"
    again = invoke("table", str(tmp_path / "out"), "--output", table)
    assert again.stdout == f"{made['identity']} is current: {made['uri']}\n"
    refused = invoke("table", str(tmp_path / "out"), "--output", str(tmp_path))
    assert isinstance(refused.exception, UsageError)
