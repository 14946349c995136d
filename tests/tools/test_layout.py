"""The layout of the package: files that are one thing, and folders that are one topic."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIERS = ("front_door", "pipelines", "components", "core")
MAXIMUM_LINES = 350
MAXIMUM_MODULES = 16
# One module for each command.
WITHOUT_MAXIMUM = "pipelines/commands"


def sources() -> list[Path]:
    found = [path for tier in TIERS for ending in ("py", "c", "h") for path in (ROOT / tier).rglob(f"*.{ending}")]
    assert {path.relative_to(ROOT).parts[0] for path in found} == set(TIERS)
    return found


def test_no_file_is_two_things() -> None:
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in sources()}
    assert {name: count for name, count in lines.items() if count > MAXIMUM_LINES} == {}


def test_no_folder_is_two_topics() -> None:
    modules = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for path in sources()
        if path.suffix == ".py" and path.name != "__init__.py"
    )
    del modules[WITHOUT_MAXIMUM]
    assert {name: count for name, count in modules.items() if count > MAXIMUM_MODULES} == {}
