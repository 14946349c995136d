"""The KFP face of training."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def train(
    problem: str,
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    problem_digest: str = "",
    root: str = "",
    warm_start: str = "",
    warm_start_version: str = "",
    strategy: str = "",
    precision: str = "",
    max_hours: str = "",
    max_cost: str = "",
    price_per_hour: str = "",
    target: str = "",
    checkpoint_minutes: str = "",
) -> None:
    """Trains the Problem's model, or the Problem file's own `build_model`, and exports a SavedModel.

    The exported graph takes the raw features by name, and passes the key through. A task that was killed or
    preempted goes on from its last checkpoint, which is kept below root. "" leaves an option to its default.

    Args:
        problem: URI of the Problem file.
        problem_digest: SHA-256 that the Problem file must have: what was submitted is what runs. "" accepts any.
        root: where the run's records and checkpoints are kept; with "" there are no records, and the checkpoints lie
            beside the Model.
        examples: what preprocessing made.
        model: saved_model/, model.keras, problem.py, training.json and golden.json.
        warm_start: a Model whose weights training starts from.
        warm_start_version: its version: what was submitted is what runs.
        strategy: auto, one_device, mirrored, multi_worker, tpu or parameter_server.
        precision: auto, float32, mixed_bfloat16 or mixed_float16.
        max_hours: hours after which the best model so far is exported.
        max_cost: the same of money; it needs price_per_hour.
        price_per_hour: of all machines together.
        target: METRIC=VALUE on the eval split, at which training ends.
        checkpoint_minutes: minutes between two checkpoints at most.
    """
    from headrace.components.train import step
    from headrace.components.train.request import Inputs

    inputs = Inputs(
        warm_start=warm_start,
        warm_start_version=warm_start_version,
        strategy=strategy,
        precision=precision,
        max_hours=max_hours,
        max_cost=max_cost,
        price_per_hour=price_per_hour,
        target=target,
        checkpoint_minutes=checkpoint_minutes,
    )
    step.run(problem, problem_digest, root, examples, model, inputs)
