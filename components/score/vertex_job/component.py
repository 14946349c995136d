"""KFP component that prepares a batch prediction job, which another task of the pipeline runs."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def prepare(
    model: str,
    registered: str,
    data: str,
    data_version: str,
    root: str,
    options: str,
    labels: dict,  # type: ignore[type-arg]
    sink: str = "parquet",
    table: str = "",
    partition_by: str = "",
    approach: str = "auto",
    csv: str = "",
    constants: str = "",
    batch: str = "rows",
    endpoint: str = "",
    job: str = "",
    runner: str = "",
    rules: str = "enforce",
    attempt: str = "",  # noqa: ARG001 - for the engine's cache key, not the step
) -> NamedTuple(  # type: ignore[valid-type]
    "Prepared",
    [
        ("model", str),
        ("address", str),
        ("instances_format", str),
        ("instances", list),
        ("table", str),
        ("excluded_fields", list),
        ("key_field", str),
        ("predictions", str),
        ("labels", dict),
        ("job", str),
        ("has_rows", bool),
    ],
):
    """Writes the instances of a batch prediction job, unless a job can read the rows in their present form.

    Instances of an earlier attempt are reused.

    Args:
        model: a Model on gs://, for its signature.
        registered: the same model in the registry, as projects/PROJECT/locations/REGION/models/ID@VERSION.
        data: the rows, as in `score`.
        data_version: fingerprint of the data.
        root: the pipeline root, for the run's records.
        options: of the job, JSON such as {"project": ..., "region": ..., "staging": "gs://..."}.
        labels: of the job, for billing reports.
        sink, table, partition_by, csv, constants, batch: as in `score`.
        approach, endpoint, job, runner: the run's parameters; the pipeline is compiled for jobs of `options`, and
            accepts the approach auto or job and no value of the others.
        rules: as in `score`.
        attempt: any text; another text makes the step run again if nothing else changed.

    Returns:
        The model's name and URI; the instances' format, their URIs or their table, with the columns that are excluded
        from the model's input; the field with each instance's name; the folder of the results; the job's labels; the
        job's options for `score`, which finds the job by a label and collects its results; and whether there is a row
        for a job to read.
    """
    import dataclasses

    from headrace.components.score.parameters import Parameters
    from headrace.components.score.vertex_job import step

    parameters = Parameters(
        model=model,
        data=data,
        data_version=data_version,
        root=root,
        sink=sink,
        table=table,
        partition_by=partition_by,
        approach=approach,
        csv=csv,
        constants=constants,
        batch=batch,
        endpoint=endpoint,
        job=job,
        runner=runner,
        rules=rules,
    )
    return dataclasses.astuple(step.prepare(parameters, registered, options, labels))
