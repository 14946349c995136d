from __future__ import annotations

import math

import pytest

from headrace.components.train.loop.budget import Meter, Pace, duration
from headrace.components.train.options import Budget


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def metered(clock: Clock, **bounds: float | str) -> Meter:
    return Meter(Budget(**bounds), clock=clock)  # type: ignore[arg-type]


def test_it_counts_time_and_money_of_all_attempts() -> None:
    clock = Clock()
    meter = metered(clock, price_per_hour=36.0)
    clock.now = 350.0
    assert (meter.seconds, meter.cost) == (250.0, 2.5)
    meter.resume(1000.0)
    assert (meter.seconds, meter.cost) == (1250.0, 12.5)
    assert metered(clock).cost is None


def test_without_a_bound_it_is_never_exhausted() -> None:
    clock = Clock()
    meter = metered(clock, price_per_hour=36.0)
    clock.now = 1e9
    assert meter.exhausted() == ""
    assert meter.seconds_left() == math.inf


@pytest.mark.parametrize(
    ("bounds", "last", "said"),
    [
        ({"max_hours": 2.0}, 7199.0, "max_hours 2: 2 h used"),
        ({"max_cost": 1.0, "price_per_hour": 0.5}, 7199.0, "max_cost 1: 2 h, 1.00 used"),
        ({"max_hours": 2.0, "max_cost": 9.0, "price_per_hour": 9.0}, 3599.0, "max_cost 9: 1 h, 9.00 used"),
        ({"max_hours": 0.5, "max_cost": 9.0, "price_per_hour": 9.0}, 1799.0, "max_hours 0.5: 0.5 h, 4.50 used"),
    ],
)
def test_the_first_bound_counts(bounds: dict[str, float], last: float, said: str) -> None:
    clock = Clock()
    meter = metered(clock, **bounds)
    clock.now = 100.0 + last
    assert meter.exhausted() == ""
    assert meter.exhausted(reserve_seconds=1.0) != ""
    assert meter.seconds_left() == pytest.approx(1.0)
    clock.now += 1
    assert meter.exhausted() == said


@pytest.mark.parametrize(
    ("target", "measured", "said"),
    [
        ("", {"accuracy": 1.0}, ""),
        ("accuracy=0.9", {"accuracy": 0.89}, ""),
        ("accuracy=0.9", {"accuracy": 0.9}, "target: accuracy 0.9, requested was 0.9"),
        ("log_loss=0.3", {"log_loss": 0.31}, ""),
        ("log_loss=0.3", {"log_loss": 0.2512345}, "target: log_loss 0.2512, requested was 0.3"),
        ("log_loss=0.3", {"log_loss": math.nan}, ""),
        ("log_loss=0.3", {}, ""),
    ],
)
def test_a_target_is_reached_when_it_is_as_good_or_better(target: str, measured: dict[str, float], said: str) -> None:
    assert metered(Clock(), target=target).reached(measured) == said


def test_a_forecast_adds_what_is_to_come() -> None:
    clock = Clock()
    meter = metered(clock, max_hours=2.0, price_per_hour=3.0)
    clock.now += 60
    forecast = meter.forecast(Pace(0.5, 20.0), steps=7000, evaluations=2)
    assert (forecast.left_seconds, forecast.seconds, forecast.enough) == (3540.0, 3600.0, True)
    assert forecast.cost == 3.0
    assert forecast.text == (
        "forecast: 59 min remaining, 60 min in total, 3.00 at 3 per hour, unless early stopping ends it sooner"
    )
    more = meter.forecast(Pace(0.5), steps=28560, evaluations=9)
    assert (more.seconds, more.enough) == (14340.0, False)
    assert more.text.endswith("Warning: max_hours 2 is too small: it ends training after 50% of the remaining time")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.25, "0.25 s"), (1.0, "1 s"), (89.0, "89 s"), (90.0, "2 min"), (5400.0, "1.5 h")]
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
