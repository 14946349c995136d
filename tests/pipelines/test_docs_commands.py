"""The commands and options files of the documentation: each is valid."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

import click
import pytest
from support.documents import blocks, documents

from headrace.pipelines.cli import cli

_LINE = re.compile(r"^headrace [^#\n]+", re.MULTILINE)
# Help texts, and with them the reference, continue a command without a backslash.
_CONTINUED = re.compile(r" *\\\n *| *\n {4,}(?=--)")


def commands() -> list[str]:
    text = "\n".join(block for document in documents() for block in blocks(document, "", "sh"))
    return [found.strip() for found in _LINE.findall(_CONTINUED.sub(" ", text))]


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
        "completion",
        "predictions",
        "requests",
        "schedule",
        "stream",
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
    # [] is what may be left out, > is the shell's, and ... stands for further options.
    words = [word for word in shlex.split(re.sub(r"[\[\]]| > \S+$", "", line))[1:] if word != "..."]
    command: Any = cli
    while isinstance(command, click.Group):
        name = words.pop(0)
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
    # As the command line is read: an option that there is not, or one too few, is refused; nothing runs.
    if "..." not in line:
        command.make_context(command.name, words, resilient_parsing=False)
        return
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


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
