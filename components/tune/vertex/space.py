"""Search space of a Problem as the study of a hyperparameter tuning job, checked by Vertex AI's rules.

The parameters equal the output of `serialize_parameters` of google-cloud-pipeline-components, with names for its
numbers; that package takes seconds to import, and headrace's images do not contain it.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from headrace.components.train.request import TrainingRequest
from headrace.core.errors import DataError, ProblemError, UsageError
from headrace.core.problem.tuning import Choice, Range, Tuning

# The metric that a trial reports and the job minimizes.
METRIC = "eval_loss"
GRID = "GRID_SEARCH"

_UNSPECIFIED, _LINEAR, _LOG = "SCALE_TYPE_UNSPECIFIED", "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE"
_SCALES = (_UNSPECIFIED, _LINEAR, _LOG, "UNIT_REVERSE_LOG_SCALE")
_USUAL_PARAMETERS, _MOST_DISCRETE = 16, 1000
_LEAST_APART = 1e-10
_INT64 = range(-(2**63), 2**63)
# The service passes numbers as texts or as doubles: a smaller difference is rounding.
_SAME = 1e-6

_STUDY = "google.cloud.aiplatform_v1.StudySpec"
_JOB = "google.cloud.aiplatform_v1.HyperparameterTuningJob"
_UNVERIFIED = "unverified: on 2026-11-21 no page or message of the service was found to state it"
RULES = {
    "parameters": f"A study has 1 parameter or more ({_STUDY}.parameters)",
    "many_parameters": f"A study has at most {_USUAL_PARAMETERS} parameters ({_UNVERIFIED})",
    "parameter_id": f"A parameter's id has no whitespace, and is unique ({_STUDY}.ParameterSpec)",
    "bounds": f"The maximum of a range is greater than or equal to its minimum ({_STUDY}.ParameterSpec)",
    "integer": f"An INTEGER has 64 bits ({_STUDY}.ParameterSpec.IntegerValueSpec)",
    "discrete": f"A DISCRETE parameter has at most {_MOST_DISCRETE:,} values, in increasing order and at least 1e-10"
    f" apart ({_STUDY}.ParameterSpec.DiscreteValueSpec)",
    "categorical": f"A CATEGORICAL parameter has texts as values, and no scale ({_STUDY}.ParameterSpec)",
    "logarithm": f"On a logarithmic scale every value is greater than 0 ({_STUDY}.ParameterSpec.ScaleType)",
    "grid": f"A grid search accepts only INTEGER, CATEGORICAL and DISCRETE parameters ({_STUDY}.Algorithm)",
    "trials": f"A job has 1 trial or more, and 1 or more of them at a time ({_JOB})",
    "parallel": f"A job has at most as many trials at a time as in all ({_UNVERIFIED})",
}
# Rules that cause warnings and do not refuse a search.
UNVERIFIED = ("many_parameters", "parallel")


@dataclass(frozen=True)
class StudyViolation:
    """A broken rule of a study.

    Attributes:
        rule: its name in RULES.
        where: the parameter or field.
        received: its value.
    """

    rule: str
    where: str
    received: str


def parameter_specs(tuning: Tuning) -> list[dict[str, Any]]:
    """The study's parameters.

    Whole numbers are INTEGER, others DOUBLE, both DISCRETE where there is a step, and a Choice is CATEGORICAL.
    """
    return [
        {"parameter_id": name, **_spec(values), "conditional_parameter_specs": []}
        for name, values in tuning.space.items()
    ]


def metric_specs() -> list[dict[str, Any]]:
    """The study's metric, which is minimized, as in every search."""
    return [{"metric_id": METRIC, "goal": "MINIMIZE"}]


def check(tuning: Tuning, *, trials: int, parallel: int, algorithm: str = "") -> None:
    """Refuses a search that Vertex AI would reject; rules without a source refuse nothing.

    Args:
        tuning: of the Problem.
        trials: number of trials.
        parallel: maximum trials at a time.
        algorithm: the service's name of the algorithm, or "".

    Raises:
        ProblemError: Vertex AI does not support the space.
        UsageError: the numbers of trials are not valid.
    """
    for broken in _verified(broken_numbers(trials, parallel)):
        raise UsageError(
            "the numbers of trials are not valid",
            where=broken.where,
            expected=RULES[broken.rule],
            received=broken.received,
        )
    for broken in _verified(broken_parameters(parameter_specs(tuning), algorithm)):
        raise ProblemError(
            "Vertex AI does not support this search",
            where=f'Tuning.space["{broken.where}"]' if broken.where in tuning.space else "Tuning.space",
            expected=RULES[broken.rule],
            received=broken.received,
        )


