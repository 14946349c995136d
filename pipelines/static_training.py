"""Static training pipeline: one offline training, from raw rows to an endpoint."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from headrace.components.summarize.component import summarize
from headrace.components.train.component import train
from headrace.pipelines.platforms.platform import Platform
from headrace.pipelines.training_tasks import has_rows, judge_and_deploy, preprocess_rows

NAME = "static-training"


def static_training(platform: Platform) -> Callable[..., Any]:
    """Defines the pipeline for a platform.

    preprocess -> if there are rows: train -> evaluate -> if the gate blesses the model: register -> deploy; an exit
    task always writes the run's summary. Steps with external effects are never cached.
    """

    @dsl.pipeline(name=NAME, description="Rows to a trained, evaluated and, if the gate blesses it, deployed model.")
    def pipeline(
        problem: str,
        problem_digest: str,
        schema_digest: str,
        training_digest: str,
        evaluation_digest: str,
        data: str,
        data_version: str,
        root: str,
        registry: str,
        endpoint: str,
        run_id: str,
        started: float,
        champion: str = "",
        training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
        baseline: str = "",
        baseline_version: str = "",
        csv: str = "",
        cache: bool = True,
    ) -> None:
        summary = platform.configure_task(
            summarize(
                pipeline=NAME,
                run_id=run_id,
                started=started,
                problem=problem,
                problem_digest=problem_digest,
                data=data,
                data_version=data_version,
                champion=champion,
                root=root,
                registry=registry,
                endpoint=endpoint,
                training=training,
                baseline=baseline,
                baseline_version=baseline_version,
                csv=csv,
                resolved=platform.resolves,
                execution=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            ),
            cache=False,
        )
        with dsl.ExitHandler(summary, name="training"):
            resolved = platform.resolve(
                registry=registry,
                root=root,
                champion=champion,
                training=training,
                data=data,
                data_version=data_version,
                csv=csv,
                cache=cache,
            )
            preprocessed = preprocess_rows(
                platform,
                problem=problem,
                schema_digest=schema_digest,
                data=data,
                data_version=resolved["data_version"],
                root=root,
                baseline=baseline,
                baseline_version=baseline_version,
                csv=csv,
                attempt=resolved["attempt"],
            )
            with has_rows(preprocessed):
                examples = preprocessed.outputs["examples"]
                trained = platform.configure_task(
                    platform.component(train)(
                        problem=problem,
                        training_digest=training_digest,
                        root=root,
                        examples=examples,
                        training=resolved["training"],
                        attempt=resolved["attempt"],
                    )
                )
                judge_and_deploy(
                    platform,
                    problem=problem,
                    evaluation_digest=evaluation_digest,
                    root=root,
                    champion=resolved["champion"],
                    registry=registry,
                    endpoint=endpoint,
                    examples=examples,
                    model=trained.outputs["model"],
                    attempt=resolved["attempt"],
                )

    return pipeline  # type: ignore[no-any-return]
