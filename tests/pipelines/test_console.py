"""The summary of a run on a terminal: what became of the registered version."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.pipelines.console import headline, registered_line


@pytest.mark.parametrize(
    ("aliases", "deployed", "shown"),
    [
        ({"champion": "v2", "previous": "v1"}, {}, "version v2, champion, previous v1"),
        ({"champion": "v2"}, {}, "version v2, champion"),
        ({"champion": "v1"}, {"outcome": "promoted"}, "version v2, champion, previous v1"),
        ({"champion": "v1", "previous": "v0"}, {}, "version v2, registered; v1 is the champion"),
        ({}, {}, "version v2, registered"),
    ],
)
def test_the_version_in_its_registry(aliases: dict[str, str], deployed: dict[str, Any], shown: str) -> None:
    registered = {"version": "v2", "aliases": aliases}
    assert registered_line(registered, deployed) == shown
    champion = " is the champion" if aliases.get("champion") == "v2" else " is registered"
    assert headline({"step": "register", "result": registered}) == f"version v2{champion}"
