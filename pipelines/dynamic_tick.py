"""Tick pipeline: the one task that a schedule of a platform runs for a dynamic training."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from headrace.components.tick.component import tick
from headrace.pipelines.platforms.platform import Platform

NAME = "dynamic-tick"


def dynamic_tick(platform: Platform) -> Callable[..., Any]:
    """Defines the pipeline for a platform: one task, which is never cached."""

    @dsl.pipeline(name=NAME, description="Starts the run of a dynamic training that is due.")
    def pipeline(ledger: str, request: bool = False) -> None:
        platform.configure_task(tick(ledger=ledger, request=request), cache=False)

    return pipeline  # type: ignore[no-any-return]
