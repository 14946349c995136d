"""The Model of an event: what is verified and checked before it is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.stream_models import StreamModels
from support.tiny_model import INSTANCES, expected_weight

from headrace.components.stream.models.load import ModelUnreachable, load_model
from headrace.core.errors import DataError, HeadraceError, PlatformError, UsageError
from headrace.core.saved_model.json.columns import columns_from_instances
from headrace.core.scoring.online import engine
from headrace.core.scoring.online import model as online


def test_a_good_model_predicts(stream_models: StreamModels) -> None:
    model = load_model(stream_models.event("good", 1, bias=3.0))
    predicted = model.predict(columns_from_instances(INSTANCES, model.interface))
    assert predicted.outputs["prediction"].tolist() == pytest.approx([expected_weight(row, 3.0) for row in INSTANCES])
    assert predicted.model_version == "good"


def test_a_newer_model_is_loaded_like_the_one_in_use(
    stream_models: StreamModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A session is faster, however busy this machine is.
    monkeypatch.setattr(engine, "_timed", lambda p, rows: (p.predict(rows), 2.0 if p.session is None else 1.0))
    present = load_model(stream_models.event("in-use", 1, bias=3.0))
    assert present.operations
    proofs: list[object] = []
    monkeypatch.setattr(online, "prove", lambda *given: proofs.append(given))
    newer = load_model(stream_models.event("newer", 2, bias=4.0), present)
    assert newer.operations == present.operations
    assert not proofs
    predicted = newer.predict(columns_from_instances(INSTANCES, newer.interface))
    assert predicted.outputs["prediction"].tolist() == pytest.approx([expected_weight(row, 4.0) for row in INSTANCES])


def test_wrong_answers_are_refused(stream_models: StreamModels) -> None:
    with pytest.raises(DataError, match="differs from its golden row"):
        load_model(stream_models.wrong("wrong", 1))


def test_nan_is_refused(stream_models: StreamModels) -> None:
    with pytest.raises(DataError, match="no prediction for a golden row"):
        load_model(stream_models.nan("nan", 1))


def test_a_half_copied_model_is_refused(stream_models: StreamModels) -> None:
    event = stream_models.half_copied(stream_models.event("whole", 1), "half", 2)
    with pytest.raises(DataError, match="a file of the registered Model is damaged"):
        load_model(event)


def test_an_absent_model_is_unreachable(stream_models: StreamModels) -> None:
    event = stream_models.event("present", 1)
    with pytest.raises(ModelUnreachable, match="does not exist"):
        load_model(stream_models.unreachable(event, "absent", 2))


def test_a_file_that_cannot_be_read_is_unreachable(
    stream_models: StreamModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = stream_models.event("unread", 1)

    def fail(folder: str, **_: object) -> bool:
        raise PlatformError("the file cannot be read", where=folder)

    monkeypatch.setattr("headrace.core.artifacts.registered.verify", fail)
    with pytest.raises(ModelUnreachable, match="cannot be read"):
        load_model(event)


def test_a_right_that_is_missing_now_is_no_fault_of_the_model(
    stream_models: StreamModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = stream_models.event("denied", 1)

    def deny(uri: str) -> bool:
        raise UsageError("access is denied", where=uri)

    monkeypatch.setattr("headrace.core.storage.exists", deny)
    with pytest.raises(ModelUnreachable, match="access is denied"):
        load_model(event)


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:9/model", "https://models.example/m", "ftp://host/m", "hdfs://n/m"]
)
def test_a_place_that_no_model_can_be_at_is_refused(stream_models: StreamModels, place: str) -> None:
    event = stream_models.event(f"at-{place.partition(':')[0]}", 1)
    with pytest.raises(UsageError, match="is not supported"):
        load_model(replace(event, model=place))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digest": "0" * 64}, "the record of the registered Model is damaged"),
        ({"version": "other"}, "of another version than the event names"),
        ({"signature": "nothing"}, "signature"),
    ],
)
def test_an_event_that_does_not_fit_its_model_is_refused(
    stream_models: StreamModels, changes: dict[str, str], message: str
) -> None:
    event = stream_models.event(f"fits-{next(iter(changes))}", 1)
    with pytest.raises(HeadraceError, match=message) as error:
        load_model(replace(event, **changes))
    assert error.value.exit_status == 2


def test_models_come_from_the_allowed_folders_alone(stream_models: StreamModels, tmp_path: Path) -> None:
    event = stream_models.event("rooted", 1)
    root = str(Path(event.model).parent.parent)
    assert load_model(event, roots=["/elsewhere", root]).version == "rooted"
    for place in (f"{root}/../versions/rooted", str(tmp_path / "rooted")):
        with pytest.raises(DataError, match="not in a folder that models may come from"):
            load_model(replace(event, model=place), roots=[root])
    with pytest.raises(DataError, match="not in a folder that models may come from"):
        load_model(event, roots=[f"{root}/ver"])


def test_a_model_whose_rows_depend_on_each_other_is_refused(
    stream_models: StreamModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = stream_models.event("depends", 1)
    monkeypatch.setattr(
        "headrace.core.scoring.online.model.OnlineModel._prove", lambda self, *_: setattr(self, "whole", True)
    )
    with pytest.raises(DataError, match="depend on the other rows of a batch"):
        load_model(event)
