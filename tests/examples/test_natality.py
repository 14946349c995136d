"""The script of examples/natality that downloads its rows."""

from __future__ import annotations

import hashlib
import importlib.util
import lzma
import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.natality import BIRTHS, NATALITY


@pytest.fixture
def fetch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("natality_fetch", NATALITY / "fetch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_rows_that_tests_use_are_those_that_were_published(fetch: ModuleType) -> None:
    assert hashlib.sha256(BIRTHS.read_bytes()).hexdigest() == fetch.SHA256
    assert len(BIRTHS.read_text().splitlines()) == 1451


def test_the_rows_are_in_no_commit() -> None:
    ignored = (NATALITY.parents[1] / ".gitignore").read_text().splitlines()
    assert "examples/natality/births.csv" in ignored


def test_a_file_that_is_there_is_left_as_it_is(
    fetch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "births.csv"
    mine.write_text("mine")
    monkeypatch.setattr(sys, "argv", ["fetch.py", str(mine)])
    assert fetch.main() == 1
    assert mine.read_text() == "mine"
    assert capsys.readouterr().err == f"{mine} is another file; remove it, or name another place\n"
    mine.write_bytes(BIRTHS.read_bytes())
    assert fetch.main() == 0
    assert capsys.readouterr().out == f"{mine} is there already\n"


def test_code_in_a_table_is_not_run(fetch: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"the table holds builtins\.eval"):
        fetch.rows_of(lzma.compress(pickle.dumps(eval)))


def test_another_table_is_refused(fetch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [1.0, 111.0, 1.0, 32.0, 40.0, 1.0, "white", 1.0, float("nan"), 38.0]

    def load(unpickler: object) -> None:
        unpickler.names = list(fetch.COLUMNS)  # type: ignore[attr-defined]
        unpickler.blocks = [([[value] for value in columns], slice(0, 10))]  # type: ignore[attr-defined]

    monkeypatch.setattr(fetch._TableUnpickler, "load", load)
    with pytest.raises(RuntimeError, match=f"expected SHA-256 {fetch.SHA256}, received "):
        fetch.rows_of(lzma.compress(b""))
