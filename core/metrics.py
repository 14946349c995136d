"""Metrics of each task, computed from sums over rows, so that a bootstrap can reweight the same sums.

Every metric except the two that rank is a function of a few sums over rows. `sums` adds them up in groups of rows,
`from_sums` turns sums (of all rows, or of any weighted combination of groups) into metrics, and `from_ranking` does
the same for `auc` and `auc_pr` from counts by score. A metric that is undefined for the rows is NaN here, and None in
what `measure` returns.

Let y be the label, p what the model predicts, and mean() the mean over rows.

With sample weights, a row counts as its weight: mean() is the weighted mean, sum() and counts are sums of weights, and
in `auc` a pair of rows counts as the product of theirs (as scikit-learn's sample_weight). A row of weight 0 counts as
if it were not there, and a metric is undefined where no weight is left.

regression
    mean_squared_error       mean((p - y)^2); undefined where it is beyond float64
    root_mean_squared_error  its square root, in the units of the label
    mean_absolute_error      mean(|p - y|)
    mean_bias                mean(p - y): positive where the model predicts too much
    r_squared                1 - sum((p - y)^2) / sum((y - mean(y))^2), the coefficient of determination; undefined
                             where all labels are equal

binary (the second value of the label's vocabulary is the positive class; TP, FP, FN count the model's own `prediction`)
    accuracy                 fraction of rows whose predicted class is the label
    precision                TP / (TP + FP); undefined where nothing is predicted positive
    recall                   TP / (TP + FN); undefined where no label is positive
    f1_score                 2 TP / (2 TP + FP + FN), their harmonic mean; undefined where neither occurs
    auc                      probability that a positive row scores above a negative one, ties counting half: the area
                             under the ROC curve by the Mann-Whitney statistic (Hanley and McNeil 1982); undefined
                             where only one class occurs
    auc_pr                   average precision: precision at each score, weighted by the recall gained there, without
                             interpolation (as scikit-learn's average_precision_score); undefined where only one
                             class occurs
    log_loss                 mean(-log(probability of the label)), in nats, probabilities clipped to within one float32
                             epsilon of 0 and 1, since the model's outputs are float32
    brier_score              mean((probability - y)^2) with y in {0, 1} (Brier 1950)

multiclass
    accuracy, log_loss       as above, the probability clipped away from 0
    macro_precision, macro_recall, macro_f1_score
                             unweighted means over the classes that occur as labels or predictions; a class that is
                             never predicted has precision 0, one that is never the label has recall 0 (scikit-learn's
                             average="macro", zero_division=0)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headrace.core.problem import METRICS, Task

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Below this fraction of the squares about the split's mean, the squares about a slice's own mean are rounding.
_NO_VARIANCE = 1e-12
_EPSILON = float(np.finfo(np.float32).eps)
# Squares of numbers up to 2 ** 200, and of numbers from 2 ** -200, fit float64 with their sums.
_PLAIN_EXPONENT = 200


@dataclass(frozen=True)
class Outcomes:
    """Labels and predictions of the same n rows.

    Attributes:
        task: what was predicted.
        classes: the label's vocabulary in its order; empty for regression.
        label: [n], the value (regression, float64) or the index of the class (int64).
        prediction: [n], as `label`.
        probability: [n] of the positive class (binary), [n, classes] (multiclass), or None (regression).
        weight: [n] sample weights, 0 or more; None where all rows count alike.
    """

    task: Task
    classes: tuple[str, ...]
    label: NDArray[np.float64 | np.int64]
    prediction: NDArray[np.float64 | np.int64]
    probability: NDArray[np.floating] | None = None
    weight: Floats | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.label)

    @cached_property
    def exponent(self) -> int:
        """Sums are of labels and predictions divided by 2 ** exponent, where their squares would not fit float64."""
        if self.task != "regression" or not self.rows:
            return 0
        exponent = int(np.frexp(max(np.abs(self.label).max(), np.abs(self.prediction).max()))[1])
        return exponent if abs(exponent) > _PLAIN_EXPONENT else 0

    @cached_property
    def likelihood(self) -> Floats:
        """[n], the probability that the model gave the label."""
        probability = _probability(self)
        if self.task == "binary":
            chosen = np.where(self.label == 1, probability, 1.0 - probability.astype(np.float64))
        else:
            chosen = probability[np.arange(self.rows), self.label.astype(np.int64)]
        return np.asarray(chosen, np.float64)

    @cached_property
    def terms(self) -> Floats:
        """[terms, n], what each row adds to each sum; the first is its weight."""
        terms = self._plain_terms()
        return terms if self.weight is None else terms * self.weight

    def _plain_terms(self) -> Floats:
        one = np.ones(self.rows)
        if self.task == "regression":
            label, prediction = self.label, self.prediction.astype(np.float64)
            if self.exponent:
                label, prediction = np.ldexp(label, -self.exponent), np.ldexp(prediction, -self.exponent)
            error = prediction - label
            # About any number near the mean: it only keeps digits.
            centred = label - (label.mean() if self.rows else 0.0)
            return np.stack([one, error, np.abs(error), error**2, centred, centred**2])
        correct = (self.label == self.prediction).astype(np.float64)
        ceiling = 1.0 - _EPSILON if self.task == "binary" else 1.0
        log_loss = -np.log(np.clip(self.likelihood, _EPSILON, ceiling))
        if self.task == "multiclass":
            return np.stack([one, correct, log_loss])
        positive = (self.label == 1).astype(np.float64)
        claimed = (self.prediction == 1).astype(np.float64)
        squared = (_probability(self).astype(np.float64) - positive) ** 2
        return np.stack([one, correct, log_loss, squared, positive, claimed, positive * claimed])

    @cached_property
    def ranks(self) -> Integers:
        """[n], the rank of each row's probability among the distinct ones, 0 being the highest (binary only)."""
        ranks: Integers = np.unique(-_probability(self), return_inverse=True)[1].astype(np.int64)
        return ranks


