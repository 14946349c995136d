"""Trains in clusters of real processes that are killed and told to end; run as a script, not a test.

As in kill_trainings.py, TensorFlow is imported once and every worker is a fork.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.components.deploy.local.control import free_port
from headrace.core.tensorflow_import import import_tensorflow

IDENTITY = "0123456789abcdef"
ROWS, BATCH = 320, 16


def ports(count: int) -> list[int]:
    """Free ports of this machine."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def work(folder: Path, step_ended: Callable[[int], None]) -> None:
    """Trains a small model as the worker that TF_CONFIG names; the chief writes its weights and history."""
    import keras
    import numpy as np
    import tensorflow as tf

    from headrace.components.train.devices import hardware, strategy
    from headrace.components.train.devices.create import create
    from headrace.components.train.loop import interruption, loop
    from headrace.components.train.loop.checkpoints import Checkpoints
    from headrace.components.train.loop.hooks import Hooks
    from headrace.components.train.loop.session import TrainSession
    from headrace.components.train.model.objective import Objective
    from headrace.components.train.options import Checkpointing
    from headrace.core.problem import Training

    class Steps(Hooks):
        each_step = True

        def on_train_batch_end(self, step: int, logs: dict[str, float]) -> None:
            step_ended(step + 1)

    def batches(start_step: int, worker: int, workers: int) -> Any:
        x = tf.random.stateless_uniform([ROWS, 3], [1, 2])
        data = tf.data.Dataset.from_tensor_slices(({"x": x}, tf.reduce_sum(x, axis=1))).batch(BATCH).repeat()
        size = BATCH // workers
        part = slice(worker * size, (worker + 1) * size)
        return data.skip(start_step).map(lambda features, labels: ({"x": features["x"][part]}, labels[part]))

    def report(message: str, **_: Any) -> None:
        print(message, file=sys.stderr, flush=True)

    training = Training(epochs=6, patience=6, learning_rate=0.02, batch_size=BATCH)
    chosen = strategy.choose(hardware.describe())
    distribution = create(chosen)
    with interruption.watching() as signals:
        with distribution.scope():
            inputs = {"x": keras.Input(shape=(3,), name="x")}
            hidden = keras.layers.Dense(8, "relu", kernel_initializer=keras.initializers.GlorotUniform(seed=1))
            outputs = keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(seed=2))
            core = keras.Model(inputs, outputs(hidden(inputs["x"])))
            optimizer = keras.optimizers.Adam(training.learning_rate)
            optimizer.build(core.trainable_variables)
        evaluation = next(iter(batches(0, 0, 1).rebatch(64)))
        objective = Objective("regression", (), 0.0, 1.0, ())
        trainee = TrainSession(core, objective, optimizer, distribution, batches, [evaluation], chosen=chosen)
        checkpoints = Checkpoints(Checkpointing(str(folder / "checkpoints"), steps=4), IDENTITY, tell=report)
        checkpoints.open()
        state = loop.fit(
            trainee,
            training,
            rows=ROWS,
            batch_size=BATCH,
            report=report,
            checkpoints=checkpoints,
            signals=signals,
            hooks=Steps(),
        )
        if trainee.chief:
            np.savez(folder / "weights.npz", *[weight.value.numpy() for weight in core.weights])
            (folder / "state.json").write_text(json.dumps(state.to_json()))


def fork(folder: Path, addresses: list[str], worker: int, stop: tuple[int, int] | None) -> int:
    """A worker, which after some steps sends itself a signal: (steps, signal)."""
    process = os.fork()
    if process:
        return process
    from headrace.core.errors import HeadraceError

    taken = itertools.count(1)

    def step_ended(_: int) -> None:
        if stop and next(taken) == stop[0]:
            os.kill(os.getpid(), stop[1])

    task = {"type": "worker", "index": worker}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    status = 0
    try:
        work(folder, step_ended)
    except HeadraceError as error:
        print(f"worker {worker}: {error.text}", file=sys.stderr, flush=True)
        status = error.exit_status
    if status:
        # Not os._exit: TensorFlow must not hang at the end of a process whose cluster is broken.
        sys.exit(status)
    # An orderly end of a cluster takes TensorFlow some eight seconds.
    sys.stderr.flush()
    os._exit(status)


def attempt(folder: Path, stop: tuple[int, int, int] | None = None) -> dict[str, Any]:
    """Exit statuses of two workers, of which one gets a signal after some steps: (worker, steps, signal)."""
    folder.mkdir(exist_ok=True)
    addresses = [f"127.0.0.1:{port}" for port in ports(2)]
    signals = {stop[0]: stop[1:]} if stop else {}
    workers = [fork(folder, addresses, worker, signals.get(worker)) for worker in range(2)]
    return {"statuses": [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in workers]}


def main(folder: str) -> dict[str, Any]:
    """What came of each attempt."""
    # Its forks need not import it again; none of it is used here.
    import_tensorflow()
    place = Path(folder)
    return {
        "peaceful": attempt(place / "peaceful"),
        "killed": attempt(place / "stopped", (1, 30, signal.SIGKILL)),
        "told": attempt(place / "stopped", (1, 20, signal.SIGTERM)),
        "last": attempt(place / "stopped"),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
