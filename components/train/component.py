"""The KFP face of training."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def train(
    problem: str, problem_digest: str, root: str, examples: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model]
) -> None:
    """Trains the wide and deep default model, or the Problem file's own `build_model`, and exports a SavedModel.

    The exported graph takes the raw features by name, and passes the key through.

    Args:
        problem: URI of the Problem file.
        problem_digest: SHA-256 of the Problem file: what was submitted is what runs.
        root: where the run's records are kept.
        examples: what preprocessing made.
        model: saved_model/, model.keras, problem.py, training.json and golden.json.
    """
    from headrace.components.train import step

    step.run(problem, problem_digest, root, examples, model)
