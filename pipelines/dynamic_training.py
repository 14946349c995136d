"""Dynamic training pipeline: one run for all waiting data versions, from claim to announcement."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from headrace.components.announce.component import announce
from headrace.components.claim.component import claim as claim_component
from headrace.components.evaluate.component import evaluate
from headrace.components.ingest.component import ingest
from headrace.components.lineage.component import lineage
from headrace.components.summarize.dynamic.component import conclude
from headrace.components.train.component import train
from headrace.pipelines.platforms.platform import Platform

NAME = "dynamic-training"


def dynamic_training(platform: Platform) -> Callable[..., Any]:
    """Defines the pipeline for a platform.

    claim -> if the ledger names this run: ingest -> if there are rows to train with: lineage -> train -> evaluate
    -> if it replaces the champion: register -> deploy -> announce; an exit task always writes the outcomes of the data
    versions, and the summary. Steps with external effects are never cached, and check the claim.
    """

    @dsl.pipeline(name=NAME, description="Data that arrived to a model that is better than the champion, safely.")
    def pipeline(
        name: str,
        problem: str,
        problem_digest: str,
        schema_digest: str,
        training_digest: str,
        evaluation_digest: str,
        ledger: str,
        announced: str,
        root: str,
        registry: str,
        endpoint: str,
        run_id: str,
        started: float,
        csv: str = "",
        last_spans: int = 0,
        last_days: int = 0,
        half_life: float = 0.0,
        withdrawn: list = [],  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
        training: dict = {},  # type: ignore[type-arg]  # noqa: B006
        from_scratch_every: int = 0,
        challenge: dict = {},  # type: ignore[type-arg]  # noqa: B006
        canary: dict = {},  # type: ignore[type-arg]  # noqa: B006
        watch_by_ticks: bool = False,
        log_share: float = -1.0,
        deadline_hours: float = 0.0,
        training_share: float = 0.6666666666666666,
        destinations: list = [],  # type: ignore[type-arg]  # noqa: B006
    ) -> None:
        concluded = platform.configure_task(
            conclude(
                pipeline=NAME,
                ledger=ledger,
                run_id=run_id,
                holder=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                started=started,
                problem=problem,
                problem_digest=problem_digest,
                root=root,
                registry=registry,
                endpoint=endpoint,
                last_spans=last_spans,
                last_days=last_days,
                half_life=half_life,
                csv=csv,
                # On this machine, the command that runs the pipeline also starts the next run.
                tick=platform.resolves,
            ),
            cache=False,
        )
        with dsl.ExitHandler(concluded, name="training"):
            claimed = platform.configure_task(
                claim_component(
                    ledger=ledger,
                    run_id=run_id,
                    holder=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                    registry=registry,
                    root=root,
                    deadline_hours=deadline_hours,
                    training_share=training_share,
                    canary=canary,
                    name=name,
                    withdrawn=withdrawn,
                ),
                cache=False,
            ).outputs
            with dsl.If(claimed["Output"] == True, name="claimed"):  # noqa: E712 - kfp compiles the comparison
                ingested = platform.configure_task(
                    ingest(
                        problem=problem,
                        arrivals=claimed["arrivals"],
                        root=root,
                        schema_digest=schema_digest,
                        last_spans=last_spans,
                        last_days=last_days,
                        withdrawn=claimed["withdrawn"],
                        half_life=half_life,
                        baseline=claimed["champion"],
                        csv=csv,
                        runner=platform.beam(),
                        attempt=claimed["attempt"],
                    )
                )
                with dsl.If(ingested.outputs["Output"] == True, name="trainable"):  # noqa: E712
                    examples = ingested.outputs["examples"]
                    chosen = platform.configure_task(
                        lineage(
                            problem=problem,
                            examples=examples,
                            registry=registry,
                            root=root,
                            claim=claimed["claim"],
                            champion=claimed["champion"],
                            base=claimed["base"],
                            schema_digest=schema_digest,
                            training_digest=training_digest,
                            training=training,
                            withdrawn=claimed["withdrawn"],
                            from_scratch_every=from_scratch_every,
                            challenge=challenge,
                            canary=canary,
                        ),
                        cache=False,
                    ).outputs
                    trained = platform.configure_task(
                        platform.component(train)(
                            problem=problem,
                            training_digest=training_digest,
                            root=root,
                            examples=examples,
                            training=chosen["training"],
                            attempt=claimed["attempt"],
                        )
                    )
                    evaluated = platform.configure_task(
                        evaluate(
                            problem=problem,
                            evaluation_digest=evaluation_digest,
                            root=root,
                            champion=chosen["champion"],
                            comparison=chosen["comparison"],
                            examples=examples,
                            model=trained.outputs["model"],
                            attempt=claimed["attempt"],
                        )
                    )
                    with dsl.If(evaluated.outputs["Output"] == True, name="blessed"):  # noqa: E712
                        renewed = platform.renew(
                            registry=registry,
                            endpoint=endpoint,
                            root=root,
                            model=trained.outputs["model"],
                            evaluation=evaluated.outputs["evaluation"],
                            claim=claimed["claim"],
                            canary=canary,
                            watch_by_ticks=watch_by_ticks,
                            log_share=log_share,
                        )
                        told = announce(
                            registry=registry,
                            app=name,
                            destinations=destinations,
                            record=announced,
                            root=root,
                            claim=claimed["claim"],
                        )
                        platform.configure_task(told, cache=False).after(renewed)

    return pipeline  # type: ignore[no-any-return]
