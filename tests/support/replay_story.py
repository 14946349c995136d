"""The story of a canary at a service whose versions are loaded Models, and whose servers log their requests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.endpoint_kinds import B, kserve_case, vertex_case
from support.service_story import Story, story_of
from support.serving import dynamic, load
from support.tiny_model import INSTANCES, save

from headrace.components.request_log.config import RequestLogConfig
from headrace.components.request_log.writer import RequestLogWriter
from headrace.components.serve.modes.answerer import RowsRequest


@dataclass
class ReplayStory:
    """A story with a request log.

    Attributes:
        told: the endpoint, its traffic and the time.
        log: folder of the request log.
        canary: folder of the canary's Model.
    """

    told: Story
    log: str
    canary: Path

    def log_requests(self, times: int) -> int:
        """The canary's server answers the golden rows so often, and logs them; returns the number of rows."""
        writer = RequestLogWriter(RequestLogConfig(self.log, share=1.0))
        answerer = dynamic(load(self.canary), log=writer)
        for _ in range(times):
            answerer.answer([RowsRequest(len(INSTANCES), instances=INSTANCES)])
        writer.close(600.0)
        return times * len(INSTANCES)


def replay_story(kind: str, request: pytest.FixtureRequest, tmp_path: Path, *, canary_bias: float = 1.0) -> ReplayStory:
    """A canary B beside the live version A.

    Args:
        kind: "vertex" or "kserve".
        canary_bias: what the canary adds to its predictions; that of A is 1.
    """
    copy: Callable[..., Path] = request.getfixturevalue("make_model")

    def make(folder: Path, version: str) -> str:
        made = copy(folder, version)
        if version == B and canary_bias != 1.0:
            shutil.rmtree(made / "saved_model")
            save(made / "saved_model", bias=canary_bias)
        return str(made)

    if kind == "vertex":
        case = vertex_case(request, tmp_path, make)
    else:
        case = kserve_case(request, tmp_path, "Serverless", make)
    return ReplayStory(story_of(case, tmp_path), str(tmp_path / "requests"), tmp_path / B)
