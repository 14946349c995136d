"""The KFP face of the search for better parameters."""

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
    attempt: str = "",  # noqa: ARG001 - the engine looks at it, not the step
) -> None:
    """Tries parameters from the Problem's `tuning`, and gives the Model of the trial with the least eval loss.

    Trials that do worse than others did by the same epoch are pruned. A search that was killed goes on where it was.

    Args:
        problem: URI of the Problem file.
        tuning_digest: Digest of what a search reads of the Problem file as it was submitted: all but the gate. ""
            accepts any.
        root: where the run's records, and what the search knows, are kept; with "" there are no records, and the search
            lies beside the Model.
        examples: what preprocessing made.
        model: as `train` makes it; its training.json tells of the search.
        trials: how many; 0 takes what the Problem says.
        parallel: trials at a time, each in a process of its own.
        training: options of each trial, as `train` takes them; the budget in hours and money is the whole search's.
        attempt: any text; another one makes the step run again where nothing else changed.
    """
    from headrace.components.tune import step

    step.run(problem, tuning_digest, root, examples, model, trials, parallel, training)
