"""When a program that died is started again."""

from __future__ import annotations

from headrace.core.steps.supervisor import Vigil


def starts(vigil: Vigil, begin: float, looks: str) -> list[float]:
    """The times of starts, of looks half a second apart: r for a program that runs, - for one that does not."""
    return [begin + at / 2 for at, look in enumerate(looks) if vigil.due(look == "r", begin + at / 2)]


def test_a_lock_that_is_free_at_two_looks_is_that_of_a_dead_program() -> None:
    assert starts(Vigil(), 100.0, "rr-r-r--") == [103.5]


def test_a_program_that_dies_again_and_again_is_started_after_longer_pauses() -> None:
    assert starts(Vigil(), 100.0, "r" + "-" * 400) == [
        101.0,
        101.5,
        102.5,
        104.5,
        108.5,
        116.5,
        132.5,
        164.5,
        224.5,
        284.5,
    ]
    assert starts(Vigil(), 100.0, "r" + "-----r" * 20)[:6] == [101.0, 101.5, 102.5, 104.5, 108.5, 116.5]


def test_a_program_that_ran_for_a_minute_is_started_at_once_again() -> None:
    vigil = Vigil()
    assert starts(vigil, 100.0, "r" + "-" * 20) == [101.0, 101.5, 102.5, 104.5, 108.5]
    assert starts(vigil, 111.0, "r" * 121 + "--") == [172.0]


def test_a_program_that_was_never_seen_has_a_minute_to_start() -> None:
    assert starts(Vigil(), 100.0, "-" * 60 + "r--") == [131.0]
    assert starts(Vigil(), 100.0, "-" * 121)[0] == 159.5
