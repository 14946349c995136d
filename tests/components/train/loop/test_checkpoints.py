from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from headrace.components.train.loop import checkpoints
from headrace.components.train.loop.checkpoints import Checkpoints, NotFiniteState
from headrace.components.train.options import Checkpointing
from headrace.core import storage
from headrace.core.errors import DataError, UsageError

IDENTITY, OTHER = "0123456789abcdef", "fedcba9876543210"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Told(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def state(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {
        "now/kernel": rng.normal(size=(3, 2)).astype(np.float32),
        "now/iteration": np.array(step),
        "now/half": rng.normal(size=5).astype(ml_dtypes.bfloat16),
        "now/seed": np.array([1, step], np.uint32),
        "now/mask": np.array([True, False]),
        "best/empty": np.zeros([0, 4], np.float32),
    }


def opened(folder: str | Path, identity: str = IDENTITY, clock: Clock | None = None, **options: Any) -> Checkpoints:
    kept = Checkpoints(Checkpointing(str(folder), **options), identity, tell=Told(), clock=clock or Clock())
    kept.open()
    return kept


def save(kept: Checkpoints, *steps: int) -> None:
    for step in steps:
        kept.save(step, {"step": step, "history": {"loss": [0.1, step / 3]}}, state(step))
    kept.wait(strict=True)


def told(kept: Checkpoints) -> Told:
    assert isinstance(kept._tell, Told)
    return kept._tell


@pytest.fixture(params=["local", "gs", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder on this machine, and one in each object store."""
    if request.param == "local":
        return str(tmp_path / "checkpoints")
    bucket = request.getfixturevalue("bucket" if request.param == "gs" else "s3_bucket")
    return f"{request.param}://{bucket}/run/checkpoints"


def test_what_was_saved_is_read(place: str) -> None:
    save(opened(place), 7, 30)
    found = opened(place).newest()
    assert found is not None
    assert (found.step, found.facts) == (30, {"step": 30, "history": {"loss": [0.1, 10.0]}})
    expected = state(30)
    assert list(found.arrays) == list(expected)
    for name, array in expected.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_the_newest_are_kept(place: str) -> None:
    kept = opened(place, keep=3)
    assert kept.newest() is None
    save(kept, 5, 10, 15, 20, 25)
    assert kept.steps() == [25, 20, 15]
    assert opened(place, keep=3).newest(at_most=24).step == 20  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("file", "damage", "reason"),
    [
        ("arrays.bin", lambda content: content[:-1], "arrays.bin is damaged"),
        ("arrays.bin", lambda content: content[:9] + bytes([content[9] ^ 1]) + content[10:], "arrays.bin is damaged"),
        ("arrays.bin", None, "arrays.bin is missing"),
        ("manifest.json", None, "the file does not exist"),
        ("manifest.json", lambda content: content[:50], "the file is not valid JSON"),
        ("manifest.json", lambda _: b"{}", "the manifest has another format"),
        ("manifest.json", lambda _: b'{"format": 1}', "KeyError"),
        ("manifest.json", lambda content: content.replace(IDENTITY.encode(), OTHER.encode()), "of another run"),
    ],
)
def test_a_damaged_one_is_skipped_for_the_one_before(place: str, file: str, damage: Any, reason: str) -> None:
    save(opened(place), 5, 10)
    uri = storage.join(place, IDENTITY, "step-000000000010", file)
    if damage is None:
        storage.remove(uri)
    else:
        storage.write_bytes(uri, damage(storage.read_bytes(uri)))
    kept = opened(place)
    found = kept.newest()
    assert found is not None
    assert found.step == 5
    (message,) = told(kept)
    assert message.startswith("the checkpoint of step 10 is skipped and the previous one is used: ")
    assert reason in message
    # Training goes on from 5; the damaged one is in nobody's way.
    save(kept, 8)
    assert kept.steps() == [8, 5]


def test_all_damaged_are_none(tmp_path: Path) -> None:
    save(opened(tmp_path), 5, 10)
    for path in tmp_path.rglob("arrays.bin"):
        path.write_bytes(b"")
    kept = opened(tmp_path)
    assert kept.newest() is None
    assert len(told(kept)) == 2


def test_those_of_another_run_are_not_found(tmp_path: Path) -> None:
    save(opened(tmp_path), 5)
    assert opened(tmp_path, OTHER).newest() is None


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    save(kept, 5)
    half = tmp_path / IDENTITY / ".step-000000000009.abcdef"
    half.mkdir()
    (half / "arrays.bin").write_bytes(b"half")
    assert kept.steps() == [5]
    # Another worker of the run may open it while the chief still writes.
    again = opened(tmp_path)
    assert half.exists()
    again.clear()
    assert [path.name for path in (tmp_path / IDENTITY).iterdir()] == ["step-000000000005"]


def test_all_are_removed_with_the_last_run(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    one, other = opened(folder), opened(folder, OTHER)
    save(one, 5)
    save(other, 6)
    one.remove()
    assert [path.name for path in folder.iterdir()] == [OTHER]
    other.remove()
    assert not folder.exists()


def test_a_state_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    save(kept, 5)
    broken = {**state(6), "now/least": np.array(-np.inf)}
    kept.save(6, {}, {**broken, "now/half": np.array([1, np.nan], ml_dtypes.bfloat16)}, unbounded={"now/least"})
    kept.wait()
    assert kept.steps() == [5]
    (message,) = told(kept)
    assert "step 6, now/half: the state is not finite" in message
    kept.save(7, {}, broken, unbounded={"now/least"})
    kept.wait(strict=True)
    kept.save(8, {}, broken)
    with pytest.raises(NotFiniteState, match="now/least"):
        kept.wait(strict=True)
    assert kept.steps() == [7, 5]


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        opened(tmp_path / "file")


def test_one_that_cannot_be_written_is_told_and_training_goes_on(tmp_path: Path) -> None:
    kept = opened(tmp_path / "checkpoints")
    save(kept, 5)
    folder = tmp_path / "checkpoints" / IDENTITY
    folder.rename(tmp_path / "away")
    folder.write_text("")
    kept.save(6, {}, state(6))
    kept.wait()
    (message,) = told(kept)
    assert message.startswith("a checkpoint could not be written, and training continues: ")
    folder.unlink()
    (tmp_path / "away").rename(folder)
    save(kept, 7)
    assert kept.steps() == [7, 5]


def test_writing_goes_on_beside_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = opened(tmp_path)
    free, writing = threading.Event(), threading.Event()
    publishing = checkpoints.publishing

    def held(uri: str, kind: None) -> Any:
        writing.set()
        free.wait(600)
        return publishing(uri, kind)

    monkeypatch.setattr(checkpoints, "publishing", held)
    kept.save(5, {}, state(5))
    assert writing.wait(600)
    assert kept.steps() == []
    free.set()
    kept.wait(strict=True)
    assert kept.steps() == [5]


def test_it_is_due_by_steps() -> None:
    kept = Checkpoints(Checkpointing("unused", steps=10), IDENTITY, tell=Told(), clock=Clock())
    kept.begin(20)
    assert [kept.due(step) for step in (20, 29, 30, 31)] == [False, False, True, True]
    assert [kept.steps_to_next(step) for step in (20, 29, 30, 35)] == [10, 1, 1, 1]


def test_it_is_due_by_minutes(tmp_path: Path) -> None:
    clock = Clock()
    kept = opened(tmp_path, clock=clock, minutes=5)
    kept.begin(0)
    assert kept.steps_to_next(3) is None
    clock.now = 299.0
    assert not kept.due(10)
    # The next look around would be too late.
    assert kept.due(10, call_seconds=1.5)
    clock.now = 300.0
    assert kept.due(10)
    assert not kept.due(0)
    save(kept, 10)
    clock.now = 500.0
    assert not kept.due(20)


def test_the_time_of_writing_is_part_of_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    kept = opened(tmp_path, clock=clock, minutes=1)
    publishing = checkpoints.publishing

    def slow(uri: str, kind: None) -> Any:
        clock.now += 20
        return publishing(uri, kind)

    monkeypatch.setattr(checkpoints, "publishing", slow)
    kept.begin(0)
    clock.now = 60.0
    assert kept.due(1)
    save(kept, 1)
    # Saved at 60, whole at 80; the next is to be whole at 120.
    clock.now = 99.0
    assert not kept.due(2)
    clock.now = 100.0
    assert kept.due(2)


def test_a_step_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file does not exist"):
        opened(tmp_path).read(3)


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    save(opened(tmp_path), 5)
    manifest = json.loads((tmp_path / IDENTITY / "step-000000000005" / "manifest.json").read_text())
    assert (manifest["identity"], manifest["step"], manifest["bytes"]) == (IDENTITY, 5, 24 + 8 + 10 + 8 + 2)
    assert manifest["arrays"][0] == {"name": "now/kernel", "dtype": "float32", "shape": [3, 2]}
