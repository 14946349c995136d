"""The KFP face of the search for better parameters."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def tune(
    problem: str,
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    problem_digest: str = "",
    root: str = "",
    trials: int = 0,
    parallel: int = 1,
    max_hours: float = 0.0,
    strategy: str = "",
    precision: str = "",
) -> None:
    """Tries parameters from the Problem's `tuning`, and gives the Model of the trial with the least eval loss.

    Trials that do worse than others did by the same epoch are pruned. A search that was killed goes on where it was.

    Args:
        problem: URI of the Problem file.
        problem_digest: SHA-256 that the Problem file must have: what was submitted is what runs. "" accepts any.
        root: where the run's records, and what the search knows, are kept; with "" there are no records, and the search
            lies beside the Model.
        examples: what preprocessing made.
        model: as `train` makes it; its training.json tells of the search.
        trials: how many; 0 takes what the Problem says.
        parallel: trials at a time, each in a process of its own.
        max_hours: hours after which no trial goes on; 0 for no end.
        strategy: auto, one_device, mirrored, multi_worker, tpu or parameter_server.
        precision: auto, float32, mixed_bfloat16 or mixed_float16.
    """
    from headrace.components.train.request import Inputs
    from headrace.components.tune import step

    inputs = Inputs(strategy=strategy, precision=precision)
    step.run(problem, problem_digest, root, examples, model, trials, parallel, max_hours, inputs)
