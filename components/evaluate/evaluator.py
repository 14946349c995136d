"""Evaluator: measures a Model on the test split, applies the gate, and publishes the Evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.components.evaluate import artifacts, bootstrap, curves, gate, warnings
from headrace.components.evaluate.artifacts import EvaluatedModel
from headrace.components.evaluate.bootstrap import Interval, Resamples
from headrace.components.evaluate.contest.challenge import ChallengerComparison
from headrace.components.evaluate.contest.newest import Contest, compare
from headrace.components.evaluate.importance import importance
from headrace.components.evaluate.measurement import Measurement, stored_or
from headrace.components.evaluate.predict import predict
from headrace.components.evaluate.slices import SliceRows, cut
from headrace.components.evaluate.thresholds import threshold_table
from headrace.core import metrics, storage
from headrace.core.artifacts.kinds import EVALUATION
from headrace.core.checks import check_count, is_finite
from headrace.core.errors import UsageError
from headrace.core.metrics import Outcomes
from headrace.core.problem import Gate, Problem
from headrace.core.problem.file import ProblemFile
from headrace.core.progress import Progress, silent
from headrace.core.storage.output import publishing
from headrace.core.storage.output_check import check_output
from headrace.core.tensorflow_import import import_tensorflow

FILE = "evaluation.json"
_MOST_RESAMPLES = 10_000


@dataclass(frozen=True)
class EvaluateConfig:
    """Inputs, output and options of an evaluation.

    Args:
        examples: URI of the Examples.
        model: URI of the Model.
        output: URI of the Evaluation, a folder; an existing Evaluation is replaced.
        champion: URI of a Model to compare with, on the same rows.
        comparison: rule by which a model must also be better than the champion on the newest span of a window; None for
            no rule.
        identity: cache key of the Evaluation.
        measurement: URI of the file in which the measurement is or will be stored; "" to store nothing.
        confidence: of the intervals, in (0, 1).
        resamples: of the bootstrap, 1 to 10,000.
        seed: of the bootstrap, 0 or more.

    Raises:
        UsageError: a value is outside its range.
    """

    examples: str
    model: str
    output: str
    champion: str | None = None
    comparison: ChallengerComparison | None = None
    identity: str = ""
    measurement: str = ""
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("examples", "model", "output"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty", where="evaluate", expected="a folder")
        if not (is_finite(self.confidence) and 0 < self.confidence < 1):
            raise UsageError(
                "confidence is not valid", where="evaluate", expected="between 0 and 1", received=repr(self.confidence)
            )
        check_count(self.resamples, "resamples", maximum=_MOST_RESAMPLES, where="evaluate")
        check_count(self.seed, "seed", minimum=0, where="evaluate")

    def check_output(self, problem: str) -> None:
        """Checks that `output` is unused or holds an Evaluation, and does not contain an input.

        Raises:
            UsageError: it contains something else, or an input.
        """
        read = {"--examples": self.examples, "--model": self.model, "--champion": self.champion, "--problem": problem}
        check_output(self.output, EVALUATION, inputs=read)


@dataclass(frozen=True)
class EvaluateResult:
    """Result of an evaluation.

    Attributes:
        blessed: whether the gate blessed the model.
        reasons: one sentence per check.
        metrics: on all rows of the test split; None where undefined.
        model_version: of the model.
        rows: of the test split.
    """

    blessed: bool
    reasons: tuple[str, ...]
    metrics: Mapping[str, float | None]
    model_version: str
    rows: int


@dataclass(frozen=True)
class _SliceReport:
    """A slice for the gate, with the intervals that the report adds."""

    measured: gate.SliceMetrics
    intervals: Mapping[str, Interval]


def evaluate(problem_file: ProblemFile, config: EvaluateConfig, report: Progress = silent) -> EvaluateResult:
    """Evaluates a model, writes `evaluation.json`, and returns the decision; a refusal is a result, not an error.

    Args:
        problem_file: the user's loaded Problem file.
        config: inputs, output and options.
        report: called with the progress.

    Raises:
        DataError: the Examples or a Model are damaged, or do not match the Problem or each other.
        UsageError: a folder contains no Examples or no Model, or the output cannot be written.
        PlatformError: a model's predictions are not usable.
    """
    config.check_output(problem_file.path)
    problem = problem_file.problem
    split = artifacts.open_split(config.examples, problem, "test")
    eval_split = artifacts.open_split(config.examples, problem, "eval")
    problem = problem.measured(split.statistics)
    model = artifacts.open_model(config.model, problem)
    champion = None if not config.champion else artifacts.open_model(config.champion, problem, champion=True)
    models = [model] if champion is None else [model, champion]

    def measure() -> Measurement:
        what = "TensorFlow and the model" if champion is None else "TensorFlow, the model and the champion"
        report(f"loading {what}")
        import_tensorflow()
        test = predict(problem, split, models, report)
        validated = predict(problem, eval_split, models[:1], report)
        weight = validated.outcomes[0].weight
        shuffled = importance(problem, eval_split, model, weight=weight, seed=config.seed, report=report)
        return Measurement(test, validated, shuffled)

    measured = stored_or(config.measurement, measure)
    predicted, validated, shuffled = measured.test, measured.eval, measured.importance
    outcomes = predicted.outcomes[0]
    rules = None if problem.gate is None else problem.gate.of(problem.task, problem.threshold)
    judged = rules.slices if rules is not None else ()
    slices, left_out = cut(
        problem.columns,
        predicted.columns,
        judged=judged,
        minimum_size=rules.minimum_slice_size if rules is not None else 1,
    )

    report("drawing confidence intervals", done=0, total=len(slices) + 1)
    resamples = bootstrap.draw(outcomes.rows, resamples=config.resamples, seed=config.seed)
    whole = metrics.measure(outcomes)
    intervals = bootstrap.intervals(outcomes, resamples, confidence=config.confidence)
    parts: list[_SliceReport] = []
    for part in slices:
        ranges = bootstrap.intervals(outcomes, resamples, confidence=config.confidence, rows=part.rows)
        parts.append(_SliceReport(_measure_slice(outcomes, part), ranges))
        report("drawing confidence intervals", done=len(parts) + 1, total=len(slices) + 1)

    compared = _measure_champion(rules, predicted.outcomes[1], slices) if champion is not None else None
    constant = metrics.baseline_outcomes(outcomes, split.label_statistics)
    baseline = metrics.measure(constant)
    against = _baseline(rules, outcomes, constant, baseline, resamples, config.confidence)
    contest = _contest(problem, config, models, report)
    decision = gate.judge(rules, gate.ModelMetrics(whole, tuple(p.measured for p in parts)), compared, against)
    if contest is not None:
        decision = decision.joined(contest.passed, contest.checks)
    metric = rules.metric if rules is not None else next(iter(whole))
    of_gate = [
        (p.measured, p.intervals[metric]) for p in parts if rules is not None and p.measured.feature in rules.slices
    ]
    splits = [(eval_split, validated), (split, predicted)]
    doubts = [
        *warnings.too_good(whole, baseline, outcomes.rows, shuffled),
        *warnings.few_rows(outcomes, metric, intervals[metric], eval_split.shards.rows, of_gate),
        *warnings.absent_classes(problem, splits),
        *warnings.absent_slices(problem, rules, splits),
    ]
    for doubt in doubts:
        report(f"warning: {doubt}", lasting=True)
    drawn: dict[str, Any] = {"curves": curves.curves(outcomes, predicted.keys)}
    if problem.task == "regression":
        drawn["residuals_by_slice"] = curves.residuals_by_slice(outcomes, slices)
    if problem.task == "binary":
        drawn["thresholds"] = threshold_table(validated.outcomes[0], problem.threshold, problem.costs)
    document = {
        "format": 1,
        "kind": EVALUATION.kind,
        "identity": config.identity,
        "model_version": model.version,
        "examples_identity": split.identity,
        "problem": problem.name,
        "task": problem.task,
        "rows": outcomes.rows,
        "weight": None if problem.weight_column is None else problem.weight_column.name,
        "confidence": config.confidence,
        "resamples": config.resamples,
        "seed": config.seed,
        "warnings": doubts,
        "metrics": _with_intervals(whole, intervals),
        "slices": [_slice_json(part) for part in parts],
        "slices_left_out": left_out,
        "baseline": baseline,
        "importance": shuffled.to_json(),
        **drawn,
        "gate": None if rules is None else dataclasses.asdict(rules),
        "blessed": decision.blessed,
        "reasons": list(decision.reasons),
        "checks": [check.to_json() for check in decision.checks],
        "champion": None
        if champion is None or compared is None
        else {"model_version": champion.version, "metrics": dict(compared.metrics)},
        **({} if contest is None else {"newest": contest.to_json()}),
    }
    with publishing(config.output, EVALUATION) as folder:
        storage.write_json(str(folder / FILE), document)
    report(("blessed" if rules is not None else "ungated") if decision.blessed else "rejected by the gate")
    return EvaluateResult(decision.blessed, decision.reasons, whole, model.version, outcomes.rows)


def _contest(
    problem: Problem, config: EvaluateConfig, models: list[EvaluatedModel], report: Progress
) -> Contest | None:
    """The comparison with the champion on the newest span; None without a champion or a rule."""
    if config.comparison is None or len(models) < 2:
        return None
    import_tensorflow()
    return compare(
        problem,
        config.examples,
        models,
        config.comparison,
        confidence=config.confidence,
        resamples=config.resamples,
        seed=config.seed,
        report=report,
    )


def _baseline(
    rules: Gate | None,
    outcomes: Outcomes,
    constant: Outcomes,
    measured: Mapping[str, float | None],
    resamples: Resamples,
    confidence: float,
) -> gate.ConstantBaseline | None:
    """The baseline for the gate; None if the gate does not compare with a baseline."""
    if rules is None or not rules.beats_baseline:
        return None
    name = "the mean of the train labels"
    if outcomes.classes:
        name = f'the most frequent class of the train labels, "{outcomes.classes[int(constant.prediction[0])]}"'
    name += "" if outcomes.weight is None else ", by weight"
    interval = bootstrap.difference(outcomes, constant, resamples, rules.metric, confidence=confidence)
    return gate.ConstantBaseline(name, measured[rules.metric], interval, confidence, outcomes.rows)


def _measure_slice(outcomes: Outcomes, part: SliceRows) -> gate.SliceMetrics:
    return gate.SliceMetrics(part.feature, part.value, len(part.rows), metrics.measure(outcomes, part.rows))


def _measure_champion(rules: Gate | None, outcomes: Outcomes, slices: list[SliceRows]) -> gate.ModelMetrics:
    judged = rules.slices if rules is not None else ()
    parts = tuple(_measure_slice(outcomes, part) for part in slices if part.feature in judged)
    return gate.ModelMetrics(metrics.measure(outcomes), parts)


def _slice_json(part: _SliceReport) -> dict[str, Any]:
    measured = part.measured
    return {
        "feature": measured.feature,
        "value": measured.value,
        "rows": measured.rows,
        "metrics": _with_intervals(measured.metrics, part.intervals),
    }


def _with_intervals(values: Mapping[str, float | None], intervals: Mapping[str, Interval]) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        interval = None if value is None else intervals[name]
        low, high = (None, None) if interval is None else interval
        found[name] = {"value": value, "low": low, "high": high}
    return found
