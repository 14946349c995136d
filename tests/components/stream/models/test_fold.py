"""Loading beside batches: a model that loads rests while a batch is scored, and resumes at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from headrace.components.stream.kafka import in_process
from headrace.components.stream.kafka.in_process import InProcessScoring
from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models import fold
from headrace.components.stream.models.app_models import AppModels
from headrace.components.stream.models.fold import StreamModels
from headrace.components.stream.models.load import LoadedModel
from headrace.components.stream.records.codec import JsonCodec
from headrace.core.scoring.online.model import OnlineModel

Rest = tuple[Callable[[], bool], Callable[[float], object]]


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[Rest]:
    """What each load is told: whether others are busy, and how to wait for their end."""
    found: list[Rest] = []

    @contextmanager
    def beside(busy: Callable[[], bool], *, sleep: Callable[[float], object]) -> Iterator[None]:
        found.append((busy, sleep))
        yield

    monkeypatch.setattr(fold, "beside", beside)
    return found


def settled(loaded: LoadedModel) -> StreamModels:
    models = StreamModels([loaded.event.app], lambda *_: loaded.model)
    models.read(loaded.event.encode(), "the test")
    assert models.settle(600)
    return models


def test_a_model_is_loaded_and_switched_to_while_others_are_left_the_cpu(loaded: LoadedModel) -> None:
    at: list[str] = []

    @contextmanager
    def beside() -> Iterator[None]:
        at.append("begin")
        yield
        # What it replaces is freed by the switch.
        at.append("end" if models.model is not None else "not switched")

    def load(*_: object) -> OnlineModel:
        at.append("load")
        return loaded.model

    models = AppModels(loaded.event.app, load, beside=beside)
    models.add(loaded.event)
    models.tend()
    models.wait(600)
    assert at == ["begin", "load", "end"]


def test_a_load_rests_until_the_batch_ends(rests: list[Rest], loaded: LoadedModel) -> None:
    models = settled(loaded)
    ((busy, sleep),) = rests
    assert not busy()
    with models.scoring():
        assert busy()
        assert not sleep(0.0)
    assert not busy()
    # It does not wait any longer.
    assert sleep(600)
    with pytest.raises(KeyError), models.scoring():
        raise KeyError
    assert not busy()


def test_a_batch_is_scored_while_loads_rest(
    rests: list[Rest], loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = settled(loaded)
    ((busy, _),) = rests
    score_records, resting = in_process.score_records, list[bool]()

    def scored(*arguments: object) -> object:
        resting.append(busy())
        return score_records(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(in_process, "score_records", scored)
    scoring = InProcessScoring(JsonCodec(), models, None, StreamMetrics(dict))  # type: ignore[arg-type]
    used, results = scoring.score(loaded.event.app, [b"{}"], lambda: None)
    assert (used, len(results), resting) == (loaded.used, 1, [True])