def measure(outcomes: Outcomes, rows: Integers | None = None) -> dict[str, float | None]:
    """The metrics of METRICS for the task, in its order; None where a metric is undefined.

    Args:
        outcomes: of n rows.
        rows: indices of the rows to measure; all if None.
    """
    found: dict[str, Floats] = from_sums(outcomes, sums(outcomes, rows=rows)[:, 0])
    if outcomes.task == "binary":
        found |= from_ranking(*ranking(outcomes, rows))
    values = {name: float(found[name]) for name in METRICS[outcomes.task]}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def sums(outcomes: Outcomes, *, rows: Integers | None = None, groups: Integers | None = None, count: int = 1) -> Floats:
    """[sums, count], the sums that `from_sums` needs, over each group of rows.

    Args:
        outcomes: of n rows.
        rows: indices of the rows to add up; all if None.
        groups: for each of these rows its group, below `count`; all in group 0 if None.
        count: number of groups.
    """
    terms = outcomes.terms if rows is None else outcomes.terms[:, rows]
    if groups is None:
        groups = np.zeros(terms.shape[1], np.int64)
    parts = [np.bincount(groups, weights=term, minlength=count) for term in terms]
    if outcomes.task == "multiclass":
        label = outcomes.label.astype(np.int64) if rows is None else outcomes.label[rows].astype(np.int64)
        prediction = (
            outcomes.prediction.astype(np.int64) if rows is None else outcomes.prediction[rows].astype(np.int64)
        )
        correct = label == prediction
        size = count * len(outcomes.classes)
        every, weight = np.ones(len(label), np.bool_), weights_of(outcomes, rows)
        for classes, of in ((label, every), (prediction, every), (label, correct)):
            by_class = np.bincount(
                classes[of] * count + groups[of], weights=None if weight is None else weight[of], minlength=size
            )
            parts.extend(by_class.reshape(len(outcomes.classes), count).astype(np.float64))
    return np.stack(parts)


