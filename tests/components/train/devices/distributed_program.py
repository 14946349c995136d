"""Trains the same small models under every strategy that a CPU can have; run as a script, not a test.

As in kill_trainings.py, TensorFlow is imported once and every process that trains is a fork.

Usage: distributed_program.py FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from cluster_trainings import ports

from headrace.components.train.devices import hardware, strategy
from headrace.components.train.devices.create import create
from headrace.components.train.loop.session import TrainSession
from headrace.components.train.model import precision
from headrace.components.train.model.objective import Objective
from headrace.components.train.options import Distribution

ROWS, BATCH, STEPS = 640, 64, 60
CASES = {
    "one_device": ("plain", "compiled", "weighted", "weighted_compiled", "bfloat16", "float16"),
    "mirrored": ("plain", "compiled", "weighted", "weighted_compiled", "normalized", "dropout", "float16"),
    "multi_worker": ("plain", "compiled", "weighted", "weighted_compiled", "normalized"),
}
OBJECTIVE = Objective("regression", (), mean=2.0, deviation=2.0, shares=())
_random = np.random.default_rng(7)
NUMBERS = _random.normal(size=(ROWS, 6)).astype(np.float32)
ROW_NUMBERS = _random.integers(0, 20, ROWS).astype(np.int32)
LABELS = (2 * NUMBERS[:, 0] + ROW_NUMBERS / 10 + _random.normal(size=ROWS) / 10).astype(np.float32)

# Some rows count nothing.
WEIGHTS = np.where(_random.random(ROWS) < 0.2, 0, _random.exponential(2, ROWS)).astype(np.float32)


def build(case: str) -> Any:
    """A small model, with what the case is about."""
    seeds = iter(range(1, 99))

    def dense(units: int, **more: Any) -> Any:
        return keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), **more)

    inputs = {"numbers": keras.Input((6,), name="numbers"), "row": keras.Input((), name="row", dtype="int32")}
    hidden = dense(16, activation="tanh", kernel_regularizer="l2" if case == "compiled" else None)(inputs["numbers"])
    if case == "dropout":
        hidden = keras.layers.Dropout(0.3, seed=5)(hidden)
    if case == "normalized":
        hidden = keras.layers.BatchNormalization(momentum=0.9)(hidden)
    table = keras.layers.Embedding(20, 4, embeddings_initializer=keras.initializers.RandomUniform(seed=next(seeds)))
    hidden = dense(8, activation="tanh")(keras.layers.Concatenate()([hidden, table(inputs["row"])]))
    model = keras.Model(inputs, keras.layers.Rescaling(2.0, 2.0)(dense(1)(hidden)))
    if "compiled" in case:
        rate = keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)
        weighted = [keras.metrics.MeanSquaredError(name="weighted_mse")] if "weighted" in case else None
        optimizer = keras.optimizers.AdamW(rate, global_clipnorm=0.5)
        model.compile(optimizer=optimizer, loss="mae", metrics=["mse"], weighted_metrics=weighted)
    return model


def rows_of(case: str) -> tuple[Any, ...]:
    """All rows, with weights where the case is of them."""
    rows = ({"numbers": NUMBERS, "row": ROW_NUMBERS}, LABELS)
    return (*rows, WEIGHTS) if "weighted" in case else rows


def batches(case: str, start_step: int, worker: int, workers: int) -> Any:
    """A pass over the rows after the other, in their order; each worker's part of every batch."""
    part = BATCH // workers
    rows = tf.data.Dataset.from_tensor_slices(rows_of(case))
    whole = rows.batch(BATCH, drop_remainder=True).repeat().skip(start_step)
    return whole.map(lambda *all_of_it: tf.nest.map_structure(lambda c: c[worker * part :][:part], all_of_it)).map(
        lambda *mine: tf.nest.map_structure(lambda c: tf.ensure_shape(c, [part, *c.shape[1:]]), mine)
    )


