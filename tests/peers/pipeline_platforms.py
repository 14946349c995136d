"""Both platforms of submission as one: what a test asks of either, and the command that it gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from peers.pipeline_engine import Answers

from headrace.core.errors import HeadraceError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "pipelines" / "golden"
NATALITY = ROOT / "examples" / "natality"


@dataclass
class Result:
    """What a command came to: its exit status, what it printed, on stdout alone too, and the paragraph of its error."""

    status: int
    output: str
    error: str
    stdout: str


def headrace(*arguments: str) -> Result:
    """The command, in this process: its imports take seconds."""
    from headrace.pipelines.cli import cli

    done = CliRunner().invoke(cli, list(arguments))
    error = done.exception
    if isinstance(error, HeadraceError):
        return Result(error.exit_status, done.output, error.text, done.stdout)
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Result(done.exit_code, done.output, "", done.stdout)


@dataclass
class Platform:
    """A platform's server, and the options that lead to it.

    Attributes:
        name: vertex or kubeflow.
        server: the test server.
        do: what its tasks do.
        options: of every command.
        spec: the compiled static training.
        create, get: patterns of the requests that make a run, and that look at one.
    """

    name: str
    server: Any
    do: Answers
    options: list[str]
    spec: str
    create: str
    get: str
    inputs: list[str] = field(default_factory=list)

    def submit(self, *more: str) -> Result:
        """`headrace submit` of static training on natality."""
        return headrace("submit", self.spec, *self.options, *self.inputs, "--poll-seconds", "0.01", *more)

    def on_end(self, hook: Callable[[dict[str, Any], dict[str, str]], None]) -> None:
        """Calls a hook with the parameters of each run that has ended, and the names that its exit task is given."""
        if self.name == "vertex":
            self.server.vertex.at_end = lambda job: hook(
                dict(job.runtime_config.parameter_values), {"job": job.name, "execution": "1234567890"}
            )
        else:
            self.server.at_end = lambda run: hook(
                run.runtime_config.parameters, {"job": f"static-training-{run.run_id[:5]}", "execution": run.run_id}
            )

    @property
    def sent(self) -> dict[str, Any]:
        """The compiled documents that the platform holds: of its only run, or of its only schedule."""
        if self.name == "kubeflow":
            (held,) = (*self.server.runs.values(), *self.server.recurring_runs.values())
            spec = held.pipeline_spec
            return dict(spec) if "pipeline_spec" in spec else {"pipeline_spec": spec}
        (held,) = self.server.vertex.resources.values()
        told = json.loads(type(held).to_json(held))
        return {"pipeline_spec": (told.get("createPipelineJobRequest", {}).get("pipelineJob") or told)["pipelineSpec"]}

    @property
    def made(self) -> list[str]:
        """The requests that asked for a run."""
        return [request for request in self.server.requests if re.search(self.create, request)]
