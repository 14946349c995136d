"""Training as a step of a pipeline."""

from __future__ import annotations

from typing import Any

from headrace.components import lineage
from headrace.components.imports import import_tensorflow
from headrace.components.problem_file import load_problem
from headrace.components.steps import running


def run(problem: str, problem_digest: str, root: str, examples: Any, model: Any) -> None:
    """Does the work of `component.train`, whose docstring says what the arguments are."""
    with running("train", root=root) as step:
        file = load_problem(problem, digest=problem_digest)
        identity = step.identity = lineage.train_identity(file, lineage.examples_identity_of(examples.path))
        with step.importing():
            import_tensorflow()
            from headrace.components.train import trainer
        result = trainer.train(
            file, trainer.TrainConfig(examples=examples.path, output=model.path, identity=identity), step.progress
        )
        model.framework = "tensorflow"
        model.metadata.update(model_version=identity, parameters=result.parameters)
        step.finish(
            outputs={"model": model.path},
            result={
                "model_version": identity,
                "epochs": result.epochs,
                "steps": result.steps,
                "best_epoch": result.best_epoch,
                "stopped": result.stopped,
                "loss": result.loss,
                "eval_loss": result.eval_loss,
                "rows_per_second": result.rows_per_second,
                "parameters": result.parameters,
            },
        )
