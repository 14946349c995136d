"""Batch prediction task: runs the job of the approach "job" in a Vertex pipeline, by ModelBatchPredictOp.

ModelBatchPredictOp is of google-cloud-pipeline-components. The task requests the same job as `run.request`, for the
instances of `step.prepare`. `run.score` finds the job by its label and converts its results to Predictions.
"""

from __future__ import annotations

from typing import Any

from google_cloud_pipeline_components.types.artifact_types import VertexModel
from google_cloud_pipeline_components.v1.batch_predict_job import ModelBatchPredictOp
from kfp import dsl

from headrace.components.score.options import JobOptions


def batch_predict(prepared: Any, options: JobOptions, *, encryption_key: str = "") -> Any:
    """Adds the task, and before it the importer task of the model.

    Args:
        prepared: the outputs of `job_component.prepare`, by name.
        options: of the job; its model is the prepared one. Their checks refuse characters that would break the
            component's request, which is concatenated JSON.
        encryption_key: of Cloud KMS, or "".
    """
    model = dsl.importer(
        artifact_uri=prepared["address"], artifact_class=VertexModel, metadata={"resourceName": prepared["model"]}
    )
    return ModelBatchPredictOp(
        job_display_name="headrace-score",
        model=model.output,
        project=options.project,
        location=options.region,
        instances_format=prepared["instances_format"],
        predictions_format="jsonl",
        # One of the two is empty, and the component's launcher omits empty fields.
        gcs_source_uris=prepared["instances"],
        bigquery_source_input_uri=prepared["table"],
        instance_type="object",
        key_field=prepared["key_field"],
        excluded_fields=prepared["excluded_fields"],
        gcs_destination_output_uri_prefix=prepared["predictions"],
        machine_type=options.machine_type,
        starting_replica_count=1,
        max_replica_count=options.replicas,
        manual_batch_tuning_parameters_batch_size=options.batch_size,
        service_account=options.service_account,
        encryption_spec_key_name=encryption_key,
        labels=prepared["labels"],
    )
