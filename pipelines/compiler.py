"""Compiler: a pipeline and a platform to a KFP pipeline spec (YAML)."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.core import storage
from headrace.core.artifacts.kinds import SPEC, SPEC_HEADER
from headrace.core.errors import HeadraceError, UsageError
from headrace.core.rules.mode import Mode
from headrace.core.steps.identity import release, source_digest
from headrace.core.steps.step import identity
from headrace.core.storage.output_check import check_output

if TYPE_CHECKING:
    from headrace.components.deploy.canary.settings import CanarySettings
    from headrace.pipelines.platforms.platform import Platform

PIPELINES = ("static", "tuned", "dynamic", "dynamic-tick", "batch-scoring", "rollback", "canary")
PLATFORMS = ("local", "vertex", "kubeflow")


def compile_to(
    pipeline: str,
    platform: str,
    output: str,
    *,
    options_file: str = "",
    allow_tags: bool = False,
    rules: Mode = "enforce",
    canary: CanarySettings | None = None,
) -> Sequence[HeadraceError]:
    """Compiles a pipeline, and writes the spec atomically.

    Args:
        pipeline: one of PIPELINES.
        platform: one of PLATFORMS.
        output: path of the YAML file.
        options_file: a TOML file of the platform's options; "" for "local".
        allow_tags: whether images may have tags instead of digests.
        rules: for "local", the mode of the Model's rules at the endpoint; other platforms have it in their options.
        canary: for "local", settings of the canary of a deployed model; None for a deployment without one.

    Returns:
        Options that the platform may refuse, as `doubts` of `platform.Platform`.

    Raises:
        UsageError: the platform would reject or ignore an option.
    """
    with warnings.catch_warnings():
        # google-cloud-pipeline-components emits deprecation warnings at import.
        warnings.simplefilter("ignore")
        made = load_platform(platform, options_file, allow_tags=allow_tags, rules=rules, canary=canary)
        definition = _definition(pipeline)(made)
    compile_pipeline(definition, output)
    return made.doubts


def compile_once(
    pipeline: str, output: str, *, cache: str, rules: Mode = "enforce", canary: CanarySettings | None = None
) -> None:
    """Writes the spec of a pipeline for "local", which is compiled only if `cache` does not contain it yet.

    Args:
        pipeline: one of PIPELINES.
        output: path of the YAML file.
        cache: folder of compiled specs, each named by the digest of everything that it depends on.
        rules, canary: as of `compile_to`.
    """
    digest = identity(
        "spec",
        pipeline=pipeline,
        rules=rules,
        canary=None if canary is None else canary.to_json(),
        release=release(),
        pipelines=source_digest([Path(__file__).parent]),
        kfp=metadata.version("kfp"),
    )
    compiled = storage.join(cache, f"{digest}.yaml")
    if not storage.exists(compiled):
        compile_to(pipeline, "local", compiled, rules=rules, canary=canary)
    storage.write_bytes(output, storage.read_bytes(compiled))


def compile_pipeline(pipeline: Any, output: str) -> None:
    """Compiles any pipeline, and writes the spec atomically.

    Args:
        pipeline: result of `@dsl.pipeline` or `@dsl.component`.
        output: path of the YAML file, local, on gs:// or s3://; a spec that headrace compiled is replaced.

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
    from headrace.pipelines.canary import canary as canary_steps
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
        "canary": canary_steps,
    }
    return definitions[pipeline]


def load_platform(
    name: str,
    options_file: str = "",
    *,
    allow_tags: bool = False,
    rules: Mode = "enforce",
    canary: CanarySettings | None = None,
) -> Platform:
    """Creates a platform with the user's options.

    Args:
        name: one of PLATFORMS.
        options_file: a TOML file with the tables [images] and [NAME]; "" for "local".
        allow_tags: whether images may have tags instead of digests.
        rules: for "local", the mode of the Model's rules at the endpoint.
        canary: for "local", settings of the canary of a deployed model; None for a deployment without one.

    Raises:
        UsageError: the file is missing or not valid.
    """
    from headrace.pipelines.platforms.images import Images
    from headrace.pipelines.platforms.options import build, read_options

    if name == "local":
        from headrace.pipelines.platforms.local import LocalPlatform

        if options_file or allow_tags:
            raise UsageError("the local platform has no options", where="--options", expected="nothing for local")
        return LocalPlatform(rules, canary)
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
