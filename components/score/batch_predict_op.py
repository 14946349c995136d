"""The job of the approach "job" as a task of a Vertex pipeline: google-cloud-pipeline-components' ModelBatchPredictOp.

It asks for the job that `job.request` asks for, of instances that `job.plan` and `job_preparation.prepare` made. With
the label of that job, `job.score` finds it and makes Predictions of its results.
"""

from __future__ import annotations

from typing import Any

from google_cloud_pipeline_components.v1.batch_predict_job import (
    ModelBatchPredictOp,
)

from headrace.components.score.options import JobOptions


def batch_predict(
    model: Any, instances: Any, key_field: Any, predictions: Any, options: JobOptions, *, labels: Any = None
) -> Any:
    """The task. Instances, the field and the folder may be outputs of other tasks.

    Args:
        model: a VertexModel artifact.
        instances: URIs of JSON lines.
        key_field: of each instance, which comes back with its prediction.
        predictions: the folder in which the job makes that of its results, the task's output gcs_output_directory.
        options: how the job runs; their checks leave no character that breaks the component's request, which is JSON
            glued together.
        labels: of the job: {job_client.LABEL: Work.digest}.
    """
    return ModelBatchPredictOp(
        job_display_name="headrace-score",
        model=model,
        project=options.project,
        location=options.region,
        instances_format="jsonl",
        predictions_format="jsonl",
        gcs_source_uris=instances,
        instance_type="object",
        key_field=key_field,
        gcs_destination_output_uri_prefix=predictions,
        machine_type=options.machine_type,
        starting_replica_count=1,
        max_replica_count=options.replicas,
        manual_batch_tuning_parameters_batch_size=options.batch_size,
        service_account=options.service_account,
        labels=labels or {},
    )
