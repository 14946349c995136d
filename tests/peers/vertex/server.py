"""Vertex AI's test server, as it answers HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from peers.rest import RestServer, answering
from peers.vertex import batch, state
from peers.vertex.resources import Refusal
from peers.vertex.service import LOCATION, PARENT, PROJECT, Vertex

_STATUS = {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 403: "PERMISSION_DENIED"}

_IMAGE = "us-docker.pkg.dev/demo-project/images/serving:1"


@dataclass
class VertexServer(RestServer):
    """A running server.

    Attributes:
        vertex: its state.
    """

    vertex: Vertex = field(default_factory=Vertex)

    def be_asked_from_here(self) -> None:
        """Lets components of ours that run in this process ask this server."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import aiplatform

        aiplatform.init(
            project=PROJECT,
            location=LOCATION,
            api_endpoint=self.url,
            api_transport="rest",
            credentials=AnonymousCredentials(),
        )

    def upload(self, artifact: str, *, model_id: str = "", parent: str = "", **model: Any) -> str:
        """The name of a model that is new, or has a new version; its files are in a folder in Cloud Storage."""
        wanted = {"displayName": "model", "containerSpec": {"imageUri": _IMAGE}, "artifactUri": artifact, **model}
        asked = json.dumps({"model": wanted, "modelId": model_id, "parentModel": parent}).encode()
        operation = self.vertex.handle("POST", f"{PARENT}/models:upload", {}, asked)
        while not operation["done"]:
            operation = self.vertex.handle("GET", operation["name"], {}, b"")
        name: str = operation["response"]["model"]
        return name


@contextmanager
def serving(saved: Path | None = None) -> Iterator[VertexServer]:
    """A server on a free port of this machine, whose batch prediction jobs are run by our own server's code.

    Args:
        saved: a file that keeps its state after every request; a server that is given it again goes on from there.
    """
    running = VertexServer()
    if saved is not None:
        state.load(running.vertex, saved)
    running.vertex.work["batchPredictionJobs"] = partial(batch.run, running.vertex)

    def answer(method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        try:
            said, code = running.vertex.handle(method, path, query, body), 200
        except Refusal as refusal:
            said, code = refusal.to_json(), refusal.code
        if saved is not None:
            running.vertex.use(lambda service: state.save(service, saved))
        return code, json.dumps(said).encode()

    with answering(running, answer, _refusal, r"(ui/)?(v1/|v1beta1/)?"):
        yield running


def _refusal(code: int, message: str) -> bytes:
    return json.dumps(Refusal(code, _STATUS.get(code, "UNKNOWN"), message).to_json()).encode()
