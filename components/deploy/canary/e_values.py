"""E-values of a canary's evidence: nonnegative numbers with a mean of at most 1 while the canary is no worse.

A test for a fixed sample size is not valid if it is repeated after every batch: the repetitions add up to many false
alarms. An e-process may be checked at any time: the probability that it ever reaches 1 / alpha is at most alpha (Ville
1939), and weighted means of e-processes are e-processes. That makes canary tests always valid, as in Lindon, Sanden and
Shirikian 2022, "Rapid regression detection in software deployments through sequential testing", arXiv 2205.14762. All
functions use only cumulative counts, and return natural logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from headrace.components.deploy.canary.evidence import Differences, point

# Odds ratios of a worse canary; the mixture costs at most ln(12).
_ODDS = tuple(1.25 * 1.35**step for step in range(12))
# Positions, between the limit and 1, of the probabilities of the mixture.
_BETWEEN = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
# Weights of the prior on the canary's fraction of requests: for requests split at random, and by keys of unequal
# frequency.
_PRIORS = (2000.0, 50.0)
# Bisections of a range of 2, so that the ends of intervals are exact to 2e-6.
_HALVINGS = 20


@dataclass(frozen=True)
class Counts:
    """Events in the requests of both versions during one step.

    Attributes:
        percent: configured traffic of the canary in percent, 1 to 99.
        canary: number of events of the canary.
        canary_requests: number of requests of the canary, with and without the event.
        stable: number of events of the stable version.
        stable_requests: number of requests of the stable version, with and without the event.
    """

    percent: int
    canary: int
    canary_requests: int
    stable: int
    stable_requests: int


def log_e_attribution(steps: Sequence[Counts]) -> float:
    """Log e-value against the canary: events, such as errors, are more frequent in it than in the stable version.

    Method. If both versions fail equally often, an error is independent of the version: given the errors, each request
    is the canary's with the same probability, whatever the error rate is at the time. So an outage of both versions is
    no evidence. The e-value is a likelihood ratio of the versions given the errors: a mixture over odds ratios, divided
    by the maximum likelihood with an odds ratio of at most 1 (universal inference: Wasserman, Ramdas and Balakrishnan
    2020, arXiv 1912.11436). Lindon and Malek 2022, "Anytime-valid inference for multinomial count data", infer this way
    from the version of an event; here the fraction of requests is unknown. Each step has its own fraction, so that
    widening the canary while errors are frequent is no evidence either.

    Args:
        steps: counts by step; the odds ratio is the same in all.
    """
    ratios = [0.0] * len(_ODDS)
    common = 0.0
    for step in steps:
        events, others = step.canary + step.stable, step.canary_requests - step.canary
        stable_others = step.stable_requests - step.stable
        if not events + others + stable_others:
            continue
        share = step.percent / 100
        for at, odds in enumerate(_ODDS):
            part = odds * share / (odds * share + 1 - share)
            ratios[at] += step.canary * math.log(part) + step.stable * math.log1p(-part)
        common += _log_mean([_log_beta_binary(others, stable_others, share, prior) for prior in _PRIORS])
        if step.canary * stable_others > step.stable * others:
            # More errors of the canary: the most likely odds ratio of at most 1 is 1.
            common -= _log_likelihood(step.canary_requests, step.stable_requests)
        else:
            common -= _log_likelihood(step.canary, step.stable) + _log_likelihood(others, stable_others)
    return _log_mean(ratios) + common


def log_e_excess(steps: Sequence[Counts], slack: float) -> float:
    """Log e-value against the canary: its fraction of events exceeds that of the stable version by more than a slack.

    Method. Universal inference, as in `log_e_attribution`, on two Bernoulli streams: a Beta(1/2, 1/2) mixture for each,
    divided by the maximum likelihood under the limit.

    Args:
        steps: counts by step; every step has its own fractions.
        slack: tolerated difference of the fractions, in [0, 1).

    Returns:
        The log e-value; minus infinity if the canary's fraction is larger in no step.
    """
    if all(step.canary * step.stable_requests <= step.stable * step.canary_requests for step in steps):
        return -math.inf
    total = 0.0
    for step in steps:
        quiet, stable_quiet = step.canary_requests - step.canary, step.stable_requests - step.stable
        total += _log_beta_binary(step.canary, quiet, 0.5, 1.0)
        total += _log_beta_binary(step.stable, stable_quiet, 0.5, 1.0)
        total -= _greatest(step, slack)
    return total


def log_e_fraction(events: int, rows: int, limit: float) -> float:
    """Log e-value: the probability of an event per row is above a limit.

    Method. A mixture of likelihood ratios (Wald 1945) of larger probabilities to the limit.

    Args:
        events: number of rows with the event.
        rows: number of rows.
        limit: maximum probability, in (0, 1).
    """
    parts = []
    for between in _BETWEEN:
        more = limit + (1 - limit) * between
        parts.append(events * math.log(more / limit) + (rows - events) * math.log((1 - more) / (1 - limit)))
    return _log_mean(parts)


def log_e_mean(differences: Differences, limit: float) -> float:
    """Log e-value: the mean of differences in [-1, 1] is above a limit.

    Method. A mixture of bets (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting",
    arXiv 2010.09686), which adapts to the variance. A difference between two points is divided between both: because
    the logarithm is concave, that makes the e-value smaller, never larger.

    Args:
        differences: paired differences, canary minus stable version.
        limit: maximum mean, in (-1, 1).
    """
    counted = [(point(at) - limit, count) for at, count in enumerate(differences.counts) if count]
    bets = [0.95 / (1 + limit) / 2**halvings for halvings in range(10)]
    return _log_mean([sum(count * math.log1p(bet * above) for above, count in counted) for bet in bets])


def fraction_interval(events: int, rows: int, alpha: float) -> tuple[float, float]:
    """Always-valid interval of the probability of an event per row: the limits that `log_e_fraction` does not reject.

    Args:
        events: number of rows with the event.
        rows: number of rows.
        alpha: maximum probability that the interval is ever wrong, however often it is computed, in (0, 1).

    Returns:
        The interval's ends, in [0, 1].
    """
    low = _bound(lambda limit: log_e_fraction(events, rows, limit), 0.0, alpha / 2)
    return low, 1 - _bound(lambda limit: log_e_fraction(rows - events, rows, limit), 0.0, alpha / 2)


def mean_interval(differences: Differences, alpha: float) -> tuple[float, float]:
    """Always-valid interval of the mean of differences: the limits that the bets of `log_e_mean` do not reject.

    Args:
        differences: paired differences, canary minus stable version.
        alpha: maximum probability that the interval is ever wrong, however often it is computed, in (0, 1).

    Returns:
        The interval's ends, in [-1, 1].
    """
    mirrored = Differences(differences.counts[::-1])
    low = _bound(lambda limit: log_e_mean(differences, limit), -1.0, alpha / 2)
    return low, -_bound(lambda limit: log_e_mean(mirrored, limit), -1.0, alpha / 2)


def _bound(log_e: Callable[[float], float], low: float, alpha: float) -> float:
    """The largest limit that is rejected, or `low` if none is. The e-value decreases as the limit grows."""
    high, needed = 1.0, -math.log(alpha)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if log_e(middle) >= needed else (low, middle)
    return low


def log_mean(weighted: Iterable[tuple[float, float]]) -> float:
    """Logarithm of the weighted mean of e-values.

    Args:
        weighted: pairs of a weight above 0 and a log e-value; the weights sum to 1.
    """
    return _log_sum([math.log(weight) + value for weight, value in weighted])


def _log_mean(values: Sequence[float]) -> float:
    return _log_sum(values) - math.log(len(values))


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))


def _log_beta_binary(ones: int, zeros: int, mean: float, weight: float) -> float:
    """Log probability of a binary sequence whose probability has a Beta prior with a mean and a weight in rows."""
    a, b = weight * mean, weight * (1 - mean)
    lgamma = math.lgamma
    return lgamma(ones + a) + lgamma(zeros + b) - lgamma(ones + zeros + weight) - lgamma(a) - lgamma(b) + lgamma(weight)


def _log_likelihood(ones: int, zeros: int) -> float:
    """Maximum log likelihood of a binary sequence."""
    total = ones + zeros
    return sum(count * math.log(count / total) for count in (ones, zeros) if count)


def _greatest(step: Counts, slack: float) -> float:
    """Maximum log likelihood of both streams if the canary's fraction exceeds the stable one by at most a slack."""
    ones, zeros = step.canary, step.canary_requests - step.canary
    stable_ones, stable_zeros = step.stable, step.stable_requests - step.stable
    fraction = ones / step.canary_requests if step.canary_requests else 0.0
    stable_fraction = stable_ones / step.stable_requests if step.stable_requests else 1.0
    if fraction <= stable_fraction + slack:
        return _log_likelihood(ones, zeros) + _log_likelihood(stable_ones, stable_zeros)

    def slope(p: float) -> float:
        """Derivative of the log likelihood at stable fraction p and canary fraction p + slack; decreases in p."""
        return (
            _ratio(stable_ones, p)
            - _ratio(stable_zeros, 1 - p)
            + _ratio(ones, p + slack)
            - _ratio(zeros, 1 - p - slack)
        )

    low, high = stable_fraction, min(fraction - slack, 1 - slack)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    p = (low + high) / 2
    return sum(
        count * math.log(max(q, 1e-300))
        for count, q in ((stable_ones, p), (stable_zeros, 1 - p), (ones, p + slack), (zeros, 1 - p - slack))
        if count
    )


def _ratio(count: int, p: float) -> float:
    return count / max(p, 1e-300) if count else 0.0
