"""KFP component of training."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def train(
    problem: str,
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    training_digest: str = "",
    root: str = "",
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    attempt: str = "",  # noqa: ARG001 - for the engine's cache key, not the step
) -> None:
    """Trains the Problem's default model, or the model of the Problem file's `build_model`, and exports a SavedModel.

    The exported graph accepts the raw features by name, and passes the key through. A task that was killed or
    preempted resumes from its last checkpoint, which is stored below root.

    Args:
        problem: URI of the Problem file.
        training_digest: digest of the parts of the submitted Problem file that training reads: all but gate and search.
            "" accepts any Problem file.
        root: the folder of the run's records and checkpoints; with "", no records are written, and the checkpoints are
            stored next to the Model.
        examples: the Examples artifact, as written by preprocessing.
        model: saved_model/, model.keras, problem.py, training.json and golden.json.
        training: the options that differ from their defaults, as JSON, by their names in `headrace train --help`, such
            as {"max_hours": 2, "strategy": "mirrored", "batch_size": 4096, "warm_start": "gs://..."}.
        attempt: any text; a different text repeats the step although its other arguments are unchanged.
    """
    from headrace.components.train import step

    step.run(problem, training_digest, root, examples, model, training)
