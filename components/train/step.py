"""Training step of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from headrace.components.train.devices.cluster import read_cluster
from headrace.components.train.request import TrainingRequest
from headrace.core import storage
from headrace.core.problem.file import load_problem
from headrace.core.steps import identity, workspace
from headrace.core.steps.step import running
from headrace.core.tensorflow_import import import_tensorflow


def run(problem: str, training_digest: str, root: str, examples: Any, model: Any, training: Mapping[str, Any]) -> None:
    """Runs `component.train`, whose docstring describes the arguments."""
    with running("train", root=root) as step:
        cluster = read_cluster(os.environ)
        # Every process of a cluster runs the step with the same outputs.
        step.writes = cluster is None or cluster.chief
        file = load_problem(problem, digest=training_digest, part="training")
        request = TrainingRequest.from_json(training)
        step.identity = request.identity(file, identity.examples_identity_of(examples.path))
        output = storage.place_of(model)
        step.end_as_before(output)
        config = request.config(
            file,
            examples=examples.path,
            output=output,
            checkpoints=workspace.checkpoints_uri(workspace.root_of(root, output), "train"),
        )
        with step.importing():
            import_tensorflow()
            from headrace.components.train import trainer
        result = trainer.train(file, config, step.progress)
        model.framework = "tensorflow"
        model.metadata.update(model_version=step.identity, parameters=result.parameters)
        step.finish(
            outputs={"model": model.path},
            result=result.to_json(),
        )
