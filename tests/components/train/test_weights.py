"""Weights of rows and of classes: what they do to the loss is what Keras's `fit` and `evaluate` make of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from headrace.components.train.config import TrainConfig
from headrace.components.train.input import source as input_pipeline
from headrace.components.train.input.examples import open_examples
from headrace.components.train.loop.session import TrainSession
from headrace.components.train.model import build as models
from headrace.components.train.model.objective import Objective, objective_of
from headrace.components.train.options import Checkpointing, Options
from headrace.components.train.trainer import train
from headrace.components.train.weights import class_weights
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Numeric, Problem, Training
from headrace.core.problem.file import ProblemFile

BATCH, STEPS, SCALE = 32, 6, 3.0
LABELS: Mapping[str, Numeric | Categorical] = {
    "regression": Numeric("y"),
    "binary": Categorical("y", vocabulary=["no", "yes"]),
    "multiclass": Categorical("y", vocabulary=["a", "b", "c"]),
}
CLASS_WEIGHTS: Mapping[str, Any] = {"regression": None, "binary": {"yes": 5.0}, "multiclass": {"a": 0.0, "c": 2.5}}


def problem_of(task: str, *, weight: bool = True, classes: bool = True) -> Problem:
    training = Training(hidden_units=[8], class_weights=CLASS_WEIGHTS[task] if classes else None)
    features = [Numeric("x"), Numeric("z"), Categorical("color")]
    return Problem("small", "id", LABELS[task], features, training=training, weight="w" if weight else None)


def rows_of(task: str) -> list[dict[str, Any]]:
    random = np.random.default_rng(8)
    rows = []
    for n in range(300):
        x, z = random.normal(size=2).tolist()
        color = ["red", "blue", "green"][n % 3]
        value = x - z + (color == "red") + random.normal() / 3
        y = {"regression": SCALE * value + 7, "binary": ["no", "yes"][int(value > 0.3)]}
        label = y.get(task, "abc"[min(2, max(0, int(value + 1)))])
        w = 0.0 if n % 7 == 0 else float(random.exponential(3))
        rows.append({"id": str(n), "x": x, "z": z, "color": color, "y": label, "w": w})
    return rows


def own_model(task: str, compiled: str) -> Any:
    """A model of the user's: of logits, or of probabilities; compiled with a loss of its own, or not at all."""
    units = 3 if task == "multiclass" else 1
    inputs = {name: keras.Input(shape=(), name=name) for name in ("x", "z")}
    hidden = keras.layers.Dense(8, "tanh")(keras.ops.stack([inputs["x"], inputs["z"]], axis=1))
    logits = compiled in ("", "by_weight")
    activation = None if logits or task == "regression" else {"binary": "sigmoid", "multiclass": "softmax"}[task]
    model = keras.Model(inputs, keras.layers.Dense(units, activation, kernel_regularizer="l2")(hidden))
    if compiled:
        reduction = "mean_with_sample_weight" if compiled == "by_weight" else "sum_over_batch_size"
        loss: Any = {
            "regression": keras.losses.Huber(reduction=reduction),
            "binary": keras.losses.BinaryCrossentropy(from_logits=logits, reduction=reduction),
            "multiclass": keras.losses.SparseCategoricalCrossentropy(from_logits=logits, reduction=reduction),
        }[task]
        metric = {
            "regression": keras.metrics.MeanAbsoluteError,
            "binary": keras.metrics.BinaryAccuracy,
            "multiclass": keras.metrics.SparseCategoricalAccuracy,
        }[task]
        model.compile(
            optimizer=keras.optimizers.SGD(0.1, momentum=0.5),
            loss=loss,
            metrics=[metric(name="plain")],
            weighted_metrics=[metric(name="weighted")],
        )
    return model


