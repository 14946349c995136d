from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from headrace.components.train.loop.callbacks import hooks_of
from headrace.components.train.options import Distribution, Options
from headrace.core.errors import ProblemError, UsageError
from headrace.core.problem.file import ProblemFile, load_problem

SLOWING = """
def callbacks(problem, hyperparameters):
    import keras

    return [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 if epoch < 2 else 0.0),
        keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=1e-9),
    ]
"""
USERS = """
def build_model(problem, statistics, hyperparameters):
    import keras

    weeks = keras.Input(shape=(), name="gestation_weeks")
    plurality = keras.Input(shape=(), name="plurality", dtype="string")
    kind = keras.layers.StringLookup(vocabulary=["1", "2"], output_mode="one_hot")(keras.ops.expand_dims(plurality, 1))
    joined = keras.layers.Concatenate()([keras.ops.expand_dims(weeks, 1) / 40, kind])
    model = keras.Model([weeks, plurality], keras.layers.Dense(1)(joined))
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mae", metrics=["mse"])
    return model
"""


@pytest.fixture
def with_source(natality: ProblemFile, tmp_path: Path) -> Callable[[str], ProblemFile]:
    """The births' problem file, and more in it."""

    def make(source: str) -> ProblemFile:
        path = tmp_path / "own.py"
        path.write_text(natality.source + source)
        return load_problem(str(path))

    return make


def test_keras_callbacks_change_the_learning_rate_and_end_training(
    with_source: Callable[[str], ProblemFile], natality_examples: Path, train_in: Callable[..., Any]
) -> None:
    run = train_in(with_source(SLOWING), natality_examples, batch_size=512, epochs=9)
    losses = run.training["history"]["eval_loss"]
    # At a learning rate of nothing, nothing changes, and two epochs of that are enough.
    assert losses[0] > losses[1] == losses[2] == losses[3]
    assert run.training["stopped"] == "callback: EarlyStopping stopped the training"
    assert run.training["best_epoch"] == 2


def test_a_compiled_model_is_trained_as_it_was_compiled(
    with_source: Callable[[str], ProblemFile], natality_examples: Path, train_in: Callable[..., Any]
) -> None:
    run = train_in(with_source(USERS), natality_examples, epochs=3)
    history = run.training["history"]
    assert set(history) == {"loss", "eval_loss", "mse", "eval_mse", "steps"}
    assert run.training["learning_rate"] == pytest.approx(0.05)
    # Its loss is in pounds.
    assert 0.6 < history["eval_loss"][-1] < 1.5
    assert history["eval_mse"][-1] > history["eval_loss"][-1] ** 2


def test_strings_are_refused_where_they_cannot_be_compiled(
    with_source: Callable[[str], ProblemFile], natality_examples: Path, train_in: Callable[..., Any]
) -> None:
    options = Options(distribution=Distribution(xla=True))
    with pytest.raises(UsageError) as caught:
        train_in(with_source(USERS), natality_examples, options=options)
    assert "--xla: the model reads strings, which XLA cannot compile" in caught.value.paragraph
    assert "plurality in" in caught.value.paragraph


class Steps(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.count, self.best = 0, float("inf")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append((batch, sorted(logs)))
        self.count += 1
        self.model.stop_training = batch == 1


def hooks(file: ProblemFile, made: Any) -> Any:
    core = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    own = ProblemFile(**{**vars(file), "callbacks": lambda *_: made})
    return hooks_of(own, core, keras.optimizers.Adam(), epochs=3)


def test_a_callback_sees_steps_and_keeps_what_is_plain(natality: ProblemFile) -> None:
    callback = Steps()
    found = hooks(natality, [callback])
    assert found.each_step
    assert not hooks(natality, [keras.callbacks.EarlyStopping()]).each_step
    found.on_epoch_begin(1)
    for step in (10, 11):
        assert found.stopped == ""
        found.on_train_batch_begin(step)
        found.on_train_batch_end(step, {"loss": 1.0})
    assert callback.seen == [(0, ["loss"]), (1, ["loss"])]
    assert found.stopped == "callback: Steps stopped the training"
    assert found.state() == [{"count": 2, "best": float("inf")}]
    again = Steps()
    hooks(natality, [again]).restore([{"count": 2, "best": 0.5}])
    assert (again.count, again.best) == (2, 0.5)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("    return None", "callbacks did not return callbacks"),
        ("    return hyperparameters['patience']", "callbacks failed. Received: KeyError: 'patience'"),
        (
            (
                "    import keras\n    class Mine(keras.callbacks.Callback):\n"
                "        def on_epoch_end(self, epoch, logs):\n            logs['accuracy']\n    return [Mine()]"
            ),
            "logs['accuracy']): the callback Mine failed. Received: KeyError: 'accuracy'",
        ),
    ],
)
def test_callbacks_that_fail_are_the_users(
    with_source: Callable[[str], ProblemFile],
    natality_examples: Path,
    train_in: Callable[..., Any],
    source: str,
    said: str,
) -> None:
    file = with_source(f"\ndef callbacks(problem, hyperparameters):\n{source}\n")
    with pytest.raises(ProblemError) as caught:
        train_in(file, natality_examples, steps=1)
    assert said in caught.value.paragraph
