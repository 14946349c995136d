"""Batch scoring components: interfaces for KFP of scoring, checking and publishing predictions."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def score(
    model: str,
    data: str,
    predictions: dsl.Output[dsl.Dataset],
    gcp_resources: dsl.OutputPath(str),  # type: ignore[valid-type]
    data_version: str = "",
    root: str = "",
    sink: str = "parquet",
    table: str = "",
    partition_by: str = "",
    approach: str = "auto",
    signature: str = "serving_default",
    key: str = "",
    inputs: str = "",
    optional: str = "",
    constants: str = "",
    batch: str = "rows",
    csv: str = "",
    batch_rows: int = 0,
    endpoint: str = "",
    job: str = "",
    runner: str = "",
    rules: str = "enforce",
    attempt: str = "",  # noqa: ARG001 - for the engine's cache key, not the step
) -> None:
    """Scores rows in batches; each row is either predicted, or quarantined with a reason.

    The model runs in this task (direct), in a Vertex batch prediction job, or at an endpoint; the log reports which,
    and why. In the manifest, rows in = predictions + quarantined; it also has the predictions' drift from training.

    Args:
        model: a Model, or any SavedModel, local, on gs:// or s3://.
        data: a file, folder or glob (CSV, Parquet, JSON lines, Avro, TFRecord), local, on gs:// or s3://, or bigquery://...
        data_version: fingerprint of the data; measured if "". A new fingerprint makes the step run again.
        root: pipeline root, where the run's records are stored; "" for no records.
        predictions: predictions/ or table/, quarantine/, and manifest.json.
        gcp_resources: the job on Google Cloud, if any, for the console's link.
        sink: parquet, csv, jsonl, table (by key, for a server) or bigquery.
        table: for the sink bigquery, bigquery://PROJECT.DATASET.TABLE, which is replaced.
        partition_by: a column whose values become folders.
        approach: auto, direct, endpoint or job.
        signature: signature of the SavedModel.
        key: the column that identifies a row; by default, the Model's key.
        inputs: columns of inputs with other names: JSON {"INPUT": "COLUMN" or ["COLUMN", ...]}, or a list of columns
            for the only dense input.
        optional: inputs whose values may be missing, as a JSON list; a Model declares them itself.
        constants: a value for each input of shape [], JSON {"INPUT": VALUE, ...}.
        batch: rows for independent rows; whole passes all rows to the model in one call.
        csv: dialect of CSV files, a JSON list such as ["delimiter=;", "encoding=latin-1"].
        batch_rows: rows per call of the model; 0 measures the fastest size.
        endpoint: endpoint options, JSON such as {"url": "https://...", "concurrency": 8}.
        job: options of a Vertex batch prediction job, JSON such as {"project": ..., "region": ..., "staging":
            "gs://...", "model": "projects/..."}.
        runner: the Beam runner and its options, JSON such as {"name": "DataflowRunner", "project": ...}; "" scores in
            this task.
        rules: enforce quarantines rows that break the rules of the Model's Problem; warn predicts and counts those
            whose values are out of bounds or unknown.
        attempt: any text; another text makes the step run again if nothing else changed.
    """
    from headrace.components.score import step
    from headrace.components.score.parameters import Parameters

    step.run(
        Parameters(
            model=model,
            data=data,
            data_version=data_version,
            root=root,
            sink=sink,
            table=table,
            partition_by=partition_by,
            approach=approach,
            signature=signature,
            key=key,
            inputs=inputs,
            optional=optional,
            constants=constants,
            batch=batch,
            csv=csv,
            batch_rows=batch_rows,
            endpoint=endpoint,
            job=job,
            runner=runner,
            rules=rules,
        ),
        predictions,
        gcp_resources,
    )


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def check(predictions: dsl.Input[dsl.Dataset], root: str = "", max_divergence: float = 0.0) -> None:
    """Checks Predictions against their manifest: row counts, files, checksums, and the drift from training.

    Args:
        root: pipeline root, where the run's records are stored; "" for no records.
        predictions: output of `score`.
        max_divergence: maximum Jensen-Shannon divergence of the predictions from the label in training; 0 for no limit.
    """
    from headrace.components.score import check_step

    check_step.check(root, predictions, max_divergence)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def publish(destination: str, predictions: dsl.Input[dsl.Dataset], root: str = "") -> str:
    """Publishes checked Predictions: copies them to a new folder, and sets current.json to it.

    Args:
        root: pipeline root, where the run's records are stored; "" for no records.
        destination: the folder of all published Predictions of a problem.
        predictions: output of `score`.

    Returns:
        URI of the published Predictions.
    """
    from headrace.components.score import check_step

    return check_step.publish(root, destination, predictions)
