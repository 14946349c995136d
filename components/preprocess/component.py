"""Preprocessing component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def preprocess(
    problem: str,
    data: str,
    examples: dsl.Output[dsl.Dataset],
    gcp_resources: dsl.OutputPath(str),  # type: ignore[valid-type]
    schema_digest: str = "",
    data_version: str = "",
    root: str = "",
    baseline: str = "",
    baseline_version: str = "",
    csv: str = "",
    runner: str = "",
    attempt: str = "",  # noqa: ARG001 - for the engine's cache key, not the step
) -> bool:
    """Converts rows to TFRecords of tf.train.Example, split as the Problem declares, and measures statistics.

    Rows that break the Problem's rules go to quarantine with a reason. The step fails if there are more of them than
    the budget allows, or if columns drift from the baseline; the error has a table of expected and measured values.

    Args:
        problem: URI of the Problem file.
        schema_digest: `Problem.schema_digest` at submission, independent of the gate and the batch size; "" accepts
            any.
        data: a file, folder or glob (CSV, Parquet, JSON lines, Avro, TFRecord), local, on gs:// or s3://, or bigquery://...
        data_version: fingerprint of the data; measured if "". A new fingerprint makes the step run again.
        root: pipeline root, where the run's records are stored; "" for no records.
        examples: train/, eval/ and test/ shards, schema.json, statistics.json, manifest.json and quarantine/.
        gcp_resources: the job on Google Cloud, for the console's link; empty for work on this machine.
        baseline: an earlier statistics.json, or the Examples with it, for the Problem's drift limits.
        baseline_version: fingerprint of the baseline; a new fingerprint makes the step run again.
        csv: dialect of CSV files, as for `--csv`: a JSON list such as ["delimiter=;", "encoding=latin-1"].
        runner: the Beam runner, as a JSON object of its name and options; "" for this process.
        attempt: any text; another text makes the step run again if nothing else changed.

    Returns:
        Whether the data has rows. Without rows no Examples are written, or the step fails if the Problem refuses such
        data. The output has KFP's default name, `Output`; see `evaluate`.
    """
    from headrace.components.preprocess import step

    return step.run(
        problem,
        schema_digest,
        data,
        data_version,
        root,
        examples,
        baseline,
        baseline_version,
        csv,
        runner,
        gcp_resources,
    )
