"""Vertex AI for whichever test asks for it; the service's messages take seconds to import, and wait until one does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from peers.vertex.launchers import Launching
    from peers.vertex.server import VertexServer


@pytest.fixture
def vertex_server() -> Iterator[VertexServer]:
    """A Vertex AI of its own for one test."""
    from peers.vertex.server import serving

    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def launching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launching]:
    """Runs launchers of google-cloud-pipeline-components."""
    from peers.vertex import launchers

    with launchers.launching(tmp_path_factory.mktemp("launchers")) as process:
        yield process
