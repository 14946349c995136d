"""Rollback pipeline: rolls an endpoint back to the previous version, with its registry and published predictions."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from headrace.components.rollback.component import rollback as component
from headrace.pipelines.platforms.platform import Platform

NAME = "rollback"


def rollback(platform: Platform) -> Callable[..., Any]:
    """Defines the pipeline for a platform: one task, which is never cached.

    It finds the version that was live before, marks the replaced one as bad, and is safe to repeat.
    """

    @dsl.pipeline(name=NAME, description="An endpoint returns to the version before: traffic, registry, predictions.")
    def pipeline(
        endpoint: str,
        root: str,
        to: str = "",
        registry: str = "",
        predictions: str = "",
        why: str = "",
    ) -> None:
        platform.configure_task(
            component(endpoint=endpoint, root=root, to=to, registry=registry, predictions=predictions, why=why),
            cache=False,
        )

    return pipeline  # type: ignore[no-any-return]
