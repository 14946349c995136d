"""Model candidates: the newest event that is not refused is used, whatever order events come in."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.model_events.candidates import KEPT, Candidates
from headrace.core.model_events.event import ModelEvent

EVENT = ModelEvent("taxi", 1, "promote", "v1", "/models/v1", "a" * 64)


def of(epoch: int, version: str | None = None) -> ModelEvent:
    return replace(EVENT, epoch=epoch, version=version or f"v{epoch}")


def test_the_newest_event_is_loaded_and_older_ones_are_not() -> None:
    candidates = Candidates()
    assert candidates.next(0.0) is None
    assert [candidates.add(of(epoch)) for epoch in (2, 3, 1, 3)] == ["new", "new", "older", "repeated"]
    assert candidates.next(0.0) == of(3)
    candidates.use(of(3))
    assert candidates.next(0.0) is None
    assert candidates.add(of(2)) == "repeated"
    assert candidates.next(0.0) is None


@given(st.permutations(range(1, 9)), st.lists(st.integers(1, 8), max_size=8))
def test_the_newest_epoch_wins_in_any_order(order: list[int], repeated: list[int]) -> None:
    candidates = Candidates()
    for at, epoch in enumerate([*order, *repeated]):
        newest = candidates.newest
        found = candidates.add(of(epoch, f"v{epoch % 3}"))
        assert found == ("repeated" if at >= len(order) else "new" if epoch > newest else "older")
    assert candidates.newest == 8
    assert candidates.next(0.0) == of(8, "v2")


def test_another_event_of_an_epoch_changes_nothing() -> None:
    candidates = Candidates()
    candidates.add(of(3))
    assert candidates.add(of(3, "other")) == "conflicting"
    assert candidates.next(0.0) == of(3)


def test_after_a_refused_event_the_newest_other_one_is_used() -> None:
    candidates = Candidates()
    for epoch in (1, 2, 3):
        candidates.add(of(epoch))
    candidates.refuse(of(3))
    assert candidates.next(0.0) == of(2)
    candidates.use(of(1))
    assert candidates.next(0.0) == of(2)


def test_an_event_that_cannot_be_read_waits_while_an_older_one_is_used() -> None:
    candidates = Candidates()
    candidates.add(of(1))
    candidates.add(of(2))
    assert candidates.retry(of(2), 10.0) == 1
    assert candidates.next(9.0) == of(1)
    assert not candidates.overtaken(of(1))
    candidates.use(of(1))
    assert candidates.next(9.0) is None
    assert candidates.next(10.0) == of(2)
    assert candidates.retry(of(2), 20.0) == 2
    candidates.use(of(2))
    assert candidates.attempts == {}


def test_a_model_that_was_overtaken_while_it_was_loaded_is_not_used() -> None:
    candidates = Candidates()
    candidates.add(of(1))
    assert not candidates.overtaken(of(1))
    candidates.add(of(2))
    assert candidates.overtaken(of(1))
    candidates.refuse(of(2))
    assert not candidates.overtaken(of(1))


def test_a_bounded_number_of_events_is_kept() -> None:
    candidates = Candidates()
    for epoch in range(1, KEPT + 11):
        candidates.add(of(epoch))
    refused = 0
    while (event := candidates.next(0.0)) is not None:
        candidates.refuse(event)
        refused += 1
    assert refused == KEPT


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=30),
    st.sets(st.integers(1, 12)),
    st.randoms(use_true_random=False),
)
def test_what_is_used_in_the_end_depends_on_the_set_of_events_alone(epochs: list[int], bad: set[int], chance) -> None:
    candidates = Candidates()
    used = []

    def load_all() -> None:
        while (event := candidates.next(0.0)) is not None:
            if event.epoch in bad:
                candidates.refuse(event)
            else:
                candidates.use(event)
                used.append(event.epoch)

    for epoch in epochs:
        candidates.add(of(epoch))
        if chance.random() < 0.5:
            load_all()
    load_all()
    good = set(epochs) - bad
    assert (candidates.in_use.epoch if candidates.in_use else None) == max(good, default=None)
    assert used == sorted(set(used))
