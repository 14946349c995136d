"""Ingest component of dynamic training: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def ingest(
    problem: str,
    arrivals: list,  # type: ignore[type-arg]
    root: str,
    examples: dsl.Output[dsl.Dataset],
    others: dsl.OutputPath(dict),  # type: ignore[valid-type]
    gcp_resources: dsl.OutputPath(str),  # type: ignore[valid-type]
    schema_digest: str = "",
    last_spans: int = 0,
    last_days: int = 0,
    withdrawn: list = [],  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    half_life: float = 0.0,
    baseline: str = "",
    csv: str = "",
    runner: str = "",
    attempt: str = "",  # noqa: ARG001 - for the engine's cache key, not the step
) -> bool:
    """Adds spans of data that arrived, and writes the Examples of the window of spans that training reads.

    Each span is preprocessed once, below root. Bad rows go to quarantine, and a bad span as a whole: a column is
    missing, more rows break a rule than the budget allows, or columns drift from the baseline. The step then succeeds.

    Args:
        problem: URI of the Problem file.
        arrivals: the data versions of the run, each with version, span, data, data_version, reason, event and at.
        root: pipeline root, where spans and the run's records are stored.
        examples: manifest.json, which names the shards of the window's spans, schema.json and statistics.json.
        others: the outcome "quarantined" or "withdrawn", by version, of arrivals with one of these outcomes.
        gcp_resources: the last job on Google Cloud, for the console's link; empty for work on this machine.
        schema_digest: `Problem.schema_digest` at submission; "" accepts any.
        last_spans: number of spans in the window, the newest by name; 0 for all.
        last_days: number of days in the window, if names of spans begin with their day; 0 for all.
        withdrawn: names of spans, or versions of arrivals, that are excluded from the window.
        half_life: number of spans after which the weight of a row in training is halved; 0 for equal weights.
        baseline: statistics for the Problem's drift limits: the champion, Examples, or a statistics.json; "" for none.
        csv: dialect of CSV files, as for `--csv`: a JSON list such as ["delimiter=;", "encoding=latin-1"].
        runner: the Beam runner, as a JSON object of its name and options; "" for this process.
        attempt: any text; another text makes the step run again if nothing else changed.

    Returns:
        Whether there are rows to train with: an arrived span is in the window, or no span arrived and a window exists.
        The output has KFP's default name, `Output`; see `evaluate`.
    """
    from headrace.components.ingest import step

    return step.run(
        problem,
        schema_digest,
        arrivals,
        root,
        examples,
        others,
        gcp_resources,
        last_spans=last_spans,
        last_days=last_days,
        withdrawn=withdrawn,
        half_life=half_life,
        baseline=baseline,
        csv=csv,
        runner=runner,
    )
