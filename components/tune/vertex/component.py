"""Components of a search on Vertex AI, their interfaces for KFP: the study, a trial, and the best trial's Model.

Between the first and the last is a hyperparameter tuning job, whose trials run `vertex.trial`.
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
    attempt: str = "",  # noqa: ARG001 - for the engine's cache key, not the step
) -> NamedTuple("Study", [("search", str), ("folder", str), ("parameters", list), ("trials", int)]):  # type: ignore[valid-type]
    """Prepares the study of a hyperparameter tuning job: the Problem's `tuning` in Vertex AI's format.

    Args:
        problem: URI of the Problem file.
        tuning_digest: digest of the submitted Problem file without its gate.
        root: pipeline root, where the run's records and the trials' outputs are stored.
        examples: the Examples.
        trials: number of trials; 0 for the Problem's number.
        parallel: maximum trials at a time.
        algorithm: the service's name of the algorithm, or "".
        training: options of each trial, as of `train`.
        attempt: any text; another text makes the step run again if nothing else changed.

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
    """Trains with the parameters that the service chose. Only its inputs are used: the job runs `vertex.trial`.

    Args:
        problem: URI of the Problem file.
        tuning_digest: digest of the submitted Problem file without its gate.
        root: pipeline root, where the run's records are stored.
        examples: the Examples.
        search: identity of the search, a label of the job.
        training: options of each trial, as of `train`.
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
    """Publishes the Model of the trial with the minimum eval loss of a hyperparameter tuning job that has ended.

    It also runs after a failed job, to report the cause in one paragraph.

    Args:
        problem: URI of the Problem file.
        tuning_digest: digest of the submitted Problem file without its gate.
        root: pipeline root, where the run's records are stored.
        model: the Model, as from `train`; its training.json describes the search.
        project, location: of the job.
        trials: number of trials; 0 for the Problem's number.
        search: identity of the search; "" if an earlier step failed.
        gcp_resources: the job; "" if the task that started it failed.
    """
    from headrace.components.tune.vertex import steps

    steps.take_best(problem, tuning_digest, root, model, trials, search, gcp_resources, project, location)
