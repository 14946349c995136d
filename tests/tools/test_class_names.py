"""One name means one thing: a public class has a name that no other class of the package has."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Names of two classes, and why both keep it.
TWICE: dict[str, str] = {}


def classes() -> dict[str, list[str]]:
    """The modules that define a public class, by its name."""
    found: dict[str, list[str]] = defaultdict(list)
    for tier in ("core", "components", "pipelines", "front_door"):
        for path in sorted((ROOT / tier).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(str(path.relative_to(ROOT)))
    return found


def test_a_class_has_a_name_of_its_own() -> None:
    found = classes()
    assert len(found) > 500, "the folders of the tiers moved"
    shared = {name: places for name, places in found.items() if len(places) > 1}
    assert {name: places for name, places in shared.items() if name not in TWICE} == {}, (
        "Give each a noun that tells what it is, such as TableColumn and SchemaColumn for two Columns"
    )
    assert {name: len(shared.get(name, ())) for name in TWICE} == dict.fromkeys(TWICE, 2)
