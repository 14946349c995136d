"""Batch scoring: the champion's predictions for many rows, checked, and put where readers look."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from headrace.components.registry.component import champion
from headrace.components.score.component import check, publish, score
from headrace.components.summarize.batch_component import notify
from headrace.pipelines.platforms.platform import Platform

NAME = "batch-scoring"


def batch_scoring(platform: Platform) -> Callable[..., Any]:
    """The pipeline, for one platform.

    champion -> score -> check -> publish; whatever happens, an exit task writes the run's summary and notifies. The
    model is chosen anew in each run, so that only scoring, which follows from the model and the data, is cached.
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
        batch_rows: int = 0,
        endpoint: str = "",
        job: str = "",
        runner: str = "",
        most_divergence: float = 0.0,
        webhook: str = "",
        attempt: str = "",
    ) -> None:
        told = platform.place(
            notify(
                pipeline=NAME,
                run_id=run_id,
                started=started,
                problem=problem,
                data=data,
                data_version=data_version,
                root=root,
                registry=registry,
                destination=destination,
                version=version,
                sink=sink,
                table=table,
                partition_by=partition_by,
                approach=approach,
                csv=csv,
                most_divergence=most_divergence,
                webhook=webhook,
            )
        ).set_caching_options(False)
        with dsl.ExitHandler(told, name="scoring"):
            model = platform.place(champion(registry=registry, root=root, version=version)).set_caching_options(False)
            scored = platform.place(
                score(
                    model=model.output,
                    data=data,
                    data_version=data_version,
                    root=root,
                    sink=sink,
                    table=table,
                    partition_by=partition_by,
                    approach=approach,
                    csv=csv,
                    batch_rows=batch_rows,
                    endpoint=endpoint,
                    job=job,
                    runner=runner,
                    attempt=attempt,
                )
            )
            predictions = scored.outputs["predictions"]
            checked = platform.place(
                check(root=root, predictions=predictions, most_divergence=most_divergence)
            ).set_caching_options(False)
            platform.place(publish(root=root, destination=destination, predictions=predictions)).after(
                checked
            ).set_caching_options(False)

    return pipeline  # type: ignore[no-any-return]
