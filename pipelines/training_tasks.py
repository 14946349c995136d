"""Training tasks that pipelines share: those before the training, and those after."""

from typing import Any

from kfp import dsl

from headrace.components.evaluate.component import evaluate
from headrace.components.preprocess.component import preprocess
from headrace.pipelines.platforms.platform import Platform


def preprocess_rows(platform: Platform, **inputs: Any) -> Any:
    """Adds the preprocessing task with its inputs; `has_rows` is the condition of what follows it."""
    return platform.configure_task(preprocess(**inputs, runner=platform.beam()))


def has_rows(preprocessed: Any) -> Any:
    """The block of tasks that run only where the data has rows."""
    return dsl.If(preprocessed.outputs["Output"] == True, name="rows")  # noqa: E712 - kfp compiles the comparison


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
