"""Compiler: a pipeline and a platform to a KFP pipeline spec (YAML)."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.core import storage
from headrace.core.artifacts.kinds import SPEC, SPEC_HEADER
from headrace.core.errors import UsageError
from headrace.core.rules.mode import Mode
from headrace.core.storage.output_check import check_output

if TYPE_CHECKING:
    from headrace.pipelines.platforms.platform import Platform

PIPELINES = ("static", "tuned", "dynamic", "dynamic-tick", "batch-scoring", "rollback")
PLATFORMS = ("local", "vertex", "kubeflow")


def compile_to(
    pipeline: str,
    platform: str,
    output: str,
    *,
    options_file: str = "",
    allow_tags: bool = False,
    rules: Mode = "enforce",
) -> None:
    """Compiles a pipeline, and writes the spec atomically.

    Args:
        pipeline: one of PIPELINES.
        platform: one of PLATFORMS.
        output: path of the YAML file.
        options_file: a TOML file of the platform's options; "" for "local".
        allow_tags: whether images may have tags instead of digests.
        rules: for "local", the mode of the Model's rules at the endpoint; other platforms have it in their options.

    Raises:
        UsageError: the platform would reject or ignore an option.
    """
    with warnings.catch_warnings():
        # google-cloud-pipeline-components emits deprecation warnings at import.
        warnings.simplefilter("ignore")
        definition = _definition(pipeline)(load_platform(platform, options_file, allow_tags=allow_tags, rules=rules))
    compile_pipeline(definition, output)


def compile_pipeline(pipeline: Any, output: str) -> None:
    """Compiles any pipeline, and writes the spec atomically.

    Args:
        pipeline: result of `@dsl.pipeline` or `@dsl.component`.
        output: path of the YAML file, local or on gs://; a spec that headrace compiled is replaced.

    Raises:
        UsageError: the output is another file.
    """
    from kfp import compiler

    check_output(output, SPEC, option="output")
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # kfp emits deprecation warnings.
        warnings.simplefilter("ignore")
        whole = Path(scratch) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(whole))
        storage.write_bytes(output, SPEC_HEADER + whole.read_bytes())


def _definition(pipeline: str) -> Callable[[Platform], Any]:
    from headrace.pipelines.batch_scoring import batch_scoring
    from headrace.pipelines.dynamic_tick import dynamic_tick
    from headrace.pipelines.dynamic_training import dynamic_training
    from headrace.pipelines.rollback import rollback
    from headrace.pipelines.static_training import static_training
    from headrace.pipelines.tuned_training import tuned_training

    definitions = {
        "static": static_training,
        "tuned": tuned_training,
        "dynamic": dynamic_training,
        "dynamic-tick": dynamic_tick,
        "batch-scoring": batch_scoring,
        "rollback": rollback,
    }
    return definitions[pipeline]


def load_platform(name: str, options_file: str = "", *, allow_tags: bool = False, rules: Mode = "enforce") -> Platform:
    """Creates a platform with the user's options.

    Args:
        name: one of PLATFORMS.
        options_file: a TOML file with the tables [images] and [NAME]; "" for "local".
        allow_tags: whether images may have tags instead of digests.
        rules: for "local", the mode of the Model's rules at the endpoint.

    Raises:
        UsageError: the file is missing or not valid.
    """
    from headrace.pipelines.platforms.images import Images
    from headrace.pipelines.platforms.options import build, read_options

    if name == "local":
        from headrace.pipelines.platforms.local import LocalPlatform

        if options_file or allow_tags:
            raise UsageError("the local platform has no options", where="--options", expected="nothing for local")
        return LocalPlatform(rules)
    if not options_file:
        raise UsageError(
            "the platform's options are missing",
            where="--options",
            expected=f"a TOML file with the tables [images] and [{name}]",
        )
    tables = read_options(options_file)
    for table in ("images", name):
        if not isinstance(tables.get(table), dict):
            raise UsageError(
                f"the table [{table}] is missing", where=options_file, expected="[images] and the platform's"
            )
    foreign = sorted(set(tables) - {"images", *PLATFORMS})
    if foreign:
        raise UsageError(
            f"the table [{foreign[0]}] is not valid", where=options_file, expected="[images], [vertex], [kubeflow]"
        )
    images = build(Images, {**tables["images"], **({"allow_tags": True} if allow_tags else {})}, "images")
    if name == "vertex":
        from headrace.pipelines.platforms.vertex import VertexPlatform
        from headrace.pipelines.platforms.vertex_options import VertexOptions

        return VertexPlatform(images, build(VertexOptions, tables["vertex"], "vertex"))
    from headrace.pipelines.platforms.kubeflow import KubeflowPlatform
    from headrace.pipelines.platforms.kubeflow_options import KubeflowOptions

    return KubeflowPlatform(images, build(KubeflowOptions, tables["kubeflow"], "kubeflow"))