def same_as_ours(task: str, objective: Objective) -> Any:
    """The loss of the objective, as a loss of Keras."""
    if task == "regression":
        return lambda y, p: tf.reduce_mean(tf.square((p - y) / objective.deviation), axis=-1)
    if task == "binary":
        return keras.losses.BinaryCrossentropy(from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def as_arrays(rows: list[Any]) -> tuple[Any, ...]:
    """Batches or blocks as one."""
    return tuple(tf.nest.map_structure(lambda *parts: np.concatenate(parts), *rows))


MODELS = ("built-in", "own", "compiled", "by_weight")
CASES = [
    *((task, model, True, task != "regression") for task in LABELS for model in MODELS),
    *(("binary", model, *one) for model in ("built-in", "compiled") for one in ((True, False), (False, True))),
]


@pytest.mark.parametrize(("task", "model", "weight", "classes"), CASES)
def test_loss_and_weights_after_an_epoch_are_those_of_keras(
    task: str, model: str, weight: bool, classes: bool, make_examples: Callable[..., Path]
) -> None:
    problem = problem_of(task, weight=weight, classes=classes)
    examples = open_examples(str(make_examples(problem, rows_of(task))), problem)
    objective = objective_of(problem, examples.statistics)
    keras.utils.set_random_seed(3)
    if model == "built-in":
        file = ProblemFile(problem, "", "", "", None)
        built = models.build(file, examples.statistics, objective, problem.training, {})
        core, prepare = built.core, built.prepare
    else:
        core = own_model(task, "" if model == "own" else model)
        prepare = lambda features: {name: features[name] for name in ("x", "z")}  # noqa: E731
        outputs = "probabilities" if model == "compiled" and task != "regression" else "logits"
        objective = dataclasses.replace(objective, outputs=outputs)
    source = input_pipeline.open_source(problem, examples, prepare, batch_size=BATCH, seed=1, memory_bytes=1 << 30)
    peer = keras.models.clone_model(core)
    peer.set_weights(core.get_weights())
    if core.compiled:
        peer.compile_from_config(core.get_compile_config())
    else:
        peer.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.5), loss=same_as_ours(task, objective))
    optimizer = core.optimizer if core.compiled else keras.optimizers.SGD(0.1, momentum=0.5)
    optimizer.build(core.trainable_variables)
    of_classes = class_weights(problem, problem.training, examples.statistics)
    ours = TrainSession(
        core,
        objective,
        optimizer,
        tf.distribute.get_strategy(),
        source.batches,
        source.eval_blocks,
        class_weights=None if of_classes is None else tuple(of_classes.values()),
    )
    features, labels, *weights = as_arrays(list(itertools.islice(source.batches(), STEPS)))
    targets = labels[:, None] if objective.units == 1 else labels
    # Keras takes one of the two.
    by_class = None if of_classes is None else dict(enumerate(of_classes.values()))
    both = {"class_weight": by_class} if not weights else {"sample_weight": weights[0]}
    if weights and by_class is not None:
        both = {"sample_weight": weights[0] * np.array([by_class[int(label)] for label in labels], np.float32)}
    history = peer.fit(features, targets, batch_size=BATCH, shuffle=False, verbose=0, **both).history
    ours.reset_logs()
    taken = ours.run(STEPS)
    scale = 1.0 if core.compiled else objective.loss_scale
    # Keras adds the layers' own losses, as the built-in models have none.
    assert taken.loss_sum / STEPS == pytest.approx(history["loss"][0] * scale, rel=1e-5)
    for mine, theirs in zip(core.get_weights(), peer.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    for name, value in ours.logs().items():
        assert value == pytest.approx(history[name][0], rel=1e-5), name
    # Class weights count in training alone.
    features, labels, *weights = as_arrays(source.eval_blocks)
    targets = labels[:, None] if objective.units == 1 else labels
    options = {"sample_weight": weights[0]} if weights else {}
    measured = peer.evaluate(features, targets, batch_size=1000, verbose=0, return_dict=True, **options)
    added = 0.0 if core.compiled else float(sum(peer.losses, start=0.0))
    found = ours.evaluate()
    assert found.pop("loss") == pytest.approx((measured.pop("loss") - added) * scale, rel=1e-5)
    assert found == pytest.approx(measured, rel=1e-5)


@pytest.mark.parametrize("labels", [["a"] * 5 + ["b"] * 3 + ["c"], ["a"] * 4 + ["c"] * 2])
def test_balanced_class_weights_are_those_of_scikit_learn(labels: list[str]) -> None:
    problem = problem_of("multiclass")
    present = sorted(set(labels))
    counted = {"y": {"vocabulary": [[name, labels.count(name)] for name in present]}}
    found = class_weights(problem, Training(class_weights="balanced"), counted)
    expected = dict(zip(present, compute_class_weight("balanced", classes=np.array(present), y=labels), strict=True))
    assert found == pytest.approx({"a": 1.0, "b": 1.0, "c": 1.0} | expected)
    assert class_weights(problem, problem.training, counted) == {"a": 0.0, "b": 1.0, "c": 2.5}
    assert class_weights(problem, Training(), counted) is None


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_split_without_any_weight_is_refused(
    split: str, make_examples: Callable[..., Path], train_in: Callable[..., Any]
) -> None:
    problem = dataclasses.replace(problem_of("binary"), training=Training(steps=1))
    rows = rows_of("binary")
    examples = make_examples(problem, rows)
    opened = open_examples(str(examples), problem)
    keys = {key.decode() for key in input_pipeline.raw_rows(problem, getattr(opened, split), 1000)["key"]}
    none = [{**row, "w": 0.0 if row["id"] in keys else 1.0} for row in rows]
    with pytest.raises(DataError) as caught:
        train_in(ProblemFile(problem, "problem.py", "", "", None), make_examples(problem, none))
    assert caught.value.what == f'the weight "w" is 0 in every row of the {split} split'


def test_a_training_says_how_its_rows_were_weighted(
    make_examples: Callable[..., Path], train_in: Callable[..., Any]
) -> None:
    problem = dataclasses.replace(problem_of("binary"), training=Training(epochs=2, class_weights={"yes": 5.0}))
    rows = rows_of("binary")
    trained = train_in(ProblemFile(problem, "problem.py", "", "", None), make_examples(problem, rows))
    record = trained.training
    assert record["weight"] == "w"
    assert record["class_weights"] == {"no": 1.0, "yes": 5.0}
    served = tf.saved_model.load(str(trained.folder / "saved_model")).signatures["serving_default"]
    assert set(served.structured_input_signature[1]) == {"key", "x", "z", "color"}
    # Rows weigh at what a constant is worth too.
    opened = open_examples(str(trained.examples), problem)
    keys = {key.decode() for key in input_pipeline.raw_rows(problem, opened.eval, 1000)["key"]}
    labels = np.array([row["y"] == "yes" for row in rows if row["id"] in keys])
    weights = np.array([row["w"] for row in rows if row["id"] in keys])
    counts = dict(opened.statistics["y"]["vocabulary"])
    share = (counts["yes"] + 1) / (counts["yes"] + counts["no"] + 2)
    losses = -np.log(np.where(labels, share, 1 - share))
    assert record["baseline"]["value"] == pytest.approx(np.average(losses, weights=weights), rel=1e-5)


def test_a_weighted_training_resumes_and_starts_another(
    make_examples: Callable[..., Path], train_in: Callable[..., Any], tmp_path: Path
) -> None:
    """Killed after an epoch, it ends with the weights of one that was not; and its Model is a warm start."""
    problem = dataclasses.replace(
        problem_of("binary"), training=Training(epochs=3, batch_size=32, hidden_units=[4], class_weights="balanced")
    )
    file, examples = ProblemFile(problem, "problem.py", "", "", None), make_examples(problem, rows_of("binary"))
    whole = train_in(file, examples)
    options = Options(checkpointing=Checkpointing(folder=str(tmp_path / "checkpoints"), steps=3))
    config = TrainConfig(examples=str(examples), output=str(tmp_path / "m"), identity="0" * 16, options=options)

    def ended(epoch: int, _: Any) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(file, config, after_epoch=ended)
    resumed = train(file, config)
    assert resumed.record["checkpoints"]["resumed_at_steps"][0] > 0
    assert resumed.record["history"]["eval_loss"] == whole.training["history"]["eval_loss"]
    ours, theirs = (keras.models.load_model(f / "model.keras", compile=False) for f in (whole.folder, tmp_path / "m"))
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    warm = train_in(file, examples, warm_start=str(whole.folder))
    carried = warm.training["warm_start"]
    assert carried["parameters_carried"] == carried["parameters"]
    assert warm.training["history"]["eval_loss"][0] < whole.training["history"]["eval_loss"][0]
