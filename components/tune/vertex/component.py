"""The KFP faces of the search on Vertex AI: what to search, and the best trial's Model.

Between the two is a hyperparameter tuning job, whose trials run `vertex_trial`.
"""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def study(
    problem: str,
    tuning_digest: str,
    root: str,
    examples: dsl.Input[dsl.Dataset],
    trials: int = 0,
    parallel: int = 1,
    algorithm: str = "",
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    attempt: str = "",  # noqa: ARG001 - the engine looks at it, not the step
) -> NamedTuple("Study", [("search", str), ("folder", str), ("parameters", list), ("trials", int)]):  # type: ignore[valid-type]
    """Says what a hyperparameter tuning job searches: the Problem's `tuning`, as Vertex AI takes it.

    Args:
        problem: URI of the Problem file.
        tuning_digest: Digest of what a search reads of the Problem file as it was submitted: all but the gate.
        root: where the run's records are kept, and the trials' outputs.
        examples: what preprocessing made.
        trials: how many; 0 takes what the Problem says.
        parallel: trials at a time.
        algorithm: the service's name of it, or "".
        training: options of each trial, as `train` takes them.
        attempt: any text; another one makes the step run again where nothing else changed.

    Returns:
        The search's identity, the folder of the trials' outputs, the study's parameters, and the number of trials.
    """
    from headrace.components.tune.vertex import steps

    return steps.plan(problem, tuning_digest, root, examples, trials, parallel, algorithm, training)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def trial(
    problem: str,
    tuning_digest: str,
    root: str,
    examples: dsl.Input[dsl.Dataset],
    search: str,
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
) -> None:
    """Trains with the parameters that the service chose. Only its inputs are used: the job runs `vertex_trial`.

    Args:
        problem: URI of the Problem file.
        tuning_digest: likewise.
        root: where the run's records are kept.
        examples: what preprocessing made.
        search: the search's identity, by which the job is labelled.
        training: options of each trial, as `train` takes them.
    """


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def best(
    problem: str,
    tuning_digest: str,
    root: str,
    model: dsl.Output[dsl.Model],
    project: str,
    location: str,
    trials: int = 0,
    search: str = "",
    gcp_resources: str = "",
) -> None:
    """Takes the Model of the trial with the least eval loss from a hyperparameter tuning job that has ended.

    It runs also where the job failed, to say why in one paragraph.

    Args:
        problem: URI of the Problem file.
        tuning_digest: likewise.
        root: where the run's records are kept.
        model: as `train` makes it; its training.json tells of the search.
        project, location: of the job.
        trials: how many were asked for; 0 for what the Problem says.
        search: the search's identity; "" where there is none, since a step before failed.
        gcp_resources: the job; "" where the task that started it failed.
    """
    from headrace.components.tune.vertex import steps

    steps.take_best(problem, tuning_digest, root, model, trials, search, gcp_resources, project, location)
