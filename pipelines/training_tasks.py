"""Training tasks that pipelines share: those before the training, and those after."""

from typing import Any

from kfp import dsl

from headrace.components.evaluate.component import evaluate
from headrace.components.preprocess.component import preprocess
from headrace.pipelines.platforms.platform import Platform


def examples_of(platform: Platform, **inputs: Any) -> Any:
    """Adds the preprocessing task; `given` are its inputs.

    Returns:
        The Examples.
    """
    return platform.configure_task(preprocess(**inputs, runner=platform.beam())).outputs["examples"]


def judge_and_deploy(
    platform: Platform,
    *,
    problem: Any,
    evaluation_digest: Any,
    root: Any,
    champion: Any,
    registry: Any,
    endpoint: Any,
    examples: Any,
    model: Any,
    attempt: Any,
) -> None:
    """Adds tasks that evaluate a Model, and register and deploy it if the gate blesses it."""
    evaluated = platform.configure_task(
        evaluate(
            problem=problem,
            evaluation_digest=evaluation_digest,
            root=root,
            champion=champion,
            examples=examples,
            model=model,
            attempt=attempt,
        )
    )
    with dsl.If(evaluated.outputs["Output"] == True, name="blessed"):  # noqa: E712 - kfp compiles the comparison
        registered = platform.register(
            registry=registry, root=root, model=model, evaluation=evaluated.outputs["evaluation"]
        )
        platform.deploy(registered=registered, endpoint=endpoint, root=root)
