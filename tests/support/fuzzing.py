"""Hypothesis profiles: property tests see the same examples at each `make test`, and new ones at each `make fuzz`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How many times the examples of `make test` a round of `make fuzz` tries.
_FUZZ_FACTOR = 3


def register_profiles() -> None:
    """Registers the profiles `test`, which is loaded, and `fuzz`, for pytest's `--hypothesis-profile`.

    No profile has a deadline or a check of speed: both fail on a machine that is busy.
    """
    settings.register_profile(
        "test", derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.register_profile(
        "fuzz",
        settings.get_profile("test"),
        derandomize=False,
        max_examples=100 * _FUZZ_FACTOR,
        print_blob=True,
    )
    settings.load_profile("test")


def max_examples(number: int, *, fuzz: int = 0) -> settings:
    """Settings of a property test whose examples are dearer, or worth more of them, than most.

    Args:
        number: of examples in `make test`, where 100 are usual; `make fuzz` tries as many times more as of others.
        fuzz: of examples in a round of `make fuzz`, where that is another number.
    """
    times = settings().max_examples // 100
    return settings(max_examples=fuzz if fuzz and times > 1 else number * times)
