"""docs/reference.md is what the code says, of every component and of every command."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from headrace import components
from headrace.pipelines.cli import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says(generator: ModuleType) -> None:
    """Changed? `make docs`."""
    assert (DOCS / "reference.md").read_text() == generator.reference()


def test_every_component_and_command_is_there(generator: ModuleType) -> None:
    headings = re.findall(r"^### (.*)$", generator.reference(), re.MULTILINE)
    assert [name for name in headings if not name.startswith("headrace ")] == components.__all__
    assert {f"headrace {name}" for name in COMMANDS} <= set(headings)


def test_every_input_and_output_is_described(generator: ModuleType) -> None:
    rows = [line for line in generator.reference().partition("## Commands")[0].splitlines() if line.startswith("| `")]
    assert rows
    assert not [row for row in rows if row.split("|")[-2].strip() == ""]
