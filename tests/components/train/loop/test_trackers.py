"""Trackers: what TensorBoard and MLflow are told, and that neither can fail or stop a training."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from headrace.components.train.config import TrainConfig
from headrace.components.train.loop import trackers
from headrace.components.train.loop.hooks import Hooks
from headrace.components.train.options import Options, Tracking
from headrace.core.errors import UsageError
from headrace.core.problem.file import ProblemFile

SECONDS = 60.0
TENSORBOARD = Options(tracking=Tracking(tensorboard=True))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(epoch, value) by tag, as TensorBoard reads its logs."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    import tensorflow as tf

    tags = read.Tags()["tensors"]
    return {tag: [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in read.Tensors(tag)] for tag in tags}


def test_tensorboard_logs_stand_beside_the_model(
    natality: ProblemFile, natality_examples: Path, train_in: Callable[..., Any]
) -> None:
    run = train_in(natality, natality_examples, batch_size=512, epochs=2, options=TENSORBOARD)
    (logs,) = run.folder.parent.glob("*.tensorboard/*")
    assert logs.name == run.training["model_version"]
    history = run.training["history"]
    train, validation = scalars(logs / "train"), scalars(logs / "validation")
    assert train["epoch_loss"] == [(i, pytest.approx(loss)) for i, loss in enumerate(history["loss"])]
    assert validation["epoch_loss"] == [(i, pytest.approx(loss)) for i, loss in enumerate(history["eval_loss"])]
    assert [value for _, value in train["epoch_learning_rate"]] == [pytest.approx(run.training["learning_rate"])] * 2
    assert run.training["notes"] == []
    assert not list(run.folder.glob("**/events.out*"))


def config(**changes: Any) -> TrainConfig:
    return TrainConfig("examples", changes.pop("output", "model"), "a" * 16, options=TENSORBOARD, **changes)


def test_a_request_that_cannot_be_met_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    trackers.check(config())
    with pytest.raises(UsageError, match="TensorBoard logs are written on this machine only"):
        trackers.check(config(output="gs://bucket/model"))
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(UsageError) as caught:
        trackers.check(config())
    assert "pip install 'headrace[tensorboard]'" in caught.value.paragraph
    trackers.check(TrainConfig("examples", "gs://bucket/model", "a" * 16))


class Recording(Hooks):
    """Hooks that say what they were called with."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_train_begin(self) -> None:
        self.calls.append("begin")

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.calls.append((epoch, logs))


