"""What examples share: the folder of a run takes the place of that of an earlier one, and of nothing else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "examples" / "shared.py"


@pytest.fixture(scope="module")
def shared() -> Iterator[ModuleType]:
    """The module, which examples import by its short name."""
    spec = importlib.util.spec_from_file_location("shared", FILE)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["shared"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["shared"]


def test_a_run_replaces_an_earlier_one(shared: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "stream"
    shared.new_folder(folder)
    (folder / "page.html").touch()
    shared.new_folder(folder)
    assert not (folder / "page.html").exists()


def test_a_folder_of_anything_else_is_left_alone(shared: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(SystemExit, match="is not a folder of an earlier run"):
            shared.new_folder(path)
    assert (tmp_path / "thesis.txt").exists()
    (tmp_path / "empty").mkdir()
    shared.new_folder(tmp_path / "empty")


def test_a_command_that_fails_ends_the_script_with_its_message(shared: ModuleType) -> None:
    with pytest.raises(SystemExit, match="headrace stream nothing failed"):
        shared.headrace("stream", "nothing")


def test_columns_of_numbers_are_told_apart(shared: ModuleType) -> None:
    found = str(shared.table(("name", "rows"), [("<a>", "1,234.5"), ("1", "2")]))
    assert found == (
        "<table><tr><th>name</th><th class=n>rows</th></tr><tr><td>&lt;a&gt;</td><td class=n>1,234.5</td></tr>"
        "<tr><td>1</td><td class=n>2</td></tr></table>"
    )
