"""A stream of births in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.births_stream import births

from headrace.components.messages.config import MessagesConfig


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., MessagesConfig]:
    """Options of the stream; see `births`."""
    return lambda **more: births(**{"output": str(tmp_path / "births"), **more})
