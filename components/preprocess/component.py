"""The KFP face of preprocessing."""

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
    attempt: str = "",  # noqa: ARG001 - the engine looks at it, not the step
) -> bool:
    """Turns rows into TFRecords of tf.train.Example, split as the Problem declares, with measured statistics.

    Rows that break the Problem's rules go to quarantine with a reason; more of them than the budget fail the step,
    and so does, with a table of what was seen and expected, drift from the baseline.

    Args:
        problem: URI of the Problem file.
        schema_digest: `Problem.schema_digest` of what was submitted; another gate or batch size is the same schema. ""
            accepts any.
        data: a file, a folder or a glob (CSV, Parquet, JSON lines, Avro, TFRecord), here or on gs://, or bigquery://...
        data_version: fingerprint of the data, measured if ""; a new one makes the step run again.
        root: where the run's records are kept; "" keeps none.
        examples: train/, eval/ and test/ shards, schema.json, statistics.json, manifest.json and quarantine/.
        gcp_resources: the job on Google Cloud, by which its pages link to it; empty for work on this machine.
        baseline: an earlier statistics.json, or the Examples that hold it; the Problem's drift is judged against it.
        baseline_version: fingerprint of the baseline; a new one makes the step run again.
        csv: how CSV files are written, as `--csv` takes it: a JSON list such as ["delimiter=;", "encoding=latin-1"].
        runner: the Beam runner that does the work, as a JSON object of its name and options; "" for this process.
        attempt: any text; another one makes the step run again where nothing else changed.

    Returns:
        Whether the data has rows; without any there are no Examples, unless the Problem refuses such data. The output
        keeps KFP's own name, `Output`, see `evaluate`.
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
