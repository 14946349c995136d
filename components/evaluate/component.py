"""The KFP face of evaluation."""

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
    attempt: str = "",  # noqa: ARG001 - the engine looks at it, not the step
) -> bool:
    """Measures a model on the test split, overall and by slice, and lets the Problem's gate bless or refuse it.

    Args:
        problem: URI of the Problem file.
        evaluation_digest: Digest of what evaluation reads of the Problem file as it was submitted: columns and gate. ""
            accepts any.
        root: where the run's records are kept; "" keeps none.
        champion: a Model to compare with, or "" for none.
        examples: what preprocessing made.
        model: what training made.
        evaluation: evaluation.json: metrics with confidence intervals, slices, curves, the decision and its reasons.
        metrics: the metrics, for the pipeline's page.
        classification: confusion matrix and ROC curve, for the pipeline's page; empty for regression.
        attempt: any text; another one makes the step run again where nothing else changed.

    Returns:
        Whether the gate blessed the model. The output keeps KFP's own name, `Output`: kfp.local resolves a condition
        on a task's output by that name alone.
    """
    from headrace.components.evaluate import step

    return step.run(problem, evaluation_digest, root, champion, examples, model, evaluation, metrics, classification)
