"""The KFP face of training."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def train(
    problem: str,
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    training_digest: str = "",
    root: str = "",
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    attempt: str = "",  # noqa: ARG001 - the engine looks at it, not the step
) -> None:
    """Trains the Problem's model, or the Problem file's own `build_model`, and exports a SavedModel.

    The exported graph takes the raw features by name, and passes the key through. A task that was killed or
    preempted resumes from its last checkpoint, which is kept below root.

    Args:
        problem: URI of the Problem file.
        training_digest: Digest of what training reads of the Problem file as it was submitted: all but gate and search.
            "" accepts any.
        root: where the run's records and checkpoints are kept; with "" there are no records, and the checkpoints lie
            beside the Model.
        examples: what preprocessing made.
        model: saved_model/, model.keras, problem.py, training.json and golden.json.
        training: the options that differ from their defaults, as JSON, by their names in `headrace train --help`: such
            as {"max_hours": 2, "strategy": "mirrored", "batch_size": 4096, "warm_start": "gs://..."}.
        attempt: any text; another one makes the step run again where nothing else changed.
    """
    from headrace.components.train import step

    step.run(problem, training_digest, root, examples, model, training)
