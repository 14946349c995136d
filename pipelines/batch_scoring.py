"""Batch scoring pipeline: the champion's predictions for many rows, checked and published."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from headrace.components.score.component import check, publish
from headrace.components.summarize.batch.component import notify
from headrace.pipelines.platforms.platform import Platform

NAME = "batch-scoring"


def batch_scoring(platform: Platform) -> Callable[..., Any]:
    """Defines the pipeline for a platform.

    champion -> score -> check -> publish; an exit task always writes the run's summary and notifies. The model is
    looked up in each run, so that only scoring, which depends on the model and the data, is cached.
    """

    @dsl.pipeline(name=NAME, description="The champion's predictions for many rows, checked and published.")
    def pipeline(
        problem: str,
        data: str,
        data_version: str,
        root: str,
        registry: str,
        destination: str,
        run_id: str,
        started: float,
        version: str = "",
        sink: str = "parquet",
        table: str = "",
        partition_by: str = "",
        approach: str = "auto",
        csv: str = "",
        constants: str = "",
        batch: str = "rows",
        batch_rows: int = 0,
        endpoint: str = "",
        job: str = "",
        runner: str = "" if platform.approach else platform.beam(),
        rules: str = "enforce",
        max_divergence: float = 0.0,
        webhook: str = "",
        cache: bool = True,
    ) -> None:
        arguments = dict(locals())
        facts = {name: value for name, value in arguments.items() if name in notify.component_spec.inputs}
        facts["approach"] = platform.approach or approach
        facts["execution"] = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        notified = platform.configure_task(notify(pipeline=NAME, **facts), cache=False)
        with dsl.ExitHandler(notified, name="scoring"):
            champion = platform.champion(
                registry=registry,
                root=root,
                version=version,
                data=data,
                data_version=data_version,
                csv=csv,
                cache=cache,
            )
            scored = platform.score(
                champion=champion,
                data=data,
                data_version=champion["data_version"],
                root=root,
                sink=sink,
                table=table,
                partition_by=partition_by,
                approach=approach,
                csv=csv,
                constants=constants,
                batch=batch,
                batch_rows=batch_rows,
                endpoint=endpoint,
                job=job,
                runner=runner,
                rules=rules,
                attempt=champion["attempt"],
            )
            predictions = scored.outputs["predictions"]
            checked = platform.configure_task(
                check(root=root, predictions=predictions, max_divergence=max_divergence), cache=False
            )
            platform.configure_task(
                publish(root=root, destination=destination, predictions=predictions), cache=False
            ).after(checked)

    return pipeline  # type: ignore[no-any-return]
