"""The commands, options files and links of the documentation: each is valid."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from headrace.pipelines.cli import cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "docs/data_scientist.md",
    "docs/splits.md",
    "docs/windows.md",
    "docs/vertex.md",
    "docs/kubeflow.md",
    "docs/platforms.md",
    "docs/runs.md",
    "docs/batch_scoring.md",
    "docs/endpoints.md",
    "docs/on_call.md",
    "docs/registry.md",
    "docs/monitoring.md",
    "docs/dynamic.md",
    "docs/triggers.md",
    "docs/serving.md",
    "docs/platform_engineer.md",
    "cloudbuild/README.md",
)
_LINE = re.compile(r"^headrace [^#\n]+", re.MULTILINE)


def blocks(document: str, kind: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    return [text for what, text in found if what == kind]


def commands() -> list[str]:
    joined = "\n".join(block for document in DOCUMENTS for block in blocks(document)).replace("\\\n", " ")
    return [found.strip() for found in _LINE.findall(joined)]


def test_there_are_commands() -> None:
    assert {line.split()[1] for line in commands()} == {
        "init",
        "dynamic",
        "tick",
        "preprocess",
        "ingest",
        "tune",
        "deploy",
        "quarantine",
        "compile",
        "lint",
        "submit",
        "status",
        "logs",
        "cancel",
        "schedule",
        "runs",
        "compare",
        "monitor",
        "train",
        "evaluate",
        "score",
        "serve",
        "run",
        "endpoint",
        "registry",
        "rollback",
        "watch",
        "trigger",
    }


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_documentation(line: str) -> None:
    words = shlex.split(line.replace("...", ""))[1:]
    command: Any = cli
    while isinstance(command, click.Group):
        name = words.pop(0)
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
    # As the command line is read: an option that there is not, or one too few, is refused; nothing runs.
    command.make_context(command.name, words, resilient_parsing=False)


def test_the_options_of_kubeflow() -> None:
    from headrace.pipelines.platforms.images import Images
    from headrace.pipelines.platforms.kubeflow_options import KubeflowOptions
    from headrace.pipelines.platforms.options import build

    s3, text = blocks("docs/kubeflow.md", "toml")
    assert "AWS_ENDPOINT_URL" in build(KubeflowOptions, tomllib.loads(s3)["kubeflow"], "kubeflow").environment
    tables = tomllib.loads(text.replace("sha256:...", f"sha256:{'0' * 64}"))
    assert build(Images, tables["images"], "images").serve.startswith("registry.example.com/headrace/server@")
    assert build(KubeflowOptions, tables["kubeflow"], "kubeflow").endpoint.traffic == 20


def test_the_options_of_a_search() -> None:
    from headrace.pipelines.platforms.options import build
    from headrace.pipelines.platforms.vertex_tuning import TuningOptions

    (text,) = [one for one in blocks("docs/vertex.md", "toml") if "[vertex.tuning]" in one]
    # What the page shows is what there is without it.
    assert build(TuningOptions, tomllib.loads(text)["vertex"]["tuning"], "vertex.tuning") == TuningOptions()


def test_the_other_tables_of_vertex() -> None:
    from headrace.pipelines.platforms.options import build
    from headrace.pipelines.platforms.vertex_options import VertexOptions

    vertex: dict[str, Any] = {"project": "my-project", "location": "europe-west1"}
    for text in blocks("docs/vertex.md", "toml"):
        vertex |= tomllib.loads(text)["vertex"]
    options = build(VertexOptions, vertex, "vertex")
    assert (options.training.flex_start, options.training.max_wait_hours) == (True, 48.0)
    assert (options.endpoint.dedicated, options.endpoint.inference_timeout_s) == (True, 1800)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    here = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", here.read_text()):
        assert (here.parent / target).exists(), target
