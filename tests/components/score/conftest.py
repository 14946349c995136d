"""SavedModels, rows to score, and a Vertex AI that computes by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.saved_models import natality_model, rows_of_fixture, save

if TYPE_CHECKING:
    from peers.vertex.server import VertexServer

__all__ = ["natality_model", "rows_of_fixture", "save"]


@pytest.fixture
def vertex(vertex_server: VertexServer) -> VertexServer:
    """A Vertex AI whose containers compute by hand."""
    from peers.vertex import batch
    from support.batch_jobs import container

    run = partial(batch.run, vertex_server.vertex, container_of=lambda _: container)
    vertex_server.vertex.work["batchPredictionJobs"] = run
    return vertex_server
