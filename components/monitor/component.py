"""Monitoring component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def monitor(
    problem: str,
    data: str,
    reference: dsl.Input[dsl.Artifact],
    monitoring: dsl.Output[dsl.Artifact],
    problem_digest: str = "",
    root: str = "",
    labels: str = "",
    evaluation: str = "",
    time: str = "",
    label_time: str = "",
    prediction: str = "prediction",
    model_version: str = "",
    window: str = "1d",
    label_wait: str = "30d",
    trained_at: str = "",
    now: str = "",
    csv: str = "",
) -> bool:
    """Measures a model's requests by window of time: skew, drift, metrics on late labels, and age.

    Args:
        problem: URI of the Problem file; its `monitor` has the thresholds.
        data: URI of the rows: a request log, or a table of features, predictions and times.
        reference: Examples, a Model or an earlier Monitoring, with which the rows are compared.
        monitoring: monitoring.json: every window; alarms.jsonl: an event per alarm.
        problem_digest: SHA-256 of the Problem file at submission; "" accepts any.
        root: pipeline root, where the run's records are stored; "" for no records.
        labels: URI of a table of keys and labels; "" without labels.
        evaluation: URI of the model's Evaluation, whose metric is compared; "" for no comparison.
        time: column of the time of a row; "" for the time column of a request log.
        label_time: column of the time at which a label arrived; "" without such a column.
        prediction: column of the prediction.
        model_version: version of the model whose rows are measured; "" for all rows.
        window: length of a window, such as 6h or 1d.
        label_wait: maximum time to wait for a label, such as 14d.
        trained_at: time of the training in ISO 8601, for the model's age; "" if unknown.
        now: time of the measurement in ISO 8601; "" for the current time.
        csv: dialect of CSV files, a JSON list such as ["delimiter=;", "encoding=latin-1"].

    Returns:
        Whether there is an alarm. The output has KFP's default name, `Output`: kfp.local resolves a condition on a
        task's output only by that name.
    """
    from headrace.components.monitor import step

    columns, periods, times = (time, label_time, prediction), (window, label_wait), (trained_at, now)
    return step.run(
        problem,
        problem_digest,
        root,
        data,
        labels,
        evaluation,
        columns,
        model_version,
        periods,
        times,
        csv,
        reference,
        monitoring,
    )
