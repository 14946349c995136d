"""Tune component: the interface of hyperparameter search for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def tune(
    problem: str,
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    tuning_digest: str = "",
    root: str = "",
    trials: int = 0,
    parallel: int = 1,
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    attempt: str = "",  # noqa: ARG001 - for the engine's cache key, not the step
) -> None:
    """Tries parameters from the Problem's `tuning`, and exports the Model of the trial with the minimum eval loss.

    Trials that are worse than others at the same epoch are pruned. A killed search resumes.

    Args:
        problem: URI of the Problem file.
        tuning_digest: digest of the submitted Problem file without its gate; "" accepts any.
        root: pipeline root, where the run's records and the state of the search are stored; with "", no records are
            written, and the state is stored next to the Model.
        examples: the Examples.
        model: the Model, as from `train`; its training.json describes the search.
        trials: number of trials; 0 for the Problem's number.
        parallel: maximum trials at a time, each in a process of its own.
        training: options of each trial, as of `train`; the budget in hours and money is for the whole search.
        attempt: any text; another text makes the step run again if nothing else changed.
    """
    from headrace.components.tune import step

    step.run(problem, tuning_digest, root, examples, model, trials, parallel, training)
