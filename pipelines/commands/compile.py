"""`headrace compile`: a pipeline to a YAML file."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import click

from headrace.components import storage
from headrace.pipelines.commands import options


@click.command(name="compile")
@click.argument("pipeline", type=click.Choice(["static", "batch-scoring"]))
@click.option("--for", "platform", type=click.Choice(["local"]), default="local", show_default=True, help="Platform.")
@options.output
def compile_(pipeline: str, platform: str, output: str) -> None:
    """Compile PIPELINE to a KFP pipeline spec (YAML) for a platform.

    \b
    Example:
      headrace compile static --for local --output static.yaml
      headrace compile batch-scoring --output batch_scoring.yaml
    """
    compile_to(pipeline, platform, output)
    click.echo(output)


def compile_to(pipeline: str, platform: str, output: str) -> None:
    """Compiles a pipeline, and writes the spec when it is whole.

    Args:
        pipeline: "static" or "batch-scoring".
        platform: "local".
        output: path of the YAML file.
    """
    from kfp import compiler

    from headrace.pipelines.batch_scoring import batch_scoring
    from headrace.pipelines.platforms.local import LocalPlatform
    from headrace.pipelines.static_training import static_training

    definitions = {"static": static_training, "batch-scoring": batch_scoring}
    definition = definitions[pipeline]({"local": LocalPlatform}[platform]())
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # kfp warns of its own future defaults, which the components name explicitly.
        warnings.simplefilter("ignore")
        whole = Path(scratch) / "pipeline.yaml"
        compiler.Compiler().compile(definition, str(whole))
        storage.write_bytes(output, whole.read_bytes())
