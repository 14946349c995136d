"""The KFP face of the preparation of a batch prediction job, which a task of the pipeline itself then runs."""

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
    attempt: str = "",  # noqa: ARG001 - the engine looks at it, not the step
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
    ],
):
    """Makes rows into the instances of a batch prediction job, unless they lie in the form that a job reads.

    Instances of an earlier try are taken as they are.

    Args:
        model: a Model on gs://, which says what it takes.
        registered: the same in the registry, as projects/PROJECT/locations/REGION/models/ID@VERSION.
        data: the rows, as `score` takes them.
        data_version: fingerprint of the data.
        root: where the run's records are kept.
        options: how the job runs, JSON such as {"project": ..., "region": ..., "staging": "gs://..."}.
        labels: of the job, for the bill.
        sink, table, partition_by, csv, constants, batch: as `score` takes them.
        approach, endpoint, job, runner: as they were asked of the run; the pipeline is compiled for jobs of `options`,
            and takes the approach auto or job, and none of the others.
        attempt: any text; another one makes the step run again where nothing else changed.

    Returns:
        The model's name and address, the instances' format, their URIs or the table that they are read from, with its
        columns that the model is not given, the field that names each, the folder of the results, the job's labels, and
        its options for `score`, which finds the job by a label and collects its results.
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
    )
    return dataclasses.astuple(step.prepare(parameters, registered, options, labels))