class Tracker(trackers._Tracker):
    """A tracker that fails, or hangs, where it is told to."""

    name = "Fake"

    def __init__(self, calls: list[str], **at: Any) -> None:
        self.calls, self.at = calls, at
        outer = self

        class Callback(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_begin(self, logs: Any = None) -> None:
                outer.did("train_begin")

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                outer.did(f"epoch_end {epoch} {logs}")

        self.callback = Callback()

    def did(self, what: str) -> None:
        self.calls.append(what)
        acting = self.at.get(what.split()[0])
        if acting is not None:
            acting()

    def load(self) -> None:
        self.did("load")

    def begin(self) -> None:
        self.did("begin")

    def end(self, succeeded: bool) -> None:
        self.did(f"end {succeeded}")


def fail() -> None:
    raise OSError("no route to host\nand more lines")


def track(
    tracker: Tracker, seconds: float = 30.0, work: Callable[[Hooks], None] | None = None
) -> tuple[list[str], Recording]:
    """Two epochs with a tracker; what was told, and what the hooks that stand behind it heard."""
    core = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    told: list[str] = []
    recording = Recording()
    tracked = trackers._Tracked(recording, [tracker], core, keras.optimizers.Adam(), 2, told.append, SECONDS)
    tracked.on_train_begin()
    for epoch in range(2):
        tracked.on_epoch_begin(epoch)
        tracked.on_epoch_end(epoch, {"loss": 1.0})
    tracked.on_train_end()
    tracked.close(succeeded=True)
    assert core.optimizer is None
    assert recording.calls == ["begin", (0, {"loss": 1.0}), (1, {"loss": 1.0})]
    return told


WHOLE = ["load", "begin", "train_begin", "epoch_end 0 {'loss': 1.0}", "epoch_end 1 {'loss': 1.0}", "end True"]


def test_a_tracker_hears_everything() -> None:
    calls: list[str] = []
    assert track(Tracker(calls)) == []
    assert calls == WHOLE


@pytest.mark.parametrize("where", ["load", "begin", "train_begin", "epoch_end", "end"])
def test_a_tracker_that_fails_is_told_of_once_and_left(where: str) -> None:
    calls: list[str] = []
    told = track(Tracker(calls, **{where: fail}))
    assert told == ["Fake no longer tracks this training: OSError: no route to host"]
    assert calls == WHOLE[: 1 + next(i for i, call in enumerate(WHOLE) if call.split()[0] == where)]


@pytest.mark.parametrize("where", ["begin", "epoch_end", "end"])
def test_a_tracker_that_hangs_is_waited_for_once(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    calls: list[str] = []
    call = trackers._Worker.call

    def short(worker: Any, function: Callable[[], None], seconds: float) -> None:
        # What does not hang has all the time of a busy machine.
        hangs = WHOLE[min(len(calls), len(WHOLE) - 1)].split()[0] == where
        call(worker, function, 0.2 if hangs else seconds)

    monkeypatch.setattr(trackers._Worker, "call", short)
    try:
        told = track(Tracker(calls, **{where: released.wait}))
    finally:
        released.set()
    assert told == ["Fake no longer tracks this training: no answer within 60 s"]
    assert calls == WHOLE[: 1 + next(i for i, call in enumerate(WHOLE) if call.split()[0] == where)]


def test_a_training_that_fails_ends_the_tracking_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(trackers, "_TensorBoard", lambda _: Tracker(calls))
    core = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with (
        pytest.raises(RuntimeError, match="lost"),
        trackers.tracking(
            config(), Hooks(), core, keras.optimizers.Adam(), problem="p", epochs=1, tell=pytest.fail
        ) as hooks,
    ):
        hooks.on_train_begin()
        raise RuntimeError("lost")
    assert calls == ["load", "begin", "train_begin", "end False"]


def test_nothing_is_tracked_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    hooks = Hooks()
    untracked = TrainConfig("examples", "model", "a" * 16)
    with trackers.tracking(untracked, hooks, None, None, problem="p", epochs=1, tell=pytest.fail) as given:
        assert given is hooks


# MLflow and what it needs warn of their own futures.
@pytest.mark.filterwarnings("ignore")
class TestMLflow:
    """Against the real package, where it is installed."""

    @pytest.fixture(autouse=True)
    def mlflow(self) -> Any:
        return pytest.importorskip("mlflow", reason="MLflow is optional, and not in constraints.txt")

    def test_metrics_and_state_of_a_training(
        self,
        mlflow: Any,
        natality: ProblemFile,
        natality_examples: Path,
        train_in: Callable[..., Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        run = train_in(natality, natality_examples, batch_size=512, epochs=2)
        assert run.training["notes"] == []
        (found,) = mlflow.MlflowClient().search_runs(["0"])
        assert found.info.status == "FINISHED"
        assert found.data.tags["headrace.model_version"] == run.training["model_version"]
        assert found.data.metrics["val_loss"] == pytest.approx(run.training["history"]["eval_loss"][-1])

    def test_a_server_that_is_down_costs_one_warning(
        self,
        mlflow: Any,
        natality: ProblemFile,
        natality_examples: Path,
        train_in: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        monkeypatch.setattr(trackers, "SECONDS", 5.0)
        run = train_in(natality, natality_examples, batch_size=512, epochs=2)
        (note,) = run.training["notes"]
        assert note.startswith("MLflow no longer tracks this training: ")
