"""Evaluation component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def evaluate(
    problem: str,
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    evaluation_digest: str = "",
    root: str = "",
    champion: str = "",
    comparison: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    attempt: str = "",  # noqa: ARG001 - for the engine's cache key, not the step
) -> bool:
    """Measures a model on the test split, overall and by slice, and lets the Problem's gate bless or refuse it.

    Args:
        problem: URI of the Problem file.
        evaluation_digest: `Problem.evaluation_digest` at submission, of the columns and the gate; "" accepts any.
        root: pipeline root, where the run's records are stored; "" for no records.
        champion: a Model to compare with; "" for no champion.
        comparison: rule by which a model must also be better than the champion on the newest span of a window: output
            of `lineage`, or {} for no rule.
        examples: output of `preprocess`.
        model: output of `train`.
        evaluation: evaluation.json: metrics with confidence intervals, slices, curves, the decision and its reasons.
        metrics: the metrics, for the pipeline's page.
        classification: confusion matrix and ROC curve, for the pipeline's page; empty for regression.
        attempt: any text; another text makes the step run again if nothing else changed.

    Returns:
        Whether the gate blessed the model. The output has KFP's default name, `Output`: kfp.local resolves a condition
        on a task's output only by that name.
    """
    from headrace.components.evaluate import step

    return step.run(
        problem,
        evaluation_digest,
        root,
        champion,
        examples,
        model,
        evaluation,
        metrics,
        classification,
        comparison,
    )