def broken_numbers(trials: int, parallel: int) -> Iterator[StudyViolation]:
    """The rules that the numbers of trials break."""
    if trials < 1 or parallel < 1 or parallel > trials:
        rule = "trials" if min(trials, parallel) < 1 else "parallel"
        yield StudyViolation(rule, "trials, parallel", f"{parallel} of {trials} at a time")


def broken_parameters(specs: Sequence[Mapping[str, Any]], algorithm: str = "") -> Iterator[StudyViolation]:
    """The rules that a study's parameters break.

    Args:
        specs: in the form of `parameter_specs`.
        algorithm: the service's name of the algorithm, or "".
    """
    if not 1 <= len(specs) <= _USUAL_PARAMETERS:
        yield StudyViolation("many_parameters" if specs else "parameters", "parameters", f"{len(specs)}")
    seen: set[str] = set()
    for spec in specs:
        name = str(spec.get("parameter_id", ""))
        if not name or name in seen or any(letter.isspace() for letter in name):
            yield StudyViolation("parameter_id", name, repr(name))
        seen.add(name)
        yield from _broken(name, spec)
        if algorithm == GRID and spec.get("double_value_spec"):
            yield StudyViolation("grid", name, "DOUBLE")


def parameters_of(tuning: Tuning, given: Mapping[str, Any]) -> dict[str, Any]:
    """Converts values that the service chose to those of Training and `hyperparameters`.

    Args:
        tuning: of the Problem.
        given: values by name: texts from a trial's command line, or numbers from the job.

    Raises:
        DataError: a value is missing, or is not in the space.
    """
    missing = [name for name in tuning.space if name not in given]
    if missing:
        raise DataError(
            "a trial has no value of a parameter",
            where=", ".join(missing),
            received=", ".join(given) or "nothing",
        )
    return {name: _value(name, values, given[name]) for name, values in tuning.space.items()}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sets of parameters are equal, to the digits of a number that the service preserves."""
    return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())


def _verified(broken: Iterator[StudyViolation]) -> Iterator[StudyViolation]:
    return (one for one in broken if one.rule not in UNVERIFIED)


def _spec(values: Range | Choice) -> dict[str, Any]:
    if isinstance(values, Choice):
        return {"categorical_value_spec": {"values": list(_texts(values))}, "scale_type": _UNSPECIFIED}
    scale = _LOG if values.log else _LINEAR
    if values.step is not None and not (values.whole and values.step == 1):
        return {"discrete_value_spec": {"values": [float(step) for step in _steps(values)]}, "scale_type": scale}
    if values.whole:
        # Protocol buffers write 64-bit integers as strings in JSON.
        bounds = {"min_value": str(values.low), "max_value": str(values.high)}
        return {"integer_value_spec": bounds, "scale_type": scale}
    return {"double_value_spec": {"min_value": float(values.low), "max_value": float(values.high)}, "scale_type": scale}


def _texts(choice: Choice) -> dict[str, Any]:
    """The options by their texts in the study: strings unchanged, unless two options would have the same text."""
    plain = [option if isinstance(option, str) else json.dumps(option) for option in choice.options]
    if len(set(plain)) < len(plain) or "" in plain:
        plain = [json.dumps(option) for option in choice.options]
    return dict(zip(plain, choice.options, strict=True))


def _steps(values: Range) -> list[int | float]:
    """The values of a range with a step; at most one more than the limit."""
    low, high, step = (Decimal(str(value)) for value in (values.low, values.high, values.step))
    count = min(int((high - low) // step) + 1, _MOST_DISCRETE + 1)
    return [_plain(low + number * step, whole=values.whole) for number in range(count)]


def _value(name: str, values: Range | Choice, given: Any) -> Any:
    if isinstance(values, Choice):
        known = _texts(values)
        if str(given) not in known:
            raise _foreign(name, f"one of {', '.join(known)}", given)
        return known[str(given)]
    try:
        number = Decimal(str(given))
    except ArithmeticError as error:
        raise _foreign(name, "a number", given) from error
    if not number.is_finite():
        raise _foreign(name, "a number", given)
    inside = values.low <= number <= values.greatest if values.whole else _within(float(number), values)
    if not inside:
        raise _foreign(name, f"{values.low!r} to {values.greatest!r}", given)
    nearest = _nearest(values, number)
    # Whole numbers are exact; of others the service preserves some digits.
    if number != nearest if values.whole else not _equal(float(nearest), float(number)):
        raise _foreign(name, f"steps of {values.step}" if values.step else "a whole number", given)
    # A logarithm and its inverse may exceed a bound by a last digit.
    return nearest if values.whole else min(max(nearest, values.low), values.greatest)


def _nearest(values: Range, number: Decimal) -> int | float:
    """The value of a range that is nearest to a number."""
    if values.step is None:
        return _plain(number, whole=values.whole)
    low, step = Decimal(str(values.low)), Decimal(str(values.step))
    return _plain(low + ((number - low) / step).to_integral_value() * step, whole=values.whole)


def _plain(number: Decimal, *, whole: bool) -> int | float:
    return int(number.to_integral_value()) if whole else float(number)


def _within(number: float, values: Range) -> bool:
    return values.low <= number <= values.greatest or _equal(number, values.low) or _equal(number, values.greatest)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(one, other, rel_tol=_SAME, abs_tol=1e-12)
    return bool(one == other)


def _foreign(name: str, expected: str, given: Any) -> DataError:
    return DataError(
        "a trial has a value outside the search space", where=name, expected=expected, received=repr(given)
    )


def _broken(name: str, spec: Mapping[str, Any]) -> Iterator[StudyViolation]:
    scale = spec.get("scale_type") or _UNSPECIFIED
    # The helpers of google-cloud-pipeline-components write an enum as a number.
    scale = _SCALES[int(scale)] if isinstance(scale, int | float) else scale
    values: Sequence[Any] = ()
    if "categorical_value_spec" in spec:
        texts = spec["categorical_value_spec"].get("values", [])
        if not texts or not all(isinstance(text, str) and text for text in texts) or scale != _UNSPECIFIED:
            yield StudyViolation("categorical", name, repr(texts))
        return
    if "discrete_value_spec" in spec:
        values = spec["discrete_value_spec"].get("values", [])
        apart = all(later - sooner >= _LEAST_APART for sooner, later in itertools.pairwise(values))
        if not 1 <= len(values) <= _MOST_DISCRETE or not apart:
            number = f"more than {_MOST_DISCRETE:,}" if len(values) > _MOST_DISCRETE else f"{len(values)}"
            yield StudyViolation("discrete", name, f"{number} values")
    else:
        kind = "integer_value_spec" if "integer_value_spec" in spec else "double_value_spec"
        read = int if kind == "integer_value_spec" else float
        bounds = spec.get(kind, {})
        try:
            values = [read(bounds.get("min_value", 0)), read(bounds.get("max_value", 0))]
        except (TypeError, ValueError):
            yield StudyViolation("bounds", name, repr(bounds))
            return
        received = f"{values[0]} to {values[1]}"
        if kind == "integer_value_spec" and not all(value in _INT64 for value in values):
            yield StudyViolation("integer", name, received)
        if values[0] > values[1]:
            yield StudyViolation("bounds", name, received)
    if scale in _SCALES[2:] and values and min(values) <= 0:
        yield StudyViolation("logarithm", name, f"{min(values)}")


def check_budget(request: TrainingRequest) -> None:
    """Refuses a budget that a hyperparameter tuning job does not support.

    Raises:
        UsageError: there is a budget of hours or money for the whole search.
    """
    if request.options.budget.hours is not None:
        raise UsageError(
            "a search on Vertex AI does not support a budget of hours or money",
            where="training",
            expected="trials and parallel, and [vertex.training] timeout_hours of each trial",
            received=f"{request.options.budget.hours:g} hours",
        )
