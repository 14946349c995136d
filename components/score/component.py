"""The KFP face of batch scoring: predictions are made, checked, and published."""

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
    attempt: str = "",  # noqa: ARG001 - the engine looks at it, not the step
) -> None:
    """Scores rows in batches: predictions for all but those in quarantine, each of which keeps its reason.

    The model works inside (direct), in a Vertex batch prediction job, or behind an endpoint; the log says which, and
    why. The manifest proves rows in = predictions + quarantined, and tells how far predictions are from training.

    Args:
        model: a Model, or any SavedModel, here or on gs://.
        data: a file, a folder or a glob (CSV, Parquet, JSON lines, Avro, TFRecord), here or on gs://, or bigquery://...
        data_version: fingerprint of the data, measured if ""; a new one makes the step run again.
        root: where the run's records are kept; "" keeps none.
        predictions: predictions/ or predictions.lmdb, quarantine/, and manifest.json.
        gcp_resources: the job on Google Cloud that does the work, where there is one; Vertex' console links it.
        sink: parquet, csv, jsonl, table (LMDB, by key) or bigquery.
        table: for the sink bigquery, bigquery://PROJECT.DATASET.TABLE, which is replaced.
        partition_by: a column whose values become folders.
        approach: auto, direct, endpoint or job.
        signature: of the SavedModel.
        key: the column that identifies a row; the Model's own by default.
        inputs: columns of inputs that are not named like theirs: JSON {"INPUT": "COLUMN" or ["COLUMN", ...]}, or a
            list of columns for the only dense input.
        optional: inputs of which values may be missing, as a JSON list; a Model says it itself.
        constants: a value for each input of shape [], JSON {"INPUT": VALUE, ...}.
        batch: rows, where each row's prediction is its own; whole gives the model all rows in one call.
        csv: how CSV files are written, as a JSON list such as ["delimiter=;", "encoding=latin-1"].
        batch_rows: rows that the model is given at once; 0 finds it by measuring.
        endpoint: how a model behind an endpoint is asked, JSON such as {"url": "https://...", "concurrency": 8}.
        job: how a Vertex batch prediction job runs, JSON such as {"project": ..., "region": ..., "staging": "gs://...",
            "model": "projects/..."}.
        runner: the Beam runner and its options, JSON such as {"name": "DataflowRunner", "project": ...}; without one
            the work is done in this task.
        rules: enforce quarantines rows that break the rules of the Model's Problem; warn predicts and counts those
            whose values are out of bounds or unknown.
        attempt: any text; another one makes the step run again where nothing else changed.
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
    """Holds Predictions against their manifest: every row, every file and its checksum, and the drift from training.

    Args:
        root: where the run's records are kept; "" keeps none.
        predictions: what scoring made.
        max_divergence: Jensen-Shannon divergence of the predictions from the label in training, at most; 0 for any.
    """
    from headrace.components.score import check_step

    check_step.check(root, predictions, max_divergence)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def publish(destination: str, predictions: dsl.Input[dsl.Dataset], root: str = "") -> str:
    """Puts checked Predictions where readers look: a folder of their own, and current.json, which names it.

    Args:
        root: where the run's records are kept; "" keeps none.
        destination: the folder of all published Predictions of a problem.
        predictions: what scoring made.

    Returns:
        Where they are now.
    """
    from headrace.components.score import check_step

    return check_step.publish(root, destination, predictions)