def from_sums(outcomes: Outcomes, added: Floats) -> dict[str, Floats]:
    """The metrics that follow from sums: each has the shape of `added` without its first axis, NaN where undefined.

    Args:
        outcomes: whose `sums` these are, weighted in any way.
        added: [sums, ...]
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        if outcomes.task == "regression":
            rows, error, absolute, squared, centred, centred_squared = added
            about_mean = centred_squared - centred**2 / rows
            varies = about_mean > _NO_VARIANCE * centred_squared
            found = {
                "root_mean_squared_error": np.sqrt(squared / rows),
                "mean_squared_error": squared / rows,
                "mean_absolute_error": absolute / rows,
                "mean_bias": error / rows,
            }
            if outcomes.exponent:
                found = {name: np.ldexp(value, outcomes.exponent) for name, value in found.items()}
                found["mean_squared_error"] = np.ldexp(found["mean_squared_error"], outcomes.exponent)
            return {**found, "r_squared": 1.0 - squared / np.where(varies, about_mean, np.nan)}
        if outcomes.task == "binary":
            rows, correct, log_loss, brier, positive, claimed, hit = added
            return {
                "accuracy": correct / rows,
                "log_loss": log_loss / rows,
                "brier_score": brier / rows,
                "precision": hit / claimed,
                "recall": hit / positive,
                "f1_score": 2.0 * hit / (positive + claimed),
            }
        rows, correct, log_loss = added[:3]
        label, claimed, hit = added[3:].reshape(3, len(outcomes.classes), *added.shape[1:])
        occurs = (label + claimed) > 0
        among = occurs.sum(axis=0)
        return {
            "accuracy": correct / rows,
            "log_loss": log_loss / rows,
            "macro_precision": np.where(claimed > 0, hit / claimed, 0.0).sum(axis=0) / among,
            "macro_recall": np.where(label > 0, hit / label, 0.0).sum(axis=0) / among,
            "macro_f1_score": np.where(occurs, 2.0 * hit / (label + claimed), 0.0).sum(axis=0) / among,
        }


def ranking(outcomes: Outcomes, rows: Integers | None = None) -> tuple[Floats, Floats]:
    """[scores] each, the weights of positive and of negative rows with each score, from the highest score on."""
    ranks = outcomes.ranks if rows is None else outcomes.ranks[rows]
    positive = (outcomes.label if rows is None else outcomes.label[rows]) == 1
    size, weight = int(ranks.max()) + 1 if len(ranks) else 0, weights_of(outcomes, rows)
    of_positive, of_negative = (
        np.bincount(ranks[of], weights=None if weight is None else weight[of], minlength=size).astype(np.float64)
        for of in (positive, ~positive)
    )
    return of_positive, of_negative


def weights_of(outcomes: Outcomes, rows: Integers | None) -> Floats | None:
    """The sample weights of some rows, all if None; None without weights."""
    return outcomes.weight if outcomes.weight is None or rows is None else outcomes.weight[rows]


def from_ranking(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> dict[str, Floats]:
    """`auc` and `auc_pr` from counts (or weights) by score.

    Args:
        positive: [scores, ...], the weight of positive rows at each score, from the highest score on.
        negative: as `positive`, of negative rows.
    """
    above_positive, above_negative = np.cumsum(positive, axis=0), np.cumsum(negative, axis=0)
    shape = positive.shape[1:]
    positives = above_positive[-1] if len(positive) else np.zeros(shape)
    negatives = above_negative[-1] if len(negative) else np.zeros(shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        beaten = (positive * (negatives - above_negative + 0.5 * negative)).sum(axis=0, dtype=np.float64)
        precision = np.where(positive > 0, above_positive / (above_positive + above_negative), 0.0)
        both = (positives > 0) & (negatives > 0)
        return {
            # Sums of weights are rounded.
            "auc": np.where(both, np.minimum(beaten / (positives * negatives), 1.0), np.nan),
            "auc_pr": np.where(
                both, np.minimum((positive * precision).sum(axis=0, dtype=np.float64) / positives, 1.0), np.nan
            ),
        }


def baseline(outcomes: Outcomes, label_statistics: Mapping[str, object]) -> dict[str, float | None]:
    """The metrics of `baseline_outcomes`; arguments as there."""
    return measure(baseline_outcomes(outcomes, label_statistics))


def baseline_outcomes(outcomes: Outcomes, label_statistics: Mapping[str, object]) -> Outcomes:
    """Outcomes of a model without features: it predicts the mean of the train labels, or their most frequent class.

    Its probabilities are the frequencies of the classes among the train labels. Sample weights weigh mean, frequencies
    and metrics.

    Args:
        outcomes: whose labels are predicted.
        label_statistics: the label's entry in statistics.json; with weights as `as_weighted` gives it.
    """
    if outcomes.task == "regression":
        mean = np.full(outcomes.rows, float(str(label_statistics["mean"])))
        return dataclasses.replace(outcomes, prediction=mean)
    counted = label_statistics["vocabulary"]
    pairs = counted if isinstance(counted, list) else []
    counts = {str(value): float(number) for value, number in pairs}
    shares = np.array([counts.get(name, 0) for name in outcomes.classes], np.float64)
    shares /= shares.sum() or 1.0
    prediction = np.full(outcomes.rows, int(shares.argmax()), np.int64)
    if outcomes.task == "binary":
        probability = np.full(outcomes.rows, shares[1])
    else:
        probability = np.broadcast_to(shares, (outcomes.rows, len(shares)))
    return dataclasses.replace(outcomes, prediction=prediction, probability=probability)


def _probability(outcomes: Outcomes) -> NDArray[np.floating]:
    if outcomes.probability is None:
        raise ValueError("classification needs probabilities")
    return outcomes.probability
