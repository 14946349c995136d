"""The model in use, and its switching."""

from __future__ import annotations

import gc
import threading

import pytest

from headrace.core.scoring.online.current import CurrentModel


def test_a_switch_keeps_the_one_before_and_a_failed_one_changes_nothing() -> None:
    current = CurrentModel("a")
    assert current.back() is None
    assert current.switch(lambda: "b") == "b"
    assert (current.model, current.previous) == ("b", "a")

    def refuse(model: str) -> None:
        raise ValueError(model)

    with pytest.raises(ValueError, match="c"):
        current.switch(lambda: "c", refuse)
    assert (current.model, current.previous) == ("b", "a")
    assert current.back() == "a"
    assert (current.model, current.previous) == ("a", "b")
    assert current.back() == "b"


def test_garbage_is_collected_when_a_model_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    collections: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: collections.append(current.model))
    current = CurrentModel("a")
    current.switch(lambda: "b")
    # The first model is still there, to go back to.
    assert collections == []
    current.switch(lambda: "c")
    assert collections == ["c"]


def test_switches_of_several_threads_are_one_after_the_other() -> None:
    current = CurrentModel(0)
    seen: list[tuple[int, int | None]] = []

    def switch(number: int) -> None:
        current.switch(lambda: number, lambda _: seen.append((current.model, number)))

    threads = [threading.Thread(target=switch, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each switch was checked beside the model of the switch before it.
    assert [before for before, _ in seen] == [0, *(after for _, after in seen[:-1])]
    assert current.model == seen[-1][1]
