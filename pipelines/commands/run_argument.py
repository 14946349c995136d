"""Run arguments: parameter types for an artifact, given by its path or by a run."""

from __future__ import annotations

from typing import Any

import click

from headrace.pipelines.runs.resolve import Kind, resolve_artifact


class ArtifactOfRun(click.ParamType[str]):
    """The URI of an artifact, given by its path or by a run.

    Args:
        kind: of the artifact.
    """

    name = "uri"

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The artifact's URI.

        Raises:
            UsageError: the run does not exist, or has no such artifact.
        """
        return resolve_artifact(str(value), self.kind)


EXAMPLES = ArtifactOfRun("examples")
MODEL = ArtifactOfRun("model")
EVALUATION = ArtifactOfRun("evaluation")
PREDICTIONS = ArtifactOfRun("predictions")
QUARANTINED = ArtifactOfRun("quarantined")
