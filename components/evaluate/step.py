"""Evaluation step of a pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from headrace.components.evaluate.contest.challenge import ChallengerComparison
from headrace.components.evaluate.measurement import measurement_identity
from headrace.core import storage
from headrace.core.errors import HeadraceError
from headrace.core.problem.file import ProblemFile, load_problem
from headrace.core.steps import fork_server, workspace
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import running
from headrace.core.tensorflow_import import import_tensorflow


def run(
    problem: str,
    evaluation_digest: str,
    root: str,
    champion: str,
    examples: Any,
    model: Any,
    evaluation: Any,
    metrics: Any,
    classification: Any,
    comparison: Mapping[str, Any] | None = None,
) -> bool:
    """Implements `component.evaluate`, whose docstring describes the arguments."""
    with contextlib.suppress(HeadraceError):
        # Before the step starts, because it would otherwise start twice.
        # A comparison on the newest span needs predictions, whatever is stored.
        if fork_server.without_tensorflow() and (
            comparison or not _is_measured(problem, evaluation_digest, root, champion, examples, model)
        ):
            raise SystemExit(fork_server.NEEDS_TENSORFLOW)
    with running("evaluate", root=root) as step:
        file = load_problem(problem, digest=evaluation_digest, part="evaluation")
        model_version = lineage.model_version_of(model.path)
        rule = ChallengerComparison.from_json(comparison or {})
        identity = step.identity = lineage.evaluate_identity(
            file,
            lineage.examples_identity_of(examples.path),
            model_version,
            champion,
            None if rule is None else rule.to_json(),
        )
        step.end_as_before(storage.place_of(evaluation))
        measurement = _measurement(file, root, champion, examples, model)
        with step.importing():
            if comparison or not (measurement and storage.exists(measurement)):
                import_tensorflow()
            from headrace.components.evaluate import evaluator
        config = evaluator.EvaluateConfig(
            examples=examples.path,
            model=model.path,
            output=storage.place_of(evaluation),
            champion=champion or None,
            comparison=rule,
            identity=identity,
            measurement=measurement,
        )
        result = evaluator.evaluate(file, config, step.progress)
        whole = storage.read_json(storage.join(config.output, "evaluation.json"))
        _log_metrics(whole, metrics, classification)
        evaluation.metadata.update(model_version=model_version, blessed=result.blessed)
        step.finish(
            outputs={"evaluation": evaluation.path},
            result={
                "blessed": result.blessed,
                "reasons": list(result.reasons),
                "rows": result.rows,
                "weight": whole["weight"],
                "metrics": whole["metrics"],
                "baseline": whole["baseline"],
                "checks": whole["checks"],
                "gate": whole["gate"],
                "warnings": whole["warnings"],
            },
        )
    return result.blessed


def _is_measured(problem: str, digest: str, root: str, champion: str, examples: Any, model: Any) -> bool:
    file = load_problem(problem, digest=digest, part="evaluation")
    return storage.exists(_measurement(file, root, champion, examples, model))


def _measurement(file: ProblemFile, root: str, champion: str, examples: Any, model: Any) -> str:
    """URI of the measurement of the step's inputs, which may not exist yet; "" without a root."""
    return workspace.measurement_uri(
        root,
        measurement_identity(
            file.problem,
            lineage.examples_identity_of(examples.path),
            lineage.model_version_of(model.path),
            lineage.model_version_of(champion) if champion else None,
        ),
    )


def _log_metrics(whole: dict[str, Any], metrics: Any, classification: Any) -> None:
    """Shows the evaluation where KFP and Vertex show metrics."""
    # Metrics are metadata, but kfp.local's cache treats an output without a file at its path as lost.
    for shown in (metrics, classification):
        storage.write_json(shown.path, whole["metrics"])
    for name, measured in whole["metrics"].items():
        if measured["value"] is not None:
            metrics.log_metric(name, measured["value"])
    curves = whole["curves"]
    if "confusion_matrix" in curves:
        classification.log_confusion_matrix(curves["confusion_matrix"]["classes"], curves["confusion_matrix"]["counts"])
    if "roc" in curves:
        roc = curves["roc"]
        # The curve starts above every score, at infinity, which JSON cannot hold; KFP shows thresholds up to 1.
        thresholds = [1.0 if t is None else min(t, 1.0) for t in roc["threshold"]]
        classification.log_roc_curve(roc["false_positive_rate"], roc["true_positive_rate"], thresholds)
