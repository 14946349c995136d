"""Canary pipeline: one step of a canary at Vertex AI or KServe, for a schedule that runs it until the canary ends."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from headrace.components.rollout.component import canary as component
from headrace.pipelines.platforms.platform import Platform

NAME = "canary"


def canary(platform: Platform) -> Callable[..., Any]:
    """Defines the pipeline for a platform: one task, which is never cached and never waits for evidence."""

    @dsl.pipeline(name=NAME, description="One step of a canary: staged, widened, promoted or rolled back.")
    def pipeline(
        endpoint: str,
        version: str,
        traffic_log: str,
        root: str,
        settings: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
        registry: str = "",
        again: bool = False,
        why: str = "",
        request_log: str = "",
        labels: str = "",
        problem: str = "",
        problem_digest: str = "",
    ) -> None:
        platform.configure_task(
            component(
                endpoint=endpoint,
                version=version,
                traffic_log=traffic_log,
                root=root,
                settings=settings,
                registry=registry,
                again=again,
                why=why,
                request_log=request_log,
                labels=labels,
                problem=problem,
                problem_digest=problem_digest,
            ),
            cache=False,
        )

    return pipeline  # type: ignore[no-any-return]
