"""Pipelines: their definitions, the platforms that they run on, and the `headrace` command.

Importing this package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.core.exports import export

if TYPE_CHECKING:
    from headrace.pipelines.batch_scoring import batch_scoring
    from headrace.pipelines.compiler import compile_pipeline as compile  # noqa: A004 - kfp's own word
    from headrace.pipelines.compiler import load_platform
    from headrace.pipelines.dynamic_training import dynamic_training
    from headrace.pipelines.lint.check import lint
    from headrace.pipelines.notebook import run, run_batch_scoring, run_tuned
    from headrace.pipelines.platforms.images import Images
    from headrace.pipelines.platforms.kubeflow import KubeflowPlatform
    from headrace.pipelines.platforms.kubeflow_options import KubeflowOptions
    from headrace.pipelines.platforms.local import LocalPlatform
    from headrace.pipelines.platforms.platform import Platform
    from headrace.pipelines.platforms.vertex import VertexPlatform
    from headrace.pipelines.platforms.vertex_options import VertexOptions
    from headrace.pipelines.rollback import rollback
    from headrace.pipelines.static_training import static_training
    from headrace.pipelines.submission.call import submit
    from headrace.pipelines.tuned_training import tuned_training

__all__ = [
    "Images",
    "KubeflowOptions",
    "KubeflowPlatform",
    "LocalPlatform",
    "Platform",
    "VertexOptions",
    "VertexPlatform",
    "batch_scoring",
    "compile",
    "dynamic_training",
    "lint",
    "load_platform",
    "rollback",
    "run",
    "run_batch_scoring",
    "run_tuned",
    "static_training",
    "submit",
    "tuned_training",
]

export(
    __name__,
    {
        "Images": "headrace.pipelines.platforms.images:Images",
        "KubeflowOptions": "headrace.pipelines.platforms.kubeflow_options:KubeflowOptions",
        "KubeflowPlatform": "headrace.pipelines.platforms.kubeflow:KubeflowPlatform",
        "LocalPlatform": "headrace.pipelines.platforms.local:LocalPlatform",
        "Platform": "headrace.pipelines.platforms.platform:Platform",
        "VertexOptions": "headrace.pipelines.platforms.vertex_options:VertexOptions",
        "VertexPlatform": "headrace.pipelines.platforms.vertex:VertexPlatform",
        "batch_scoring": "headrace.pipelines.batch_scoring:batch_scoring",
        "compile": "headrace.pipelines.compiler:compile_pipeline",
        "dynamic_training": "headrace.pipelines.dynamic_training:dynamic_training",
        "lint": "headrace.pipelines.lint.check:lint",
        "load_platform": "headrace.pipelines.compiler:load_platform",
        "rollback": "headrace.pipelines.rollback:rollback",
        "run": "headrace.pipelines.notebook:run",
        "run_batch_scoring": "headrace.pipelines.notebook:run_batch_scoring",
        "run_tuned": "headrace.pipelines.notebook:run_tuned",
        "static_training": "headrace.pipelines.static_training:static_training",
        "submit": "headrace.pipelines.submission.call:submit",
        "tuned_training": "headrace.pipelines.tuned_training:tuned_training",
    },
)
