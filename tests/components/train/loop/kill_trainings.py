"""Trains once in peace and once with kills, each time in processes of their own; run as a script, not a test.

TensorFlow is imported once, and every training is a fork of this process: a new one would import it again, which
takes longer than the training does. TensorFlow starts its threads and devices only when it is first used.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from headrace.core.problem.file import load_problem
from headrace.core.tensorflow_import import import_tensorflow

IDENTITY = "0123456789abcdef"


def fork(problem: str, examples: str, output: Path, checkpoints: str, epochs: int | None = None) -> tuple[int, int]:
    """A process that trains, and the end of a pipe at which it writes a byte when it starts and after each epoch.

    After `epochs` it waits to be killed, so that a slow parent does not find it at its end.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.close(reading)
    try:
        from headrace.components.train import trainer
        from headrace.components.train.config import TrainConfig
        from headrace.components.train.options import Checkpointing, Options

        options = Options(checkpointing=Checkpointing(checkpoints, steps=10))
        config = TrainConfig(examples=examples, output=str(output), identity=IDENTITY, options=options)

        ended = itertools.count(1)

        def after_epoch(*_: Any) -> None:
            os.write(writing, b"e")
            if next(ended) == epochs:
                signal.pause()

        os.write(writing, b"s")
        trainer.train(load_problem(problem), config, after_epoch=after_epoch)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def wait_for(pipe: int, count: int) -> None:
    """Returns when the process started and ended `count` epochs, or is gone."""
    got = b""
    while got.count(b"e") < count or not got:
        select.select([pipe], [], [])
        read = os.read(pipe, 64)
        if not read:
            return
        got += read


def main(problem: str, examples: str, folder: str, kills: int, seed: int) -> dict[str, Any]:
    """What came of it: exit statuses, and the signal of each killed training."""
    import_tensorflow()
    from headrace.components.train import trainer  # noqa: F401 - its forks need not import it again

    chance, place = random.Random(seed), Path(folder)
    peaceful, unread = fork(problem, examples, place / "peaceful", "")
    signals = []
    for _ in range(kills):
        # Some die while they start, some in the midst of an epoch, and some while a checkpoint is written.
        epochs = chance.choice([0, 1, 1, 2, 2, 3])
        process, pipe = fork(problem, examples, place / "killed", str(place / "checkpoints"), epochs + 1)
        wait_for(pipe, epochs)
        time.sleep(chance.uniform(0, 1.5 if epochs == 0 else 0.05))
        os.kill(process, signal.SIGKILL)
        signals.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        os.close(pipe)
    process, pipe = fork(problem, examples, place / "killed", str(place / "checkpoints"))
    last = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    first = os.waitstatus_to_exitcode(os.waitpid(peaceful, 0)[1])
    os.close(unread)
    return {"signals": signals, "peaceful": first, "last": last}


if __name__ == "__main__":
    _, problem_path, examples_path, folder_path, kills_asked, seed_asked = sys.argv
    outcome = main(problem_path, examples_path, folder_path, int(kills_asked), int(seed_asked))
    print(json.dumps(outcome))