def eval_blocks(case: str) -> list[Any]:
    """Three blocks, the last one smaller, so that no number of replicas divides them evenly."""
    return [
        tf.nest.map_structure(lambda c, a=a, b=b: tf.constant(c[a:b]), rows_of(case))
        for a, b in ((0, 100), (100, 200), (200, 237))
    ]


def trainee_of(case: str, chosen: strategy.Strategy, devices: Any) -> TrainSession:
    """A case, ready to train."""
    with devices.scope():
        model = build(case)
        policy = "mixed_float16" if case == "float16" else "mixed_bfloat16" if case == "bfloat16" else "float32"
        precision.lower(model, policy)
        optimizer = precision.scaled(model.optimizer if model.compiled else keras.optimizers.Adam(0.01), policy)
        optimizer.build(model.trainable_variables)
    metrics = ("mean_absolute_error", "r_squared")
    source = partial(batches, case)
    return TrainSession(model, OBJECTIVE, optimizer, devices, source, eval_blocks(case), metrics=metrics, chosen=chosen)


def told_of(trainee: TrainSession, case: str) -> dict[str, Any]:
    """Trains a case, and says what was measured."""
    trainee.reset_logs()
    taken = [trainee.run(7), trainee.run(STEPS - 7)]
    logs = trainee.logs()
    told: dict[str, Any] = {
        "steps": sum(one.steps for one in taken),
        "loss": sum(one.loss_sum for one in taken) / STEPS,
        "logs": logs,
        "measured": trainee.evaluate(),
        "agreed": trainee.agree(float(trainee.chosen.worker * 1000 + 5)),
        "chief": trainee.chief,
        "rate": trainee.learning_rate,
        "names": sorted(trainee.state()),
    }
    if case in ("plain", "dropout"):
        # From the end of the first steps on, twice.
        state, ends = trainee.state(), []
        for _ in range(2):
            trainee.restore(state)
            trainee.feed(STEPS)
            trainee.run(5)
            ends.append(trainee.state())
        trainee.restore(state)
        told["again"] = all(np.array_equal(ends[0][name], ends[1][name]) for name in state)
    return told


def train(folder: Path, name: str, cases: tuple[str, ...], *, xla: bool = False) -> None:
    """Trains cases under a strategy, and writes weights and what was measured."""
    request = Distribution(strategy=name, xla=xla)  # type: ignore[arg-type]
    chosen = strategy.choose(hardware.describe(), request)
    devices = create(chosen)
    for case in cases:
        trainee = trainee_of(case, chosen, devices)
        told = told_of(trainee, case)
        place = folder / f"{name}-{case}{'-xla' if xla else ''}-{chosen.worker}"
        np.savez(f"{place}.npz", **trainee.state(model_only=True))
        Path(f"{place}.json").write_text(json.dumps(told))


def on_one_machine(folder: Path) -> None:
    """One device, and two."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for name in ("one_device", "mirrored"):
        train(folder, name, CASES[name])
        train(folder, name, ("plain",), xla=True)


def fork(
    work: Callable[[], None], cluster: Mapping[str, list[str]] | None = None, task: str = "", index: int = 0
) -> int:
    """A process that does `work` as a task of a cluster."""
    process = os.fork()
    if process:
        return process
    if cluster:
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": task, "index": index}})
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
        status = 1
    # An orderly end of a cluster takes TensorFlow some eight seconds.
    sys.stderr.flush()
    os._exit(status)


def status_of(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(folder: Path) -> dict[str, Any]:
    """The exit statuses of all processes."""
    alone = fork(lambda: on_one_machine(folder))
    addresses = [f"127.0.0.1:{port}" for port in ports(2)]
    workers = [
        fork(lambda: train(folder, "multi_worker", CASES["multi_worker"]), {"worker": addresses}, "worker", index)
        for index in range(2)
    ]
    return {
        "alone": status_of(alone),
        "workers": [status_of(worker) for worker in workers],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
